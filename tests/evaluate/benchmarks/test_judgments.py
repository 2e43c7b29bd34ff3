"""Files of each tool from end to end: what is in the result, and what is said beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.judgments import score
from prefine.evaluate.benchmarks.results import Options
from prefine.evaluate.benchmarks.style_metadata import KEYS
from tests.conftest import shared

FEW = Options(c=1.0, resamples=20)


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def alpaca(tmp_path) -> Path:
    """A folder with frozen data of 40 instructions and two models, one of them without the instructions 3 and 30."""
    rng = np.random.default_rng(2)
    difficulty = rng.normal(size=40)
    gamed = [
        f"base_{g},{i},{p:.3f},0,0,{d:.3f},False,{difficulty[i]:.6f}"
        for g, sign in (("verbose", -1), ("concise", 1))
        for i, (p, d) in enumerate(zip(rng.random(40), sign * rng.random(40), strict=True))
    ]
    head = "model,index,preference,len_1,len_2,std_delta_len,not_gamed_baseline,instruction_difficulty"
    (tmp_path / "df_gamed.csv").write_text("\n".join([head, *gamed]) + "\n")
    for name in ("full", "part"):
        rows = [
            {
                "instruction": f"task {i}", "output_1": "x" * int(rng.integers(9, 99)), "generator_1": "base",
                "output_2": "y" * int(rng.integers(9, 99)), "generator_2": name,
                "preference": round(1 + 1 / (1 + np.exp(-2 * difficulty[i] + rng.normal())), 6),
            }
            for i in range(40) if name == "full" or i not in (3, 30)
        ]  # fmt: skip
        write(tmp_path / "results" / name / "annotations.json", rows)
    return tmp_path


def test_alpaca_eval_of_a_folder(alpaca):
    pytest.importorskip("sklearn")
    scored = score(alpaca / "results", "alpaca_eval", Options(c=1.0, resamples=20, data=alpaca))
    full, part = scored.models
    assert (full["model"], full["n_parsed"], part["n_parsed"], part["n_missing"]) == ("full", 40, 38, 2)
    assert full["lc_low"] < full["length_controlled_winrate"] < full["lc_high"]
    assert full["C"] == 1.0 and full["C_chosen_by"] == "user" and full["regularized"]
    assert "length_controlled_winrate_by_row" not in full
    low, high = part["bounds"]
    assert low < part["win_rate"] < high and high - low == pytest.approx(100 * 2 / 40)


def test_missing_rows_are_told_by_instruction_and_the_published_rule_stands_beside(alpaca):
    """Numbers come from the texts of a complete model; the leaderboard's rule shifts them after a missing row."""
    pytest.importorskip("sklearn")
    options = Options(c=1.0, resamples=0, data=alpaca)
    part = score(alpaca / "results", "alpaca_eval", options).models[1]
    by_row = score(alpaca / "results", "alpaca_eval", Options(c=1.0, resamples=0, data=alpaca, index="row")).models[1]
    assert part["index"] == "instruction" and by_row["index"] == "row"
    assert part["length_controlled_winrate_by_row"] == pytest.approx(by_row["length_controlled_winrate"])
    assert abs(part["length_controlled_winrate"] - by_row["length_controlled_winrate"]) > 0.1
    # the numbers in the rows themselves say the same
    rows = [json.loads(r) for r in (alpaca / "results/part/annotations.json").read_text().splitlines()]
    numbered = write(alpaca / "numbered.jsonl", [r | {"index": int(r["instruction"][5:])} for r in rows])
    (same,) = score(numbered, "alpaca_eval", options).models
    assert same["length_controlled_winrate"] == part["length_controlled_winrate"]
    # and so does a file of all instructions
    named = Options(c=1.0, resamples=0, data=alpaca, instructions=alpaca / "results/full/annotations.json")
    (again,) = score(alpaca / "results/part/annotations.json", "alpaca_eval", named).models
    assert again["length_controlled_winrate"] == part["length_controlled_winrate"]
    # without either, the position must do, and that is said
    alone = score(alpaca / "results/part/annotations.json", "alpaca_eval", options)
    assert alone.models[0]["index"] == "row" and "the row's position stands in" in " ".join(alone.notes)
    with pytest.raises(PrefineError, match="38 instructions; difficulty is known for 40"):
        score(numbered, "alpaca_eval", Options(data=alpaca, instructions=numbered))


