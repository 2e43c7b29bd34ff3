"""Near-duplicates: all that are planted, none that are not, whatever the order."""

import random

import numpy as np
import pytest

from prefine.data.clean.minhash import Signer, bands, cluster, collisions, hashes, similarity
from prefine.data.clean.near import NearDuplicates
from prefine.data.clean.text import shingles
from prefine.errors import PrefineError

from ...conftest import shared
from .folders import clean, folder_of, group_of, pair_of

NEAR = {"name": "near_duplicates"}
VOCABULARY = [f"word{i}" for i in range(3000)]


def jaccard(a: str, b: str) -> float:
    """By the definition, on sets of texts."""
    one, two = shingles(a), shingles(b)
    return len(one & two) / len(one | two)


def sentence(rng: random.Random, n: int) -> str:
    return " ".join(rng.choices(VOCABULARY, k=n))


def planted(rng: random.Random, n: int, length: int = 120) -> list[tuple[str, str]]:
    """Texts with a copy in which the last word differs: they have 5-grams in common but one each."""
    out = []
    for _ in range(n):
        text = sentence(rng, length)
        out.append((text, text.rsplit(" ", 1)[0] + " another"))
    return out


@pytest.mark.acceptance(name="near_duplicates")
def test_planted_near_duplicates_are_found_and_nothing_else(tmp_path):
    rng = random.Random(0)
    pairs = planted(rng, 400)
    assert all(jaccard(a, b) == 115 / 117 for a, b in pairs)
    # Copies with six words changed are below 0.8, and must stay.
    apart = [(a, _changed(a, rng)) for a in (sentence(rng, 100) for _ in range(100))]
    assert all(0.3 < jaccard(a, b) < 0.8 for a, b in apart)
    groups = [group_of(t, "x") for pair in pairs + apart for t in pair]
    found = clean(tmp_path, groups, NEAR)
    fates = found.dropped()
    ids = {g.prompt: g.id for g in groups}
    hit = sum(max(ids[a], ids[b]) in fates for a, b in pairs)
    assert hit >= 0.99 * len(pairs)
    assert set(fates) <= {max(ids[a], ids[b]) for a, b in pairs}
    text = {g.id: g.prompt for g in groups}
    for d in found.decisions:
        if not d.keep:
            assert d.facts["jaccard"] == round(jaccard(text[d.id], text[d.facts["duplicate_of"]]), 4) >= 0.8
    assert found.told["cluster_sizes"] == {"2": hit}
    example = found.told["examples"][0]
    assert len(found.told["examples"]) == 20 and example["text"] and example["members"][0]["jaccard"] >= 0.8


