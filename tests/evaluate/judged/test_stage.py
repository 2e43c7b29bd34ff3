"""Judged benchmarks in the evaluate stage: a tiny policy answers, a tiny model and a function judge, for real."""

import json
import sys
from types import SimpleNamespace

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.judged.stage import _answers, build
from prefine.recipe import Model
from prefine.rundir import RunDir
from prefine.schema import make_candidate
from tests.evaluate.judged.conftest import ENGINE
from tests.evaluate.test_stage import evaluate, prepare, recipe, trained_dir  # noqa: F401

RULE = """
def shorter(prompt, response, task_meta):
    return -len(response)

def grade(prompt, response, task_meta):
    return 1 + len(response) % 10
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "own_scores.py").write_text("def score(prompt, response, task_meta):\n    return len(response)\n")
    (tmp_path / "own_rules.py").write_text(RULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_scores", raising=False)
    return RunDir(tmp_path / "run")


@pytest.fixture
def blocks(lines, tiny_model_dir):
    hf = {"name": "hf", "model": str(tiny_model_dir)}
    alpaca = [{"instruction": f"say {i}", "output": f"said {i}", "generator": "someone"} for i in range(3)]
    hard = [{"uid": f"u{i}", "prompt": f"solve {i}", "category": "hard_prompt"} for i in range(3)]
    mt = [
        {"question_id": 81, "category": "writing", "turns": ["write", "again"]},
        {"question_id": 111, "category": "math", "turns": ["add", "more"], "reference": ["5", "1"]},
    ]
    return [
        {"name": "alpaca_eval", "questions": lines("alpaca.jsonl", alpaca), "engine": hf},
        {
            "name": "arena_hard",
            "questions": lines("hard.jsonl", hard),
            "baseline": "start",
            "judge": {"name": "programmatic", "function": "own_rules:shorter"},
            "style_control": False,
            "resamples": 5,
        },
        {"name": "mt_bench", "questions": lines("mt.jsonl", mt), "engine": hf, "judge_max_tokens": 8, "max_reasks": 0},
        {
            "name": "mt_bench",
            "as_name": "mt_by_rule",
            "questions": lines("mt.jsonl", mt),
            "judge": {"name": "programmatic", "function": "own_rules:grade"},
            "max_new_tokens": 4,
        },
    ]


def test_a_tiny_model_is_judged(run, tiny_model_dir, trained_dir, blocks):  # noqa: F811
    r = recipe(tiny_model_dir, num_samples=0, benchmarks=blocks).model_copy(update={"output_dir": str(run.path.parent)})
    scores, folder = evaluate(r, run, prepare(run, trained_dir))
    found = scores["benchmarks"]
    assert list(found) == ["alpaca_eval", "arena_hard", "mt_bench", "mt_by_rule"]
    assert all(list(b["models"]) == ["model"] for b in found.values())

    alpaca = found["alpaca_eval"]["models"]["model"]
    judge = found["alpaca_eval"]["judge"]
    assert judge["verdict"] == "first_token" and judge["engine"] and judge["templates"]
    assert alpaca["n_total"] == 3 and alpaca["n_parsed"] + alpaca["n_failed"] == 3 and alpaca["baseline"] == "someone"
    if alpaca["n_parsed"] > 1:
        assert 0 <= alpaca["low"] <= alpaca["win_rate"] <= alpaca["high"] <= 100

    rows = rows_of(folder.path / "judgments/arena_hard/model/arena_hard.jsonl")
    arena = found["arena_hard"]["models"]["model"]
    assert found["arena_hard"]["baseline"] == "start" and len(rows) == 3 and arena["n_failed"] == 0
    votes = [{"A>B": 0.0, "A=B": 0.5, "B>A": 1.0}[row["games"][0]["score"]] for row in rows]
    assert arena["mean_vote"] == pytest.approx(100 * sum(votes) / 3)

    nothing = found["mt_bench"]["models"]["model"]
    assert nothing["n_total"] == 4 and nothing["n_parsed"] + nothing["n_failed"] == 4

    ruled = found["mt_by_rule"]["models"]["model"]
    rows = rows_of(folder.path / "judgments/mt_by_rule/model/mt_bench.jsonl")
    assert ruled["n_parsed"] == 4 and ruled["score"] == pytest.approx(sum(r["score"] for r in rows) / 4)
    drawn = [g for s in run.path.glob("evaluate/samples-*") for g in _groups(run, s)]
    second = [g for g in drawn if len(g.messages) == 3]
    assert second and all(g.messages[1]["role"] == "assistant" for g in second)
    first = {c.text for g in drawn if len(g.messages) == 1 for c in g.candidates}
    assert {g.messages[1]["content"] for g in second} <= first


def test_the_baseline_may_be_any_model(run, tiny_model_dir, trained_dir, blocks):  # noqa: F811
    """Another run's model is asked the same questions; the start by its folder gives what `start` gives."""
    hard = {k: v for k, v in blocks[1].items() if k != "baseline"}
    named = {"by_name": "start", "by_folder": str(tiny_model_dir), "itself": str(trained_dir)}
    made = [{**hard, "as_name": k, "baseline": v} for k, v in named.items()]
    r = recipe(tiny_model_dir, num_samples=0, benchmarks=made).model_copy(update={"output_dir": str(run.path.parent)})
    scores, _ = evaluate(r, run, prepare(run, trained_dir))
    found = {k: b["models"]["model"] for k, b in scores["benchmarks"].items()}
    assert scores["benchmarks"]["by_folder"]["baseline"] == tiny_model_dir.name
    assert found["by_folder"]["mean_vote"] == found["by_name"]["mean_vote"]
    assert found["itself"]["mean_vote"] == 50.0 and found["itself"]["n_parsed"] == 6


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def _groups(run, path):
    from prefine.rundir import StageDir

    return list(StageDir(path, "evaluate", "", run.path).groups())


