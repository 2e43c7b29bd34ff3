"""Multiple choice through an engine: the same scores, strengths, and lists in every cyclic shift."""

import json
import math
import re

import pytest

from prefine.errors import PrefineError
from prefine.label.strength import bradley_terry
from prefine.registry import labelers

from .asked import ENGINE, RECIPE, first, group_of, text


def pair(request):
    found = re.search(r"=== Answer A ===\n(.*?)\n=== Answer B ===\n(.*?)\n=== End", text(request), re.DOTALL)
    return found[1], found[2]


# Probabilities of A, B and None by the texts shown first and second.
TABLE = {
    ("a", "b"): (0.6, 0.3, 0.1),
    ("b", "a"): (0.5, 0.4, 0.1),
    ("a", "c"): (0.2, 0.7, 0.0),
    ("c", "a"): (0.9, 0.1, 0.0),
    ("b", "c"): (0.4, 0.4, 0.2),
    ("c", "b"): (0.5, 0.3, 0.2),
}


def table(request):
    a, b, none = (math.log(p) if p else -50.0 for p in TABLE[pair(request)])
    return first(A=a, B=b, **{"None": none})


def values(labels, aspect=None):
    return [next((s.value for s in row if s.aspect == aspect), None) for row in labels.scores]


@pytest.mark.acceptance(name="choice_probabilities")
def test_pairs_by_hand(asked):
    group = group_of("p", "a", "b", "c", "a", "")
    choice, [found] = asked.label("choice", table, [group])
    p = [(0.6 + 0.4 + 0.2 + 0.1) / 4, (0.3 + 0.5 + 0.4 + 0.3) / 4, (0.7 + 0.9 + 0.4 + 0.5) / 4]
    assert values(found, "p") == pytest.approx([*p, p[0], None])
    assert values(found) == pytest.approx([math.log(x) for x in [*p, p[0]]] + [None])
    assert len(asked.requests) == 6 == choice.calls([group])
    assert len(found.scores[0][0].refs) == 4
    facts = choice.facts([group])
    assert facts["session"]["calls"] == 6
    assert facts["position_bias"] is not None


def test_strengths_of_the_pairs(asked):
    _, [found] = asked.label("choice", table, [group_of("p", "a", "b", "c")], mode="bradley_terry")
    ab = (0.6 / 0.9 + 0.4 / 0.9) / 2
    ac = (0.2 / 0.9 + 0.1 / 1.0) / 2
    bc = (0.4 / 0.8 + 0.3 / 0.8) / 2
    wanted = bradley_terry(3, {(0, 1): ab, (0, 2): ac, (1, 2): bc}, 0.1)
    assert values(found) == pytest.approx(wanted)
    assert values(found)[2] == max(values(found))


def test_a_pair_without_an_answer_leaves_the_other_strengths(asked):
    def answer(request):
        return first(x=0.0) if set(pair(request)) == {"a", "b"} else table(request)

    _, [found] = asked.label("choice", answer, [group_of("p", "a", "b", "c")], mode="bradley_terry")
    assert None not in values(found)
    _, [none] = asked.label("choice", lambda r: first(x=0.0), [group_of("p", "a", "b")], mode="bradley_terry")
    assert [row[0].status for row in none.scores] == ["no_usable_answer"] * 2


def listed(request):
    return re.findall(r"=== answer ([A-Z]) \w{8} ===\n(.*?)\n=== end", text(request), re.DOTALL)


def test_lists_in_every_shift(asked):
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}

    def answer(request):
        # Half goes by quality, a tenth always to A.
        shares = {letter: 0.5 * weights[t] / 8 for letter, t in listed(request)}
        shares["A"] += 0.1
        return first(**{letter: math.log(p) for letter, p in shares.items()})

    group = group_of("p", "c", "a", "b")
    choice, [found] = asked.label("choice", answer, [group], mode="listwise")
    assert len(asked.requests) == 3 == choice.calls([group])
    assert [[t for _, t in listed(r)] for r in asked.requests] == [list("abc"), list("bca"), list("cab")]
    p = [(3 * 0.5 * weights[t] / 8 + 0.1) / 0.6 / 3 for t in "cab"]
    assert values(found, "p") == pytest.approx(p)
    assert sum(p) == pytest.approx(1)
    assert values(found) == pytest.approx([math.log(x) for x in p])
    assert values(found, "first")[0] == pytest.approx((0.5 * 5 / 8 + 0.1) / 0.6)
    # First .1 / .6 more than elsewhere, whatever the text.
    assert choice.facts([group])["position_bias"] == pytest.approx(0.1 / 0.6, abs=1e-6)