def _changed(text: str, rng: random.Random) -> str:
    tokens = text.split()
    for k in (5, 20, 35, 50, 65, 80):
        tokens[k] = rng.choice(["other", "new"])
    return " ".join(tokens)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_miss_less_than_one_in_a_hundred_at_the_threshold(threshold):
    count, rows = bands(threshold)
    assert count * rows <= 128
    assert 1 - (1 - threshold**rows) ** count >= 0.99
    assert rows == 128 or 1 - (1 - threshold ** (rows + 1)) ** (128 // (rows + 1)) < 0.99


def test_signatures_estimate_the_jaccard_index():
    rng, signer = random.Random(1), Signer()
    for share in (0.2, 0.5, 0.9):
        tokens = [f"t{i}" for i in range(1000)]
        a, b = set(tokens[: int(500 * (1 + share))]), set(tokens[int(500 * (1 - share)) : 1000])
        exact = len(a & b) / len(a | b)
        rng.shuffle(tokens)
        estimate = float((signer.sign(a) == signer.sign(b)).mean())
        assert abs(estimate - exact) < 0.16  # 3.6 standard deviations of 128 draws at one half
        assert similarity(hashes(a), hashes(b)) == pytest.approx(exact)


def test_collisions_are_all_rows_that_agree_in_a_band():
    rng = np.random.default_rng(0)
    signatures = rng.integers(0, 3, (60, 128), dtype=np.uint32)
    signatures[7] = signatures[3]
    count, rows = bands(0.8)
    wanted = set()
    for k in range(count):
        part = signatures[:, k * rows : (k + 1) * rows]
        wanted |= {(i, j) for i in range(60) for j in range(i) if (part[i] == part[j]).all()}
    buckets = list(collisions(signatures, 0.8))
    assert {(int(i), int(j)) for b in buckets for i in b for j in b if i > j} == wanted
    assert (7, 3) in wanted and len(wanted) > 1


def test_clusters_are_the_components_of_what_is_near():
    # 0-1-2 is a chain whose ends are not near; 3 meets all and is near to none; 4 and 5 never meet.
    near = {(0, 1), (1, 2), (4, 5)}
    buckets = [np.array([0, 1, 2, 3]), np.array([0, 2])]
    asked: list[tuple[int, int]] = []

    def is_near(i: int, j: int) -> bool:
        asked.append((i, j))
        return (min(i, j), max(i, j)) in near

    assert cluster(buckets, 6, is_near).sets() == [[0, 1, 2]]
    assert len(asked) == len(set(asked))


@pytest.mark.acceptance(name="near_duplicates")
def test_the_result_is_the_same_in_any_order_and_any_parts(tmp_path):
    rng = random.Random(2)
    chain = [sentence(rng, 60)]
    for k in range(4):
        tokens = chain[-1].split()
        tokens[10 * k + 5] = "changed"
        chain.append(" ".join(tokens))
    groups = [group_of(t, "x") for pair in planted(rng, 30) for t in pair] + [group_of(t) for t in chain]
    before = clean(tmp_path, groups, NEAR)
    for seed, parts in ((1, 1), (2, 7)):
        after = clean(tmp_path, random.Random(seed).sample(groups, len(groups)), NEAR, parts=parts)
        assert sorted(g.id for g in after.rows) == sorted(g.id for g in before.rows)
        assert sorted(after.decisions, key=lambda d: d.id) == sorted(before.decisions, key=lambda d: d.id)
        assert after.told["examples"] == before.told["examples"]


def test_held_out_prompts_stay_then_those_of_the_first_source(tmp_path):
    rng = random.Random(3)
    [(a, b)], [(c, d)] = planted(rng, 1), planted(rng, 1)
    one, two = group_of(a, split="test"), group_of(b, split="train")
    three, four = group_of(c, source={"dataset": "small"}), group_of(d, source={"dataset": "big"})
    found = clean(tmp_path, [one, two, three, four], {**NEAR, "priority": ["big", "small"]})
    assert set(found.dropped()) == {two.id, three.id}
    found = clean(tmp_path, [one, two, three, four], {**NEAR, "priority": ["small"]})
    assert set(found.dropped()) == {two.id, four.id}


def test_short_prompts_are_near_only_if_they_are_equal(tmp_path):
    rows = [group_of(t) for t in ("What is this?", "What is that?", "what  is this?", "Was this it, or")]
    found = clean(tmp_path, rows, NEAR)
    assert len(found.dropped()) == 1
    assert next(iter(found.dropped())) in (rows[0].id, rows[2].id)


def test_all_examples_of_a_prompt_share_its_fate(tmp_path):
    [(a, b)] = planted(random.Random(4), 1)
    rows = [pair_of(a, "x", "y"), pair_of(a, "x", "z"), pair_of(b, "x", "y"), pair_of(b, "y", "z")]
    found = clean(tmp_path, rows, NEAR)
    kept = min(rows[0].group_id, rows[2].group_id)
    assert {e.group_id for e in found.rows} == {kept} and len(found.rows) == 2


def test_real_conversations_with_few_first_turns(tmp_path):
    from prefine.data.load import load
    from prefine.recipe import Data

    path = shared("data/sharegpt_dummy_500.json.gz")
    groups = load(Data(path=str(path))).groups
    found = clean(tmp_path, groups, {"name": "exact_duplicates"}, NEAR)
    texts = ["\n".join(m["content"] for m in g.messages if m["role"] != "system") for g in found.rows]
    assert len(groups) > len(texts)
    sets = [shingles(t) for t in texts]
    near = [
        (i, j) for i in range(len(sets)) for j in range(i) if len(sets[i] & sets[j]) >= 0.8 * len(sets[i] | sets[j])
    ]
    assert not near


@pytest.mark.acceptance(name="near_duplicates")
def test_what_is_left_of_an_interrupted_process_changes_nothing(tmp_path, monkeypatch):
    """A process that dies in the middle leaves parts; the next one starts afresh and ends with the same rows."""
    from prefine.data import steps
    from prefine.data.decisions import read_decisions
    from prefine.progress import Progress

    monkeypatch.setattr(steps, "ROWS_PER_PART", 10)
    groups = [group_of(t, "x") for pair in planted(random.Random(5), 40) for t in pair]
    source, target = folder_of(tmp_path / "in", groups[:50], groups[50:]), folder_of(tmp_path / "out")
    whole = clean(tmp_path, groups, NEAR)
    decide, count = NearDuplicates.decide, 0

    def dies(self, row):
        nonlocal count
        count += 1
        if count == 45:
            raise KeyboardInterrupt
        return decide(self, row)

    monkeypatch.setattr(NearDuplicates, "decide", dies)
    steps.clear(target)
    with pytest.raises(KeyboardInterrupt):
        steps.run_steps(source, [NEAR], target, Progress.silent())
    assert target.parts, "the test interrupts nothing unless something was written"
    steps.clear(target)
    steps.run_steps(source, [NEAR], target, Progress.silent())
    assert [g.id for g in steps.rows_in(target)] == [g.id for g in whole.rows]
    assert list(read_decisions(target.path)) == whole.decisions


def test_a_missing_library_names_its_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(PrefineError, match=r"extra 'data'"):
        Signer()
