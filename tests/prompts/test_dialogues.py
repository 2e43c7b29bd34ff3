"""Simulated dialogues with scripted models: roles, cuts, rejections, and resuming in the middle of a conversation."""

import json

import pytest

from prefine.engines.base import Reply
from prefine.errors import PrefineError
from prefine.progress import Progress
from prefine.prompts import dialogues, stage
from prefine.prompts.dialogues import swapped
from tests.prompts.world import Stopped, rows, seeds

SEEDS = seeds("Tell me about bees", "How is bread made?", "What is a prime number?", "Held out", test=("Held out",))


def maker(**settings):
    return {
        "name": "dialogues",
        "engine": {"name": "hf", "model": "assistant"},
        "user_engine": {"name": "hf", "model": "user"},
        "turns": [0, 0, 1],
        "cut": "last",
        **settings,
    }


def run(world, block, groups=SEEDS):
    source, target = world.folders("prompts", groups)
    counts, facts = stage.run(world.recipe(maker=block), target, source, Progress.silent())
    return target, counts, facts


def assistant(request):
    return f"Answer {len(request.messages)} about {request.messages[0]['content']}"


def user(request):
    """A follow-up that differs from turn to turn."""
    turn = sum(m["content"].startswith("Answer") for m in request.messages)
    return ["", "How much honey does that give?", "Would it cost more time than money?", "Why not?"][turn]


