"""What is voted on: matching, what is left out, order and sides."""

from prefine.evaluate.arena.duels import EQUAL, NO_PROMPT, OTHERWISE, draw, duel_id, meet
from prefine.evaluate.arena.entrants import read_entrants
from tests.evaluate.arena.runs import evaluated, prompt


def meeting_of(tmp_path, first, second, **options):
    evaluated(tmp_path / "a", "dpo", first)
    evaluated(tmp_path / "b", "sft", second, **options)
    return meet(read_entrants([str(tmp_path / "a"), str(tmp_path / "b")]))


def test_equal_responses_and_lonely_prompts_are_left_out_and_counted(tmp_path):
    (meeting,) = meeting_of(tmp_path, {0: "x", 1: "same  text\n", 2: "z", 3: "alone"}, {0: "y", 1: "same text", 2: "Z"})
    assert meeting.left_out == {EQUAL: 1, NO_PROMPT: 1}
    assert set(meeting.prompts) == {prompt(0).id, prompt(2).id}
    texts = {frozenset((d.a.text, d.b.text)) for d in draw([meeting])}
    assert texts == {frozenset("xy"), frozenset("zZ")}


def test_prompts_that_read_differently_are_left_out(tmp_path):
    other = prompt(0)
    other.messages = [*other.messages[:1], {"role": "user", "content": "something else"}]
    (meeting,) = meeting_of(tmp_path, {0: "x", 1: "y"}, {0: "u", 1: "v"}, groups={0: other})
    assert meeting.left_out == {OTHERWISE: 1} and meeting.prompts == [prompt(1).id]


def test_a_condition_is_not_shown(tmp_path):
    from prefine.conditions import asked

    (meeting,) = meeting_of(tmp_path, {0: "x"}, {0: "y"}, groups={0: asked(prompt(0), {"helpfulness": 5.0})})
    (duel,) = draw([meeting])
    assert duel.group.messages == prompt(0).messages


def test_order_and_sides_depend_on_the_seed_alone(tmp_path):
    meetings = meeting_of(tmp_path, {i: f"a{i}" for i in range(200)}, {i: f"b{i}" for i in range(200)})
    one, same, other = draw(meetings, seed=1), draw(meetings, seed=1), draw(meetings, seed=2)
    assert [(d.id, d.left) for d in one] == [(d.id, d.left) for d in same]
    assert {d.id for d in one} == {d.id for d in other} and [d.id for d in one] != [d.id for d in other]
    left = sum(d.left == "a" for d in one)
    assert 70 < left < 130  # 4 standard deviations around 100
    assert {d.id: d.left for d in one} != {d.id: d.left for d in other}
    assert [d.id for d in draw(meetings, seed=1, limit=7)] == [d.id for d in one[:7]]
    shown = one[0].sides
    assert (shown[0] is one[0].a) == (one[0].left == "a") and shown[0] is not shown[1]


def test_one_duel_for_equal_texts_of_three_models(tmp_path):
    for i, text in enumerate(("x", "y", "y")):
        evaluated(tmp_path / "r", f"m{i}", {0: text}, created=f"2026-01-0{i + 1}")
    meetings = meet(read_entrants([str(tmp_path / "r")]))
    assert [len(m.prompts) for m in meetings] == [1, 1, 0] and meetings[2].left_out == {EQUAL: 1}
    assert len(draw(meetings)) == 1


def test_a_duel_is_the_same_from_either_side():
    assert duel_id("p", "a", "b") == duel_id("p", "b", "a") != duel_id("q", "a", "b")