def test_lists_need_every_shift(asked):
    def answer(request):
        return first(x=0.0) if listed(request)[0][1] == "b" else first(A=0.0)

    _, [found, alone, many] = asked.label(
        "choice",
        answer,
        [group_of("p", "a", "b"), group_of("q", "a"), group_of("r", *(f"t{i}" for i in range(27)))],
        mode="listwise",
    )
    assert [row[0].status for row in found.scores] == ["no_usable_answer"] * 2
    assert alone.scores[0][0].status == "only_response"
    assert many.scores[0][0].status == "too_many_responses"


def by_number(request):
    """Answers both kinds of questions: the larger number wins with 0.8; in a list the largest has 0.8 by itself."""
    shown = listed(request) or list(zip("AB", pair(request), strict=True))
    best = max(shown, key=lambda item: int(item[1]))[0]
    rest = [letter for letter, _ in shown if letter != best]
    return first(**{best: math.log(0.8)}, **{letter: math.log(0.2 / len(rest)) for letter in rest})


def test_from_six_responses_on_all_are_asked_about_at_once(asked):
    groups = [group_of(f"p{n}", *map(str, range(n))) for n in (5, 6, 2)]
    choice, found = asked.label("choice", by_number, groups)
    assert choice.calls(groups) == len(asked.requests) == 5 * 4 + 6 + 2
    assert [len(listed(r)) for r in asked.requests].count(6) == 6
    # Response i of 5 beats i others with 0.8 and loses to 4 - i; the best of 6 is picked with 0.8 each time.
    assert values(found[0], "p") == pytest.approx([(0.8 * i + 0.2 * (4 - i)) / 4 for i in range(5)])
    assert values(found[1], "p") == pytest.approx([0.04] * 5 + [0.8])
    assert values(found[2], "p") == pytest.approx([0.2, 0.8])
    facts = choice.facts(groups)
    assert facts["session"]["calls"] == 22 and facts["lists"]["session"]["calls"] == 6


@pytest.mark.parametrize("settings", [{"swap": False}, {"mode": "mean"}, {"template": "pairs.txt"}, {"responses": 27}])
def test_what_keeps_pairs(asked, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.txt").write_text("{prompt}\n=== Answer A ===\n{a}\n=== Answer B ===\n{b}\n=== End\nA, B, None?")
    n = settings.pop("responses", 6)
    choice, _ = asked.label("choice", by_number, [group_of("p", *map(str, range(n)))], **settings)
    assert len(asked.requests) == choice.calls([group_of("p", *map(str, range(n)))])
    assert len(asked.requests) == n * (n - 1) // (1 if settings.get("swap", True) else 2)


def test_scores_are_divided_by_the_temperature_that_fits_people(asked, tmp_path):
    rows = [{"prompt": f"q{i}", "chosen": "2", "rejected": "1"} for i in range(3)]
    rows.append({"prompt": "other", "chosen": "1", "rejected": "2"})
    (tmp_path / "people.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    path = str(tmp_path / "people.jsonl")
    group = group_of("p", "1", "2")
    choice, [found] = asked.label("choice", by_number, [group], calibration=path)
    # The judge prefers "2" by ln 0.8 - ln 0.2 = ln 4, and three of four people do: sigmoid(ln 4 / T) = 3 / 4.
    t = math.log(4) / math.log(3)
    assert choice.temperature == pytest.approx(t)
    assert values(found) == pytest.approx([math.log(0.2) / t, math.log(0.8) / t])
    assert values(found, "p") == pytest.approx([0.2, 0.8]), "the probabilities stay as they are"
    facts = choice.prepare(RECIPE)["calibration"]
    assert facts["comparisons"] == 4 and facts["at_bound"] is False
    loss = -(3 * math.log(0.75) + math.log(0.25)) / 4
    assert facts["loss_after"] == pytest.approx(loss, abs=1e-6) and facts["loss_before"] > facts["loss_after"]


def test_a_model_or_an_engine():
    for block in ({}, {"model": "m", "engine": ENGINE}):
        with pytest.raises(PrefineError, match="give either model, for a teacher in this process, or engine"):
            labelers.check({"name": "choice", **block})
    with pytest.raises(PrefineError, match="ridge must be above 0"):
        labelers.check({"name": "choice", "model": "m", "ridge": 0.0})