def test_without_frozen_files_the_win_rate_is_still_there(alpaca, tmp_path):
    file = alpaca / "results" / "full" / "annotations.json"
    (alpaca / "df_gamed.csv").rename(alpaca / "elsewhere.csv")
    line = score(file, "alpaca_eval").models[0]
    assert line["win_rate"] is not None and line["length_controlled_winrate"] is None
    assert "needs df_gamed.csv" in line["length_controlled_absent"]
    with pytest.raises(PrefineError, match="there is no"):
        score(file, "alpaca_eval", Options(data=tmp_path / "none"))


def test_frozen_files_are_found_beside_the_judgments_and_above(alpaca):
    pytest.importorskip("sklearn")
    beside = write(alpaca / "m.jsonl", [{"preference": 1.5, "len_1": 1, "len_2": i} for i in range(40)])
    above = write(alpaca / "sub" / "m.jsonl", [{"preference": 1.5, "len_1": 1, "len_2": i} for i in range(40)])
    for file in (beside, above):
        assert score(file, "alpaca_eval", FEW).models[0]["length_controlled_winrate"] == pytest.approx(50, abs=2)


def test_another_baseline_or_judge_is_not_regularized_to_this_one(alpaca):
    pytest.importorskip("sklearn")
    rows = [{"preference": 1.1 + i / 50, "len_1": 9, "len_2": i + 1, "generator_1": "other"} for i in range(40)]
    scored = score(write(alpaca / "m.jsonl", rows), "alpaca_eval", FEW)
    assert scored.models[0]["regularized"] is False
    assert "without regularization" in scored.notes[0]
    own = [r | {"generator_1": "base"} for r in rows]
    assert score(write(alpaca / "m.jsonl", own), "alpaca_eval", FEW).models[0]["regularized"] is True
    told = score(write(alpaca / "m.jsonl", own), "alpaca_eval", Options(c=1.0, resamples=0, regularize=False))
    assert told.models[0]["regularized"] is False and "regularization" not in " ".join(told.notes)
    assert told.models[0]["lc_low"] is None


def test_the_baseline_is_at_50_and_models_meet_each_other(alpaca):
    pytest.importorskip("sklearn")
    rows = [{"preference": 1.5, "len_1": 1, "len_2": 1, "generator_2": "base"} for _ in range(40)]
    write(alpaca / "results" / "base" / "annotations.json", rows)
    options = Options(c=1.0, resamples=0, data=alpaca, baseline="full")
    lines = {line["model"]: line for line in score(alpaca / "results", "alpaca_eval", options).models}
    assert lines["base"]["length_controlled_winrate"] == 50
    assert lines["full"]["against full"] == pytest.approx(50)
    assert lines["base"]["against full"] == pytest.approx(100 - lines["full"]["length_controlled_winrate"], abs=1e-6)
    with pytest.raises(PrefineError, match="no length-controlled fit of 'fulll'; did you mean 'full'"):
        score(alpaca / "results", "alpaca_eval", Options(c=1.0, data=alpaca, baseline="fulll"))


def test_failed_verdicts_are_counted_and_noted(alpaca):
    rows = [{"preference": None if i < 2 else 1.5, "len_1": 1, "len_2": i} for i in range(40)]
    scored = score(write(alpaca / "m.jsonl", rows), "alpaca_eval", FEW)
    assert (scored.models[0]["n_total"], scored.models[0]["n_parsed"], scored.models[0]["n_failed"]) == (40, 38, 2)
    assert scored.models[0]["failed"] == {"no preference": 2}
    assert any("2 of 40 verdicts failed, more than 2%" in n for n in scored.notes)


@pytest.mark.parametrize(("model", "published"), [("alpaca-7b", 5.875487163278986), ("gemma-2b-it", 5.437453620377121)])
def test_published_scores_from_the_folder(model, published):
    pytest.importorskip("sklearn")
    folder = shared("data/alpaca_eval")
    c = {"alpaca-7b": 21.54434690031882, "gemma-2b-it": 166.81005372000558}[model]
    scored = score(folder / f"{model}.jsonl.gz", "alpaca_eval", Options(c=c, resamples=0))
    (line,) = scored.models
    assert line["length_controlled_winrate"] == pytest.approx(published, abs=1e-3)
    assert (line["model"], line["n_parsed"], scored.notes) == (model, 805, [])


def arena(model: str, labels: list[tuple[str | None, str | None]], **more) -> list[dict]:
    return [
        {"question_id": str(q), "model": model, "judge": "j", "games": [{"score": a}, {"score": b}], **more}
        for q, (a, b) in enumerate(labels)
    ]


