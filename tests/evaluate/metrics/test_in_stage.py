"""Metrics in the evaluate stage: values by response and by corpus, what they rest on, and mistakes told at once."""

import json

import pytest

from prefine.errors import PrefineError
from prefine.evaluate import scoring, stage
from prefine.evaluate.metrics.base import Metric
from prefine.progress import Progress
from prefine.recipe import Data
from prefine.schema import Group, Score

from ..test_stage import evaluate, prepare, recipe, run, trained_dir  # noqa: F401
from .rows import extra, group

REFERENCES = {f"word {i}": f"a reference {i}" for i in range(12)}


@pytest.fixture
def data(tmp_path):
    rows = [{"prompt": p, "reference": r} if p != "word 1" else {"prompt": p} for p, r in REFERENCES.items()]
    (tmp_path / "with_references.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Data(path=str(tmp_path / "with_references.jsonl"))


def test_values_of_responses_and_of_the_corpus(run, tiny_model_dir, trained_dir, data):  # noqa: F811
    extra("sacrebleu")
    from sacrebleu.metrics.chrf import CHRF

    blocks = [{"name": "chrf"}, {"name": "distinct_n", "n": 1}]
    r = recipe(tiny_model_dir, metrics=blocks, data=data, num_samples=2)
    scores, folder = evaluate(r, run, prepare(run, trained_dir))
    assert scores["win_by"] == "chrf" and scores["tasks"] is None
    facts = scores["metrics"]["chrf"]
    assert facts["signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0")
    rows = [g for g in folder.groups() if g.prompt != "word 1"]
    assert len(rows) == 7 and facts["missing"]["no_reference"] >= 1
    for role, mode in (("model", "greedy"), ("start", "sample")):
        found = scores["models"][role][mode]
        texts = [
            (c.text, REFERENCES[g.prompt])
            for g in rows
            for c in g.candidates
            if (c.generator["role"], c.generator["mode"]) == (role, mode)
        ]
        expected = CHRF().corpus_score([t for t, _ in texts], [[r for _, r in texts]]).score
        assert found["corpus"]["chrf"]["value"] == pytest.approx(expected)
        assert found["corpus"]["chrf"]["n"] == 7 and found["corpus"]["distinct_n"]["low"] is None
        single = [CHRF().sentence_score(t, [r]).score for t, r in texts]
        assert found["metrics"]["chrf"]["value"] == pytest.approx(sum(single) / len(single))
    greedy = scores["win"][0]
    sides = [scores["models"][m]["greedy"]["corpus"]["chrf"]["value"] for m in ("model", "start")]
    gap = greedy["corpus"]["chrf"]
    assert gap["value"] == pytest.approx(sides[0] - sides[1]) and gap["n"] == 7 and 0 < gap["bootstrap_p"] <= 1
    assert list(greedy["corpus"]) == ["chrf"]
    unscored = [c for g in folder.groups() if g.prompt == "word 1" for c in g.candidates]
    assert {(s.value, s.status) for c in unscored for s in c.scores if s.scorer == "chrf"} == {(None, "no_reference")}


def test_a_metric_that_cannot_score_stops_before_anything_is_drawn(
    run,  # noqa: F811
    tiny_model_dir,
    trained_dir,  # noqa: F811
    monkeypatch,
):
    extra("sacrebleu")
    monkeypatch.setattr(stage.Evaluation, "_answer", lambda self: pytest.fail("drawn"))
    stages = prepare(run, trained_dir)
    with pytest.raises(PrefineError, match="none of the 8 prompts has a reference"):
        evaluate(recipe(tiny_model_dir, metrics=[{"name": "bleu"}]), run, stages)
    twice = [{"name": "length"}, {"name": "length"}]
    with pytest.raises(PrefineError, match="two metrics give the score 'characters'; set as_name"):
        evaluate(recipe(tiny_model_dir, metrics=twice), run, stages)


class Counting(Metric):
    """Counts what it is asked, and what becomes of it."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.log: list[str] = []

    def prepare(self, recipe) -> None:
        self.log.append("prepare")

    def scores(self, asked, step):
        self.asked += [text for _, text in asked]
        if "fail" in self.asked:
            raise PrefineError("no more")
        return [Score(self.name, 1.0 if text else None, status="ok" if text else "empty_response") for _, text in asked]

    def close(self) -> None:
        self.log.append("close")


class Plain:
    """Not derived from Metric."""

    name = "plain"

    def __init__(self) -> None:
        pass


def candidates(*texts):
    from prefine.schema import make_candidate

    one: Group = group("r")
    return [(one, make_candidate(one.id, t, key=str(i))) for i, t in enumerate(texts)]


def test_equal_responses_are_asked_for_once_and_reasons_counted(tiny_model_dir):
    metric, rows = Counting(), candidates("a", "", "a", "b")
    facts = scoring.score([metric], rows, recipe(tiny_model_dir), Progress.silent())
    assert metric.asked == ["a", "", "b"] and metric.log == ["prepare", "close"]
    assert [c.score("counting") for _, c in rows] == [1.0, None, 1.0, 1.0]
    assert facts == {"counting": {"higher_is_better": None, "scored": 2, "missing": {"empty_response": 1}}}


def test_a_metric_is_closed_also_when_it_fails(tiny_model_dir):
    metric = Counting()
    with pytest.raises(PrefineError, match="no more"):
        scoring.score([metric], candidates("fail"), recipe(tiny_model_dir), Progress.silent())
    assert metric.log == ["prepare", "close"]


def test_a_class_that_is_no_metric_is_refused():
    with pytest.raises(PrefineError, match="does not derive from"):
        scoring.build([{"name": f"{__name__}:Plain"}], [])
