"""A labeler that compares, in the place of a benchmark's judge: whose chance, and in which order."""

import pytest

from prefine.evaluate.judged.asking import Judged, LabelerJudge
from prefine.evaluate.judged.base import candidates
from prefine.label.base import Labels
from prefine.schema import Comparison, make_group
from tests.evaluate.judged.conftest import step


def judged(monkeypatch, comparison):
    """What becomes of the comparison that `comparison(baseline, ours)` makes."""
    judge = LabelerJudge({"name": "programmatic", "function": "a:b"})
    group = make_group([{"role": "user", "content": "q"}])
    group.candidates = candidates(group.id, ("base", "ours"), ("gpt", "dpo"))
    ids = [c.id for c in group.candidates]
    monkeypatch.setattr(judge.labeler, "label", lambda groups, step: [Labels([[], []], [comparison(*ids)])])
    (found,) = judge.pairs([group], step)
    return found, judge


def test_the_chance_is_ours_whoever_is_named_first(monkeypatch):
    # Ours wins with 0.9 where it is shown first, with 0.6 where it is second.
    wanted = Judged(pytest.approx(0.75), [pytest.approx(0.6), pytest.approx(0.9)])  # type: ignore[arg-type]
    straight, judge = judged(monkeypatch, lambda base, ours: Comparison(ours, base, "a", "j", 0.75, [0.9, 0.6]))
    turned, _ = judged(monkeypatch, lambda base, ours: Comparison(base, ours, "b", "j", 0.25, [0.4, 0.1]))
    assert straight == wanted and turned == wanted
    assert judge.facts()["orders"]["comparisons"] == 1


def test_outcomes_without_a_chance(monkeypatch):
    for outcome, p in (("a", 1.0), ("b", 0.0), ("tie", 0.5)):
        assert judged(monkeypatch, lambda base, ours, o=outcome: Comparison(ours, base, o, "j"))[0].p == p
    found, _ = judged(monkeypatch, lambda base, ours: Comparison(ours, base, "invalid", "j", None, [1.0, None]))
    assert found == Judged(None, [None, None], "no_verdict")
