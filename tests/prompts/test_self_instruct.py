"""Self-instruct with a scripted model: what is shown, what is accepted, and that a killed run ends in the same rows."""

import json
import re

import pytest

from prefine.engines.base import Outcome, Reply
from prefine.errors import PrefineError
from prefine.progress import Progress
from prefine.prompts import stage
from prefine.prompts.rules import fault
from tests.prompts.world import Stopped, rows, seeds

SEEDS = seeds(
    "Explain how bees find their way home",
    "Translate the word bread into Danish",
    "Sort these animals by weight: cat, cow, ant",
    "Who wrote the novel about the white whale?",
    test=("Who wrote the novel about the white whale?",),
)


def maker(**settings):
    return {
        "name": "self_instruct",
        "engine": {"name": "hf", "model": "writer"},
        "shown_seeds": 2,
        "shown_new": 1,
        "calls": 2,
        **settings,
    }


def run(world, block, groups=SEEDS, include_seeds=False):
    recipe = world.recipe(maker=block, include_seeds=include_seeds)
    source, target = world.folders("prompts", groups)
    counts, facts = stage.run(recipe, target, source, Progress.silent())
    return target, counts, facts


WORDS = ["apple", "brick", "cloud", "drum", "eagle", "flute", "grain", "hill", "iron", "jewel", "knot", "lamp"]


def two_tasks(request):
    """Two tasks by the seed of the request: ten words of which few are shared with any other."""
    n = request.sampling.seed
    return json.dumps([f"Tell {n} things about {WORDS[n % 12]} and number {k}{n} of {n}{k} in town" for k in (1, 2)])


def test_new_prompts_are_written_with_their_provenance_and_counted(world):
    target, counts, facts = run(world({"writer": two_tasks}), maker(target=5, max_similarity=1.0))
    made = rows(target)
    # Two calls of two tasks a round; the fourth round is not needed: 4 + 4 proposals, of which 3 are beyond the target.
    assert len(made) == 5
    assert counts.as_dict()["dropped"] == {"beyond_target": 3, "used_as_seed": 4}
    assert (counts.rows_in, counts.rows_out, counts.extra["proposed"]) == (12, 5, 8)
    first = made[0]
    assert first.messages == [{"role": "user", "content": json.loads(two_tasks_at(3))[0]}]
    assert first.source == {"dataset": "self_instruct", "round": "0", "call": "0", "prefine.task": first.prompt}
    assert [g.source["round"] for g in made] == ["0"] * 4 + ["1"]
    assert facts["session"]["calls"] == 4
    assert all(g.candidates == [] for g in made)


def two_tasks_at(seed):
    from prefine.engines.base import Request, Sampling

    return two_tasks(Request((), Sampling(seed=seed)))


def test_held_out_seeds_are_never_shown_but_nothing_may_repeat_them(world):
    made = world(
        {
            "writer": lambda r: json.dumps(
                ["who wrote the novel about the WHITE whale?", "Bake bread with no oven at all"]
            )
        }
    )
    target, counts, _ = run(made, maker(target=2, max_calls=2))
    assert [g.prompt for g in rows(target)] == ["Bake bread with no oven at all"]
    assert counts.dropped["exact_duplicate"] == 3
    shown = [m["content"] for _, request in made.asked for m in request.messages]
    assert shown
    assert not any("whale" in text for text in shown)


def test_shown_tasks_are_seeds_and_tasks_of_earlier_rounds(world):
    made = world({"writer": two_tasks})
    run(made, maker(target=8, max_similarity=1.0))
    texts = [request.messages[0]["content"] for _, request in made.asked]
    lists = [re.findall(r"^\d\. (.*)$", text, re.MULTILINE) for text in texts]
    assert [len(found) for found in lists] == [2, 2, 3, 3]
    training = {g.prompt for g in SEEDS if g.split == "train"}
    assert all(set(found) <= training for found in lists[:2])
    assert all(len(set(found) - training) == 1 for found in lists[2:])
    # Two calls of one round differ, or they would be one.
    assert len({r.tag for _, r in made.asked}) == 4
    assert len({r.sampling.seed for _, r in made.asked}) == 4


