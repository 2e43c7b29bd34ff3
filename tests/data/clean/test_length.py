"""Length of better and worse responses."""

import random

import numpy as np
import pytest

from prefine.errors import PrefineError

from .folders import clean, group_of, pair_of


def words(n: int) -> str:
    return " ".join(["w"] * n)


def pairs(lengths: list[tuple[int, int]], gaps: list[float] | None = None, split: str = "train"):
    return [
        pair_of(f"{split} {k}", words(a) + " a", words(b) + " b", [gaps[k], 0.0] if gaps else None, split)
        for k, (a, b) in enumerate(lengths)
    ]


def test_the_report_has_the_numbers_and_drops_nothing(tmp_path):
    rows = pairs([(9, 4), (19, 9), (4, 4), (14, 19)], [1.0, 2.0, 0.5, 0.25])
    found = clean(tmp_path, rows, {"name": "length"})
    told, better, worse = found.told, np.array([10, 20, 5, 15]), np.array([5, 10, 5, 20])
    assert len(found.rows) == 4
    assert told["chosen"] == {"mean": 12.5, "median": 12.5} and told["rejected"] == {"mean": 10.0, "median": 7.5}
    assert (told["share_chosen_longer"], told["share_equal"]) == (0.5, 0.25)
    deviation = ((better.var() + worse.var()) / 2) ** 0.5
    assert told["difference_in_sd"] == pytest.approx(2.5 / deviation, abs=1e-6)
    wanted = np.corrcoef([1.0, 2.0, 0.5, 0.25], better - worse)[0, 1]
    assert told["correlation_with_gap"] == pytest.approx(wanted, abs=1e-6)
    assert "longer one in 50%" in told["warning"], "the means differ by more than 0.3 standard deviations"


def test_a_fair_set_has_no_warning_and_an_unfair_one_has(tmp_path):
    assert "warning" not in clean(tmp_path, pairs([(5, 9), (9, 5)]), {"name": "length"}).told
    assert "100%" in clean(tmp_path, pairs([(9, 5), (9, 5)]), {"name": "length"}).told["warning"]
    assert clean(tmp_path, [group_of("p", "x")], {"name": "length"}).told["pairs"] == 0


def test_ratio_keeps_pairs_of_similar_length(tmp_path):
    rows = pairs([(9, 4), (10, 4), (4, 10)]) + pairs([(30, 1)], split="test")
    found = clean(tmp_path, rows, {"name": "length", "policy": "ratio", "ratio": 2.0})
    assert [e.id for e in found.rows] == [rows[0].id, rows[3].id]
    assert found.decisions[1].facts == {"chosen": 11, "rejected": 5}


def test_rebalance_evens_out_each_bin_of_gaps(tmp_path):
    rng = random.Random(0)
    lengths = [(9, 4) if rng.random() < 0.8 else (4, 9) if rng.random() < 0.9 else (4, 4) for _ in range(600)]
    gaps = [rng.random() for _ in lengths]
    rows = pairs(lengths, gaps)
    found = clean(tmp_path, rows, {"name": "length", "policy": "rebalance"})
    longer = [e for e in found.rows if len(e.responses[0][0]["content"]) > len(e.responses[1][0]["content"])]
    shorter = [e for e in found.rows if len(e.responses[0][0]["content"]) < len(e.responses[1][0]["content"])]
    assert len(longer) == len(shorter) == sum(a < b for a, b in lengths)
    assert len(found.rows) - len(longer) - len(shorter) == sum(a == b for a, b in lengths)
    edges = np.quantile(gaps, np.linspace(0, 1, 11)[1:-1])
    bins = [
        np.bincount(np.searchsorted(edges, [e.scores[0] for e in side], "right"), minlength=10)
        for side in (longer, shorter)
    ]
    assert (bins[0] == bins[1]).all() and bins[0].min() > 0
    again = clean(tmp_path, rng.sample(rows, len(rows)), {"name": "length", "policy": "rebalance"}, parts=3)
    assert {e.id for e in again.rows} == {e.id for e in found.rows}


def test_penalize_adds_a_score_that_pairers_can_use(tmp_path):
    group = group_of("p", words(50), words(200), words(10), scores=[1.0, 1.1, None], split="test")
    found = clean(tmp_path, [group], {"name": "length", "policy": "penalize", "penalty": 0.2})
    [row] = found.rows
    assert [c.score("gold-length") for c in row.candidates] == [pytest.approx(0.9), pytest.approx(0.7), None]
    assert [c.score("gold") for c in row.candidates] == [1.0, 1.1, None]
    with pytest.raises(PrefineError, match="before the pair stage"):
        clean(tmp_path, pairs([(1, 2)]), {"name": "length", "policy": "penalize"})


class Letters:
    """Stands for models: a token is a letter."""

    def token_counter(self, model: str):
        assert model == "letters"
        return len

    def close(self) -> None:
        self.closed = True


def test_lengths_can_be_in_tokens(tmp_path):
    models = Letters()
    rows = [pair_of("p", "aaaaaaaaaa", "b b b")]
    told = clean(tmp_path, rows, {"name": "length", "tokenizer": "letters"}, models=models).told
    assert (told["unit"], told["chosen"]["mean"], told["rejected"]["mean"]) == ("tokens", 10, 5) and models.closed
    assert clean(tmp_path, rows, {"name": "length"}).told["chosen"]["mean"] == 1
    with pytest.raises(PrefineError, match="needs a model"):
        clean(tmp_path, rows, {"name": "length", "tokenizer": "letters"})
