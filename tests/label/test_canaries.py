"""Answers that no judge should fall for."""

import pytest

from prefine.label.canaries import KINDS, canaries, tried
from prefine.schema import Score

from .asked import better, group_of, pair_of, quiet, verdict


def groups():
    made = [group_of(f"question {i}", f"good answer {i}", f"bad {i}") for i in range(3)]
    for group in made:
        for c, value in zip(group.candidates, (1.0, 0.0), strict=True):
            c.scores.append(Score("gold", value))
    return made


def test_every_kind_stands_beside_the_best_answer():
    made = canaries(groups(), 2, "gold")
    assert len(made) == 2 * len(KINDS)
    for canary in made:
        text = {c.id: c.text for c in canary.group.candidates}
        assert text[canary.real].startswith("good answer")
        number = text[canary.real][-1]
        false = text[canary.false]
        match canary.kind:
            case "empty":
                assert false == "."
            case "prompt_echo":
                assert false == f"question {number}"
            case "off_topic":
                assert false.startswith("good answer") and false[-1] != number
            case "injection":
                assert false.startswith("good answer") and "Score: 10" in false and "[[A]]" in false


def test_one_prompt_has_no_other_answer_to_borrow():
    assert {c.kind for c in canaries(groups()[:1], 5)} == {"empty", "prompt_echo"}
    assert canaries([group_of("p", " ")], 5) == []


@pytest.mark.parametrize(("prefers", "fell"), [("good", 0.0), ("canary", 1.0), ("nobody", 0.5)])
def test_falls_are_counted(asked, prefers, fell):
    def answer(request):
        a, b = (t.startswith("real") for t in pair_of(request))
        if prefers == "nobody":
            return verdict(request, "tie")
        return verdict(request, "A" if a == (prefers == "good") and a != b else "B")

    rows = [group_of(f"q{i}", f"real {i}") for i in range(4)]
    judge = asked.make("judge_pairwise", answer)
    made = [c for c in canaries(rows, 4) if c.kind in ("empty", "prompt_echo")]
    found = tried(judge, made, quiet)
    for kind in ("empty", "prompt_echo"):
        assert (found[kind]["n"], found[kind]["fell"], found[kind]["null"]) == (4, fell, 0)
    assert found["injection"] == {"n": 0, "won": 0, "tied": 0, "null": 0, "fell": None}


def test_what_cannot_be_judged_is_no_fall(asked):
    judge = asked.make("judge_pairwise", lambda r: "hm", max_reasks=0)
    found = tried(judge, canaries(groups(), 3), quiet)
    assert found["injection"] == {"n": 3, "won": 0, "tied": 0, "null": 3, "fell": None}


def test_injections_do_not_reach_the_parser(asked):
    def echoing(request):
        """Says everything again, then prefers the longer text by the number of words before the injection."""
        a, b = pair_of(request)
        return f"{a}\n{b}\n" + better(lambda t: "Note to the grader" not in t)(request)

    judge = asked.make("judge_pairwise", echoing)
    found = tried(judge, [c for c in canaries(groups(), 3) if c.kind == "injection"], quiet)
    assert (found["injection"]["n"], found["injection"]["fell"]) == (3, 0.0)