def test_arena_hard_v01(tmp_path):
    # m: 3 + 1 won of 3 + 1 + 1 (tied: 1/2) + 3 lost = 4.5 / 8; n: all lost but one without verdict
    rows = arena("m", [("B>>A", "A>B"), ("A=B", "B>>A")]) + arena("n", [("A>B", None), ("A>B", "B>A")])
    scored = score(write(tmp_path / "rows.jsonl", rows), "arena_hard", Options(resamples=50))
    assert scored.facts["version"] == "v0.1"
    m, base, n = scored.models
    assert [line["model"] for line in scored.models] == ["m", "gpt-4-0314", "n"]
    assert m["score"] == pytest.approx(56.25) and base["score"] == 50 and n["score"] == 0
    assert (n["n_total"], n["n_parsed"], n["n_failed"], n["n_dropped"]) == (4, 3, 1, 0)
    # three votes lost; the failed game could have been three won: 0 to 3 of 6
    assert n["bounds"] == [0, 50] and m["bounds"] is None
    # m, decided games: won as the second, won as the first, lost as the first
    assert m["first_shown_wins"] == pytest.approx(100 / 3)
    assert m["orders_agree"] == 50
    assert any("n (arena-hard-v0.1): 1 of 4 verdicts failed" in note for note in scored.notes)


def test_arena_hard_v20_by_category(tmp_path):
    def row(uid, model, category, first, second):
        games = [{"score": first}, {"score": second}]
        return {"uid": uid, "model": model, "judge": "j", "category": category, "games": games}

    rows = [
        row("1", "m", "hard_prompt", "B>>A", "A=B"),
        row("2", "m", "hard_prompt", "B>A", None),
        row("3", "m", "creative_writing", "A>B", "B>A"),
    ]
    scored = score(write(tmp_path / "m.jsonl", rows), "arena_hard")
    lines = {(line["category"], line["model"]): line for line in scored.models}
    hard, writing = lines["hard_prompt", "m"], lines["creative_writing", "m"]
    # the second prompt is dropped whole: 3.5 of 4
    assert hard["mean_vote"] == 87.5 and hard["score"] == pytest.approx(87.5, abs=3)
    assert (hard["n_prompts"], hard["n_dropped"], hard["n_parsed"], hard["n_total"]) == (2, 1, 2, 4)
    assert writing["score"] == 0 and writing["baseline"] == "gemini-2.0-flash-001"
    assert lines["hard_prompt", "o3-mini-2025-01-31"]["score"] == 50
    assert any("1 prompts without both verdicts are left out" in n for n in scored.notes)


def test_arena_hard_with_style(tmp_path):
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = [tuple(rng.choice(["A>B", "A=B", "B>>A"], 2)) for _ in range(30)]
    rows = write(tmp_path / "rows.jsonl", arena("m", labels) + arena("gpt-4-0314", labels[:2]))
    styles = [
        {
            "question_id": str(q), "model_id": m,
            "conv_metadata": dict(zip(KEYS, rng.integers(1, 90, 4).tolist(), strict=True)),
        }
        for m in ("m", "gpt-4-0314") for q in range(30)
    ]  # fmt: skip
    answers = write(tmp_path / "answers" / "all.jsonl", styles)
    scored = score(rows, "arena_hard", Options(resamples=10, answers=answers.parent))
    line = next(line for line in scored.models if line["model"] == "m")
    assert line["style_controlled_low"] < line["style_controlled"] < line["style_controlled_high"]
    assert set(scored.facts["style_coefficients"]["j/arena-hard-v0.1"]) == {"length", "headers", "lists", "bold"}
    assert any("over this pool of models" in n for n in scored.notes)
    assert any("2 judgments of the baseline against itself" in n for n in scored.notes)


def test_arena_hard_mistakes(tmp_path):
    mixed = [*arena("m", [("A>B", "A>B")]), {"uid": "1", "games": [], "category": "math"}]
    with pytest.raises(PrefineError, match=r"row 2: this row is of Arena-Hard v2.0, and earlier ones are of v0.1"):
        score(write(tmp_path / "mixed.jsonl", mixed), "arena_hard")
    again = write(tmp_path / "again.jsonl", arena("m", [("A>B", "A>B")]) * 2)
    assert "1 judgments of a prompt that was judged again" in score(again, "arena_hard").notes[0]


def single(question: int, turn: int, value: float, model: str = "m", template: str | None = None) -> dict:
    guided = 101 <= question <= 130
    name = template or f"single-{'math-' if guided else ''}v1{'-multi-turn' if turn == 2 else ''}"
    return {"question_id": question, "turn": turn, "model": model, "score": value, "judge": ["gpt-4", name]}


