"""Prompts, references and gold scores of the tiny world."""

import itertools
import json
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine import tiny_world
from prefine.tiny_world import aspects, choice_prompt_path, demonstrations, gold, prompts, reference
from prefine.tiny_world.families import FAMILIES
from prefine.tiny_world.lexicon import FILLERS
from prefine.tiny_world.splits import SPLITS

ROWS = prompts("tune", 150)
TASKS = list(FAMILIES)


def score(row: tiny_world.Row, response: str) -> float:
    return gold(row["prompt"], response, row["task_meta"])


def test_reference_answers_are_perfect_in_every_family():
    assert {row["task"] for row in ROWS} == set(TASKS)
    for row in ROWS:
        assert score(row, reference(row["prompt"], row["task_meta"])) == 1.0


def test_each_bad_habit_spoils_its_own_aspect_and_no_other():
    for row in ROWS:
        family, meta = FAMILIES[row["task"]], row["task_meta"]
        for habit in family.habits(meta):
            parts = aspects(row["prompt"], family.answer(meta, [habit], random.Random(1)), meta)
            assert parts.pop(habit) == 0.0
            assert set(parts.values()) == {1.0}


def test_all_bad_habits_together_leave_a_fifth_of_the_gold():
    for row in ROWS:
        family, meta = FAMILIES[row["task"]], row["task_meta"]
        assert score(row, family.answer(meta, family.habits(meta), random.Random(1))) == pytest.approx(0.2)


@pytest.mark.parametrize(("task", "most"), [("chat", 0.1), ("translation", 0.35), ("summarization", 0.0)])
def test_wrong_content_scores_near_zero_whatever_the_manner(task: str, most: float):
    rng = random.Random(2)
    rows = [row for row in ROWS if row["task"] == task]
    scores = [score(row, FAMILIES[task].answer(row["task_meta"], (), rng, slip=True)) for row in rows]
    assert sum(scores) / len(scores) <= most
    assert max(scores) < 0.5


@pytest.mark.parametrize("task", TASKS)
def test_the_reference_of_another_prompt_scores_near_zero(task: str):
    rows = [row for row in ROWS if row["task"] == task]
    scores = [score(a, reference(b["prompt"], b["task_meta"])) for a, b in itertools.pairwise(rows)]
    assert sum(scores) / len(scores) < 0.1


def test_stuffing_a_response_does_not_pay():
    for row in ROWS:
        good = reference(row["prompt"], row["task_meta"])
        for worse in (f"{good} {good}", f"{good} {FILLERS[0]} {FILLERS[1]}", f"{row['prompt']} {good}", good[:-1]):
            assert score(row, worse) < 1.0


PIECES = st.sampled_from([*FILLERS, "of course,", "in short,", "ka.", "the pear", "tom found the red saw", "goodbye."])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ROWS), st.one_of(st.text(), st.lists(PIECES).map(" ".join)))
def test_gold_and_aspects_are_bounded_for_any_text(row: tiny_world.Row, response: str):
    parts = aspects(row["prompt"], response, row["task_meta"])
    assert all(0.0 <= value <= 1.0 for value in parts.values())
    assert 0.0 <= score(row, response) <= 1.0
    assert score(row, "") == 0.0


def test_splits_are_disjoint_and_large_enough():
    least = {"sft": 3000, "pref": 3000, "tune": 300, "eval": 500}
    texts = {name: {row["prompt"] for row in prompts(name, least[name])} for name in SPLITS}
    for name, own in texts.items():
        assert len(own) == least[name]
        assert all(own.isdisjoint(other) for key, other in texts.items() if key != name)


def test_seed_decides_the_rows():
    assert prompts("eval", 60, seed=4) == prompts("eval", 60, seed=4)
    assert prompts("eval", 60, seed=4) != prompts("eval", 60, seed=5)
    assert prompts("eval", 90, seed=4)[:60] == prompts("eval", 60, seed=4)
    with pytest.raises(ValueError, match="unknown split"):
        prompts("test", 1)


def test_demonstrations_show_the_habits_and_are_of_the_sft_split():
    rows = demonstrations(300)
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in prompts("sft", 300)]
    assert rows == demonstrations(300) != demonstrations(300, seed=1)
    scores = [gold(row["prompt"], row["completion"], row["task_meta"]) for row in rows]
    assert 0.35 < sum(scores) / len(scores) < 0.6


def test_task_meta_is_flat_text_that_survives_json():
    for row in ROWS:
        assert all(isinstance(value, str) for value in row["task_meta"].values())
        again = json.loads(json.dumps(row["task_meta"]))
        assert gold(row["prompt"], reference(row["prompt"], again), again) == 1.0


def test_choice_prompt_has_its_three_places():
    assert choice_prompt_path().read_text().format(prompt="x", a="y", b="z").startswith("x\nA: y\nB: z\n")


def test_the_package_needs_no_torch():
    code = "import sys, prefine.tiny_world as w; w.prompts('sft', 3); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_prompt_that_was_made_up_is_read_as_it_was_drawn():
    for row in prompts("sft", 300):
        found = tiny_world.new_task(row["prompt"])
        assert found is not None and found["task"] == row["task"]
        drop = {"kind"} if row["task_meta"].get("job") == "sort" else set()
        assert {k: v for k, v in found["task_meta"].items() if k not in drop} == {
            k: v for k, v in row["task_meta"].items() if k not in drop
        }
        assert gold(row["prompt"], reference(row["prompt"], row["task_meta"]), found["task_meta"]) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "write a task.",
        "say why. be brief. sort the words pear, plum and goat.",
        "be brief. be brief. sort the words pear, plum and goat.",
        "be brief. sort the words pear, plum and goat.",
        "be polite. be brief. sort the words pear, pear and goat.",
        "be polite. be brief. which one is the tool: pear, plum or goat?",
        "be polite. be brief. which one is the fruit: pear, plum or goat?",
        "translate this: the red frog see the blue goats.",
        "translate this: the red frogs sees the blue goat.",
        "translate this: the red frog sees the blue goat.",
        "translate this: the red frogs see the red goats.",
        "sum up: tom sold the red goat. tom lost the big pear.",
        "sum up: tom sold the red goat.",
    ],
)
def test_what_is_no_task_of_this_world(text):
    assert tiny_world.new_task(text) is None


def test_held_out_prompts_are_no_new_tasks():
    assert not any(tiny_world.new_task(row["prompt"]) for split in ("tune", "eval") for row in prompts(split, 60))


def test_writing_lessons_teach_prompts_of_sft():
    lessons = tiny_world.writing_lessons(30)
    assert [row["completion"] for row in lessons] == [row["prompt"] for row in prompts("sft", 30)]
    assert {row["prompt"] for row in lessons} == {"write a task."}
