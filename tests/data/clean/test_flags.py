"""Flags on responses: each by an example that has it and one that nearly has it."""

import pytest

from prefine.data.clean.degeneration import compression, containment, flags_of, repeated_share
from prefine.errors import PrefineError
from prefine.registry import cleaners

from .folders import clean, group_of, pair_of, prefer

FLAGS = {"name": "flags"}
LOOP = "and then it goes on " * 20
FINE = "The capital of France is Paris, a city on the Seine with about two million people living inside its limits."
REFUSAL = "I'm sorry, but I can't help with that."


def not_a_loop(n: int = 60) -> str:
    return " ".join(f"word{i}" for i in range(n))


def test_repetition_is_measured_on_4_grams_and_bytes():
    # 10 words twice: 17 four-grams, of which 10 are different (those across the seam included).
    twice = not_a_loop(10) + " " + not_a_loop(10)
    assert repeated_share(twice) == 0.0, "too short to say"
    long = not_a_loop(30) + " " + not_a_loop(30)
    assert repeated_share(long) == pytest.approx(1 - 30 / 57)
    assert compression("ab" * 100) == 1.0 and compression("ab" * 1000) < 0.05


def test_a_copy_of_the_prompt_is_one_whose_4_grams_are_there():
    assert containment("one two three four five six seven", "zero one two three four five six seven eight") == 1.0
    # 4 four-grams, the last of which has a word that the prompt lacks.
    assert containment("a b c d e f x", "a b c d e f") == 0.75
    assert containment("yes", "yes") == 0.0


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        (" \n", "empty"),
        (LOOP, "repetitive"),
        ("x" * 2000, "repetitive"),
        ("Sure.<|im_end|>", "template_residue"),
        ("Yes.\nHuman: and now?", "template_residue"),
        ("Done [/INST]", "template_residue"),
        ("It is \x00 here", "control_characters"),
        ("It\u00c3\u00a9 is caf\u00c3\u00a9", "control_characters"),
        (REFUSAL, "refusal"),
        ("I apologize, but I cannot provide instructions for this.", "refusal"),
        ("As an AI language model, I am unable to have opinions.", "refusal"),
        ("Write to anna.b@example.org", "secret"),
        ("key: sk-abcdefghijklmnop1234", "secret"),
    ],
)
def test_a_flag_is_raised(text, flag):
    assert flag in flags_of(text, "What is it?")


@pytest.mark.parametrize(
    "text",
    [
        FINE,
        not_a_loop(),
        "I'm sorry to hear that. Here is what you can do: call a friend.",
        "You can't help it; it is the law of gravity.",
        REFUSAL + " " + not_a_loop(80),
        "Use a < b and c > d; see item 3.",
        "1. one\n2. two\n3. three",
        "The number is 12345 and the year 2024.",
    ],
)
def test_no_flag_is_raised(text):
    assert flags_of(text, "What is it?") == {}


def test_unfinished_and_copies():
    assert flags_of("It is", "p", finished=False) == {"unfinished": "cut off at the token limit"}
    prompt = "Please tell me how to get to the station from here"
    assert "copies_prompt" in flags_of("tell me how to get to the station", prompt)
    assert "copies_prompt" not in flags_of("tell me how to get to the station", prompt, rewriting=True)


def test_responses_end_with_their_comparisons_and_groups_with_their_last_response(tmp_path):
    some = group_of("p", FINE, LOOP, "ok then", scores=[1.0, 0.5, 0.0])
    prefer(some, 0, 1)
    prefer(some, 0, 2)
    none = group_of("q", LOOP, " ")
    useless = group_of("r", FINE, LOOP)
    prefer(useless, 0, 1)
    found = clean(tmp_path, [some, none, useless], FLAGS)
    [row] = found.rows
    assert [c.text for c in row.candidates] == [FINE, "ok then"] and len(row.comparisons) == 1
    fates = found.dropped()
    loop, blank = none.candidates
    assert fates[none.id] == ("repetitive" if loop.id < blank.id else "empty")
    assert fates[some.candidates[1].id] == fates[useless.id] == "repetitive"
    assert found.told["parts_dropped"] == {"repetitive": 3, "empty": 1}
    assert (found.counts["rows_in"], found.counts["rows_out"]) == (3, 1)
    assert found.told["flags"]["repetitive"] == {"rejected": 2, "response": 1}


def test_a_refusal_is_bad_only_where_it_is_chosen_and_help_is_the_goal(tmp_path):
    chosen, rejected = pair_of("p", REFUSAL, FINE), pair_of("q", FINE, REFUSAL)
    found = clean(tmp_path, [chosen, rejected], FLAGS)
    assert found.dropped()[chosen.id] == "refusal" and found.fate(rejected.id)[0]
    assert found.told["flags"] == {"refusal": {"chosen": 1, "rejected": 1}}
    harmless = clean(tmp_path, [chosen, rejected], {**FLAGS, "goal": "harmless"})
    assert len(harmless.rows) == 2 and harmless.told["flags"] == {"refusal": {"chosen": 1, "rejected": 1}}
    group = group_of("p", REFUSAL, FINE, scores=[0.1, 0.9])
    assert len(clean(tmp_path, [group], FLAGS).rows[0].candidates) == 2


def test_what_is_dropped_can_be_chosen(tmp_path):
    rows = [group_of("p", "Write to anna.b@example.org"), group_of("q", LOOP)]
    assert set(clean(tmp_path, rows, FLAGS).dropped()) >= {rows[1].id}
    assert clean(tmp_path, rows, {**FLAGS, "drop": ["secret"]}).fate(rows[0].id) == (False, "secret")
    assert not clean(tmp_path, rows, {**FLAGS, "drop": []}).dropped()
    with pytest.raises(PrefineError, match="there is no flag 'secrets'"):
        cleaners.check({**FLAGS, "drop": ["secrets"]})


def is_short(text: str) -> bool:
    return len(text) < 20


def test_a_language_is_told_by_a_function(tmp_path):
    rows = [group_of("p", "short"), group_of("q", FINE)]
    block = {**FLAGS, "language": f"{__name__}:is_short"}
    assert clean(tmp_path, rows, block).fate(rows[1].id) == (False, "wrong_language")
    with pytest.raises(PrefineError, match="cannot be imported"):
        clean(tmp_path, rows, {**FLAGS, "language": "nowhere:at_all"})