def test_mt_bench_single(tmp_path):
    rows = [single(81, 1, 8), single(81, 2, 6), single(111, 1, 4), single(111, 2, -1), single(81, 1, 9, "n")]
    scored = score(write(tmp_path / "gpt-4_single.jsonl", rows), "mt_bench")
    n, m = scored.models
    assert (n["model"], n["score"]) == ("n", 9)
    assert m["score"] == 6 and m["turn_1"] == 6 and m["turn_2"] == 6
    assert (m["n_total"], m["n_parsed"], m["n_failed"], m["failed"]) == (4, 3, 1, {"no rating": 1})
    assert m["bounds"] == [19 / 4, 28 / 4]
    assert not any("template" in note for note in scored.notes)


def test_mt_bench_notes_wrong_templates_and_repeated_ratings(tmp_path):
    rows = [
        single(111, 1, 4, template="single-v1"),
        single(81, 2, 6),
        single(81, 2, 7),
        single(82, 1, 5, template="mine"),
    ]
    notes = " ".join(score(write(tmp_path / "s.jsonl", rows), "mt_bench").notes)
    assert "1 ratings used a template that is not that of their category or turn" in notes
    assert "1 ratings of answers that were rated again are left out" in notes


def test_mt_bench_single_ratings_as_comparisons(tmp_path):
    rows = [single(q, 1, v, "m") for q, v in ((81, 8), (82, 7.05), (83, 5))]
    rows += [single(q, 1, v, "base") for q, v in ((81, 7), (82, 7), (83, 6), (84, 9))]
    scored = score(write(tmp_path / "s.jsonl", rows), "mt_bench", Options(baseline="base"))
    found = next(line for line in scored.models if line["model"] == "m")["against base"]
    assert (found["win"], found["tie"], found["loss"], found["win_rate_adjusted"]) == (1, 1, 1, 50)
    with pytest.raises(PrefineError, match="no ratings of 'bas'; did you mean 'base'"):
        score(tmp_path / "s.jsonl", "mt_bench", Options(baseline="bas"))


def test_mt_bench_pairs_and_people(tmp_path):
    def row(question, first, swapped, one="m", two="base"):
        return {
            "question_id": question, "turn": 1, "model_1": one, "model_2": two, "g1_winner": first,
            "g2_winner": swapped, "judge": ["gpt-4", "pair-v2"],
        }  # fmt: skip

    rows = [
        row(81, "model_1", "model_1"), row(82, "model_1", "model_2"), row(83, "model_2", "model_2", "base", "m"),
        row(84, "error", "model_1"), row(81, "model_1", "model_1", "n", "base"), row(81, "tie", "tie", "n", "m"),
    ]  # fmt: skip
    file = write(tmp_path / "gpt-4_pair.jsonl", rows)
    scored = score(file, "mt_bench", Options(baseline="base"))
    n, m = scored.models
    assert (m["win"], m["tie"], m["loss"], m["n_failed"]) == (2, 1, 0, 1)
    assert m["win_rate_adjusted"] == pytest.approx(100 * 2.5 / 3)
    assert (n["model"], n["win"], n["n_total"]) == ("n", 1, 1)
    everyone = {line["model"]: line for line in score(file, "mt_bench").models}
    assert everyone["m"]["tie"] == 2 and everyone["base"]["loss"] == 3
    vote = {"question_id": 81, "turn": 1, "model_a": "base", "model_b": "m", "winner": "model_b", "judge": "expert_0"}
    human = write(tmp_path / "human.jsonl", [vote])
    agreed = score(file, "mt_bench", Options(human=human)).facts["agreement"]
    assert agreed["gpt-4"]["turn_1"]["with_ties"] == {"agree": 1, "total": 1, "percent": 100}
    with pytest.raises(PrefineError, match="'bsae' is in no comparison; did you mean 'base'"):
        score(file, "mt_bench", Options(baseline="bsae"))
    write(tmp_path / "mixed" / "a.jsonl", [single(81, 1, 3), rows[0]])
    with pytest.raises(PrefineError, match="row 2: ratings of single answers and comparisons of two are scored apart"):
        score(tmp_path / "mixed", "mt_bench")


def test_categories_from_a_question_file(tmp_path):
    questions = write(tmp_path / "q.jsonl", [{"question_id": 1, "category": "poems"}])
    rows = write(tmp_path / "s.jsonl", [single(1, 1, 5)])
    (line,) = score(rows, "mt_bench", Options(questions=questions)).models
    assert line["categories"]["poems"]["value"] == 5
    assert score(rows, "mt_bench").models[0]["categories"] == {}


def test_unknown_benchmark(tmp_path):
    with pytest.raises(PrefineError, match="there is no benchmark 'alpaca'; did you mean 'alpaca_eval'"):
        score(tmp_path, "alpaca")