class Stubborn:
    """Sampling that has nothing to say to the prompt `silent` when it is asked for the first time."""

    models = SimpleNamespace(tokenizer=lambda: None)
    refused = False

    def answers(self, name, spec, groups, n, temperature):
        mute = set() if self.refused else {"silent"}
        said = {g.id: [] if g.prompt in mute else [make_candidate(g.id, f"to {g.prompt}")] for g in groups}
        self.refused = True
        return SimpleNamespace(responses=said)


def test_a_question_without_a_first_answer_has_no_second(lines):
    rows = [{"question_id": i, "turns": [t, "then"]} for i, t in enumerate(("silent", "loud"))]
    (benchmark,) = build([{"name": "mt_bench", "questions": lines("q.jsonl", rows), "engine": ENGINE}])
    found = _answers(benchmark, "a/b", Model(path="m"), Stubborn())  # type: ignore[arg-type]
    assert found.texts == {"1": ["to loud", "to then"]} and found.name == "a_b"


def test_mistakes_come_before_any_work(blocks, lines):
    with pytest.raises(PrefineError, match="two benchmarks are called 'alpaca_eval'; set as_name"):
        build([blocks[0], blocks[0]])
    with pytest.raises(PrefineError, match=r"none\.jsonl"):
        build([{**blocks[0], "questions": "none.jsonl"}])
    with pytest.raises(PrefineError, match="has no setting 'question'; did you mean 'questions'"):
        build([{**blocks[0], "question": "x"}])
    with pytest.raises(PrefineError, match=r"template none\.txt cannot be read"):
        build([{**blocks[0], "template": "none.txt"}])


def test_a_recipe_checks_its_benchmarks(tmp_path, blocks):
    from prefine.recipe.file import load_recipe

    file = tmp_path / "r.yaml"

    def written(block):
        file.write_text(json.dumps({
            "name": "r", "model": {"path": "tiny-student"}, "data": {"path": blocks[0]["questions"]},
            "evaluate": {"benchmarks": [block]},
        }))  # fmt: skip
        return load_recipe(file)

    section = written(blocks[0]).evaluate
    assert section is not None and section.benchmarks[0]["name"] == "alpaca_eval"
    with pytest.raises(PrefineError, match=r"evaluate\.benchmarks\.0\.engine.*unknown engine 'hff'"):
        written({**blocks[0], "engine": {"name": "hff"}})
    with pytest.raises(PrefineError, match="give either engine"):
        written({"name": "mt_bench", "questions": blocks[2]["questions"]})


def test_files_are_looked_up_and_are_part_of_what_a_result_depends_on(tmp_path, blocks):
    from prefine.inputs import component_inputs
    from prefine.recipe.file import load_recipe
    from prefine.registry import benchmarks

    file = tmp_path / "r.yaml"
    wrong = [
        {**blocks[1], "baseline": "strat"},
        {**blocks[2], "questions": "none.jsonl", "references": "none.jsonl"},
        {**blocks[0], "template": "none.txt", "data": "none"},
    ]
    evaluate = {"benchmarks": wrong}
    data = {"path": blocks[0]["questions"]}
    file.write_text(json.dumps({"name": "r", "model": {"path": "tiny-student"}, "data": data, "evaluate": evaluate}))
    with pytest.raises(PrefineError) as caught:
        load_recipe(file)
    for key in ("1.questions", "1.references", "2.template", "2.data"):
        assert f"evaluate.benchmarks.{key}" in str(caught.value)

    block = benchmarks.check(blocks[0])
    before = component_inputs(block, "benchmark-0")
    with open(blocks[0]["questions"], "a") as more:
        more.write("\n")
    after = component_inputs(block, "benchmark-0")
    assert {k for k in before if before[k] != after[k]} == {"benchmark-0.questions"}