def test_each_reason_is_counted(world):
    replies = [
        json.dumps(
            [
                "Name a fruit",
                "Draw a cat and a dog",
                "Write a program for a shop",
                "Explain how bees find their way home today",
                "Invent a new name for a tea shop",
                "invent a new  name for a TEA shop",
                {
                    "instruction": "Shorten the sentence that follows here",
                    "input": "It was a dark night.",
                    "output": "Dark.",
                },
                {"nothing": 1},
                7,
            ][:8]
        ),
        "no list at all",
        '["Plan a week of meals for four", "Describe the smell of r',
    ]

    def answer(request):
        place = int(request.tag.partition("#")[0])
        return Reply(replies[place], "length" if place == 2 else "stop")

    made = world({"writer": answer})
    target, counts, facts = run(made, maker(calls=3, max_calls=3))
    assert [g.prompt for g in rows(target)] == [
        "Invent a new name for a tea shop",
        "Shorten the sentence that follows here\n\nIt was a dark night.",
        "Plan a week of meals for four",
    ]
    assert counts.dropped == {
        "too_short": 1,
        "blocked_keyword": 1,
        "bad_start": 1,
        "near_duplicate": 1,
        "exact_duplicate": 1,
        "no_task": 1,
        "cut": 1,
        "used_as_seed": 4,
    }
    assert [c.text for g in rows(target) for c in g.candidates] == ["Dark."]
    assert rows(target)[1].candidates[0].generator["role"] == "teacher"
    assert counts.extra["unreadable_replies"] == 1
    # The reply that is no list was asked for once more.
    assert [tag for tag in (r.tag for _, r in made.asked) if tag.startswith("1")] == ["1", "1#1"]
    assert facts["session"]["unparsed"] == 2


def test_lines_and_a_topic_and_a_template(world, tmp_path):
    (tmp_path / "topics.txt").write_text("the sea\n")
    (tmp_path / "mine.txt").write_text("{language}: {count} more\n{tasks}\n\n{topic}\n\n{next}.")
    block = maker(
        style="lines", topics=str(tmp_path / "topics.txt"), template=str(tmp_path / "mine.txt"), count=3, max_calls=1
    )
    made = world({"writer": lambda r: "1. Name four fish of the sea\n2. Say how a wave is made\n\n3. Whales are"})
    target, _, _ = run(made, block)
    assert [g.prompt for g in rows(target)] == ["Name four fish of the sea", "Say how a wave is made"]
    text = made.asked[0][1].messages[0]["content"]
    assert text.startswith("English: 3 more\n1. ")
    assert text.endswith("\n\nAll of them have to do with this topic: the sea\n\n3.")


def test_continue_lets_the_engine_write_the_users_turn(world):
    groups = seeds("Name three birds of the forest", "Name three kinds of bread")
    from prefine.schema import make_candidate

    groups[0].candidates = [make_candidate(groups[0].id, "Owl, jay, finch.")]
    made = world({"writer": lambda r: "Name three towns by the sea"})
    target, counts, _ = run(made, maker(style="continue", max_calls=2), groups)
    assert [g.prompt for g in rows(target)] == ["Name three towns by the sea"]
    assert counts.dropped["exact_duplicate"] == 1
    assert made.asked[0][1].messages == (
        {"role": "user", "content": "Name three birds of the forest"},
        {"role": "assistant", "content": "Owl, jay, finch."},
    )


def test_cases_make_prompts_with_answers(world):
    def answer(request):
        text = request.messages[0]["content"]
        if request.purpose.startswith("self_instruct:classify"):
            return "yes" if "kind of animal" in text else "no"
        if request.purpose.startswith("self_instruct:instances"):
            if '"label"' in text:
                return json.dumps([{"label": "fish", "input": "trout"}, {"label": "bird", "input": "owl"}])
            return json.dumps([{"input": "", "output": "A poem."}]) if "poem" in text else "[]"
        return json.dumps(["Say which kind of animal it is", "Write a poem about rain", "Count the vowels of a word"])

    target, counts, facts = run(world({"writer": answer}), maker(instances=2, max_calls=1))
    made = rows(target)
    assert [(g.prompt, g.candidates[0].text) for g in made] == [
        ("Say which kind of animal it is\n\ntrout", "fish"),
        ("Say which kind of animal it is\n\nowl", "bird"),
        ("Write a poem about rain", "A poem."),
    ]
    assert counts.dropped == {"no_case": 1, "used_as_seed": 4}
    # Three proposals, one of them with a second case.
    assert counts.extra["proposed"] == 4
    assert set(facts["maker"]["texts"]) == {"propose", "classify", "instances", "instances_by_label"}