def test_a_dialogue_has_its_turns_and_swapped_roles(world):
    made = world({"assistant": assistant, "user": user})
    target, counts, facts = run(made, maker())
    groups = {g.messages[0]["content"]: g for g in target.groups()}
    assert set(groups) == {g.prompt for g in SEEDS if g.split == "train"}
    bees = groups["Tell me about bees"]
    assert [m["role"] for m in bees.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert bees.messages[1]["content"] == "Answer 1 about Tell me about bees"
    assert bees.messages[4]["content"] == "Would it cost more time than money?"
    assert bees.candidates[0].text == "Answer 5 about Tell me about bees"
    assert bees.candidates[0].generator == {"model": "assistant", "role": "teacher"}
    assert bees.source["persona"]
    assert counts.as_dict()["dropped"] == {"used_as_seed": 4}
    assert (facts["assistant"]["calls"], facts["user"]["calls"]) == (9, 6)
    simulated = [r.messages for model, r in made.asked if model == "user" and len(r.messages) == 5]
    for messages in simulated:
        assert [m["role"] for m in messages] == ["user", "assistant", "user", "assistant", "user"]
        assert any(g.source["persona"] in messages[0]["content"] for g in groups.values())
    assert all("Held out" not in m["content"] for _, r in made.asked for m in r.messages)


def test_swapping():
    talk = [{"role": r, "content": c} for r, c in (("system", "s"), ("user", "u"), ("assistant", "a"))]
    assert swapped(talk) == [{"role": "assistant", "content": "u"}, {"role": "user", "content": "a"}]


def test_every_turn_can_be_a_prompt_but_the_seed_is_none(world):
    target, counts, _ = run(world({"assistant": assistant, "user": user}), maker(cut="every", responses=False))
    lengths = sorted(len(g.messages) for g in target.groups())
    assert lengths == [3, 3, 3, 5, 5, 5]
    assert counts.extra["proposed"] == 6
    assert all(g.candidates == [] for g in target.groups())
    hashed, _, _ = run(world({"assistant": assistant, "user": user}, name="h"), maker(cut="hash"))
    assert {len(g.messages) for g in hashed.groups()} <= {3, 5}


def test_turns_are_drawn_by_their_weights(world):
    groups = seeds(*[f"Question number {i} about {i * i}" for i in range(200)])

    def both(request):
        return user(request) if request.purpose.startswith("dialogues:user") else assistant(request)

    block = maker(turns=[0, 1, 3], user_engine=None, engine={"name": "hf", "model": "both"})
    target, _, facts = run(world({"both": both}), block, groups)
    assert set(facts) == {"maker", "session"}
    lengths = [len(g.messages) for g in target.groups()]
    assert set(lengths) == {3, 5}
    # 3/4 of 200, four standard deviations of sqrt(200 * 3/16) = 6.1.
    assert abs(lengths.count(5) - 150) < 25


def test_a_bad_turn_is_asked_for_again_and_then_ends_the_dialogue(world):
    tries = []

    def stubborn(request):
        if "bread" in request.messages[1]["content"]:
            tries.append(request.tag)
            return "As an AI language model I have nothing to ask."
        return user(request)

    target, counts, _ = run(world({"assistant": assistant, "user": stubborn}), maker(max_reasks=2))
    assert len(tries) == 3
    assert [tag.partition("#")[2] for tag in tries] == ["", "1", "2"]
    assert counts.dropped == {"no_user_turn": 1, "used_as_seed": 4}
    assert counts.extra["user_turn_like_an_assistant"] == 3
    assert len(rows(target)) == 2


def test_a_dialogue_that_breaks_off_late_is_kept_up_to_there(world):
    def short(request):
        return "" if user(request).startswith("Would") else user(request)

    target, _, _ = run(world({"assistant": assistant, "user": short}), maker())
    assert [len(g.messages) for g in target.groups()] == [3, 3, 3]
    again, _, _ = run(world({"assistant": assistant, "user": short}, name="m"), maker(cut="every", min_turns=2))
    assert len(rows(again)) == 3
    with pytest.raises(PrefineError, match="3 no_user_turn"):
        run(world({"assistant": assistant, "user": short}, name="n"), maker(min_turns=3))


def test_a_cut_answer_is_no_answer(world):
    def cut(request):
        return Reply("half of an", "length") if "bees" in request.messages[0]["content"] else assistant(request)

    target, counts, _ = run(world({"assistant": cut, "user": user}), maker(max_reasks=0))
    assert counts.dropped["no_answer"] == 1
    assert len(rows(target)) == 2


def test_the_simulator_can_write_in_the_users_place(world):
    made = world({"assistant": assistant, "user": user})
    run(made, maker(simulator="continue"))
    seen = [r.messages for model, r in made.asked if model == "user"]
    assert all(m[0]["role"] == "user" and m[-1]["role"] == "assistant" and len(m) % 2 == 0 for m in seen)


def test_openings_about_topics(world, tmp_path):
    (tmp_path / "topics.txt").write_text("the sea\ncooking\n")

    def writer(request):
        text = request.messages[0]["content"]
        if request.purpose.startswith("dialogues:aspects"):
            return json.dumps([f"aspect {i} of {'cooking' if 'cooking' in text else 'the sea'}" for i in (1, 2, 3)])
        if request.purpose.startswith(("dialogues:questions", "dialogues:writing", "dialogues:material")):
            return f'"Tell me this: {sum(map(ord, text))} of what?"' if "aspect 1" not in text else "User: no"
        return user(request)

    topics = {"opening": "topics", "topics": str(tmp_path / "topics.txt"), "max_reasks": 0}
    block = maker(**topics, per_topic=2, areas={"questions": 1, "writing": 1})
    target, counts, _ = run(world({"assistant": assistant, "user": writer}), block)
    made = rows(target)
    # Two topics, two of three aspects each; lines about the first aspect are not usable.
    assert counts.extra["openings_not_usable"] == 2
    assert {g.source["topic"] for g in made} == {"the sea: aspect 2 of the sea", "cooking: aspect 2 of cooking"}
    assert all(g.messages[0]["content"].startswith("Tell me this: ") for g in made)
    only = maker(**topics, areas={"material": 1}, per_topic=3)
    target, _, _ = run(world({"assistant": assistant, "user": writer}, name="material"), only)
    training = {g.prompt: g for g in SEEDS if g.split == "train"}
    for group in target.groups():
        assert (group.source["area"], group.source["topic"]) == ("material", "")
        text = group.messages[0]["content"].partition("\n\n")[2]
        # Held out or not as the seed whose text it is about.
        assert group.task_meta["split_key"] == training[text].prompt.casefold()


def test_a_kill_after_any_call_ends_in_the_same_rows_and_asks_nothing_twice(world, monkeypatch):
    monkeypatch.setattr(dialogues, "PART", 2)
    whole = world({"assistant": assistant, "user": user}, name="whole")
    target, counts, _ = run(whole, maker(cut="hash"))
    total = sum(whole.calls.values())
    assert total == 15
    for limit in (1, 4, 8, 11, 14):
        killed = world({"assistant": assistant, "user": user}, limit, name=f"killed-{limit}")
        with pytest.raises(Stopped):
            run(killed, maker(cut="hash"))
        killed.limit = None
        again, after, _ = run(killed, maker(cut="hash"))
        assert rows(again) == rows(target)
        assert after.as_dict() == counts.as_dict()
        assert killed.calls == whole.calls
        assert set(killed.calls.values()) == {1}


def test_settings_that_do_not_fit_are_errors(world):
    from prefine.registry import makers

    for settings, message in (
        ({"opening": "topics"}, "needs the setting topics"),
        ({"turns": [0, 0]}, "turns must be weights"),
        ({"min_turns": 4}, "min_turns must be from 1 to the 3"),
    ):
        with pytest.raises(PrefineError, match=message):
            makers.check(maker(**settings))