def test_valid_rejects_and_may_know_the_task(world):
    replies = lambda r: json.dumps(["sort the words pear and fig", "tell me the time of day"])  # noqa: E731
    block = maker(max_calls=1, valid="tests.prompts.checkers:with_meta")
    target, counts, _ = run(world({"writer": replies}), block)
    (made,) = rows(target)
    assert (made.task, made.task_meta) == ("other", {"length": "27"})
    assert counts.dropped["invalid"] == 1
    with pytest.raises(PrefineError, match=r"valid gave .* it may give true, false, or task and task_meta"):
        run(world({"writer": replies}, name="other"), maker(max_calls=1, valid="tests.prompts.checkers:wrong"))


def test_a_kill_after_any_call_ends_in_the_same_rows_and_asks_nothing_twice(world):
    block = maker(target=7, max_similarity=1.0, instances=1)

    def answer(request):
        if "classify" in request.purpose:
            return "no"
        if "instances" in request.purpose:
            return json.dumps([{"input": f"case {len(request.messages[0]['content'])}", "output": "done"}])
        return two_tasks(request)

    whole = world({"writer": answer}, name="whole")
    target, counts, _ = run(whole, block)
    total = sum(whole.calls.values())
    assert total == 4 + 8 + 8
    for limit in (1, 3, 9, 11, total - 1):
        world_ = world({"writer": answer}, limit, name=f"killed-{limit}")
        with pytest.raises(Stopped):
            run(world_, block)
        world_.limit = None
        again, after, _ = run(world_, block)
        assert rows(again) == rows(target)
        assert after.as_dict() == counts.as_dict()
        assert set(world_.calls.values()) == {1}
        assert set(world_.calls) == set(whole.calls)


def test_the_order_of_the_seeds_does_not_matter(world):
    first, _, _ = run(world({"writer": two_tasks}, name="a"), maker(target=4, max_similarity=1.0))
    other, _, _ = run(world({"writer": two_tasks}, name="b"), maker(target=4, max_similarity=1.0), SEEDS[::-1])
    assert rows(first) == rows(other)


def test_a_call_that_is_answered_after_its_round_was_committed_changes_nothing(world):
    failing = {"0": True}

    def answer(request):
        if request.tag in failing:
            return Outcome("failed_retryable", error="timeout: too slow")
        return two_tasks(request)

    made = world({"writer": answer}, 5)
    block = maker(target=6, max_similarity=1.0)
    with pytest.raises(Stopped):
        run(made, block)
    source, target = made.folders("prompts", SEEDS)
    committed = rows(target)
    assert {g.source["call"] for g in committed if g.source["round"] == "0"} == {"1"}
    failing.clear()
    made.limit = None
    counts, _ = stage.run(made.recipe(maker=block), target, source, Progress.silent())
    assert rows(target)[: len(committed)] == committed
    assert counts.as_dict()["dropped"]["answered_too_late"] == 2


def test_seeds_go_on_only_if_asked_and_splits_are_the_datas(world):
    target, counts, _ = run(world({"writer": two_tasks}), maker(target=4, max_similarity=1.0), include_seeds=True)
    made = rows(target)
    assert {g.id for g in made} > {g.id for g in SEEDS}
    assert counts.dropped == {}
    assert {g.prompt for g in made[:4] if g.split == "test"} == {"Who wrote the novel about the white whale?"}
    from prefine.data.split import split_of

    assert all(g.split == split_of(g, 0.2, "prefine") for g in made[4:])


def test_nothing_to_show_and_nothing_made_are_errors(world):
    held = seeds("Only one seed that is held out", test=("Only one seed that is held out",))
    with pytest.raises(PrefineError, match="none of the 1 seeds is for training"):
        run(world({"writer": two_tasks}), maker(), held)
    with pytest.raises(PrefineError, match=r"none of 2 proposals became a prompt .*2 too_short"):
        run(world({"writer": lambda r: '["short"]'}, name="other"), maker(max_calls=2))


def test_the_rules_of_the_defaults_are_the_published_ones():
    assert fault("one two three", "English", [], 4, 150) == "too_short"
