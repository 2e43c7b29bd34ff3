"""What an answer must not be, and capitals."""

import pytest

from prefine.generate.flaws import flaw, truecased

LONG = "The sun rises in the east and sets in the west because the earth turns."


@pytest.mark.parametrize(
    "text, finish, reason",
    [
        (LONG, "stop", None),
        (LONG, "length", "unfinished"),
        ("  ", "stop", "empty"),
        ("I'm sorry, but I can't help with that.", "stop", "refusal"),
        ("As a language model, here is what I found: " + LONG, "stop", "boilerplate"),
        ("I do not have personal opinions, yet " + LONG, "stop", "boilerplate"),
        ("I don\u2019t have any feelings about it. " + LONG, "stop", "boilerplate"),
        ("I do not have a dog. " + LONG, "stop", None),
        (LONG.upper(), "stop", "capitals"),
        ("NASA", "stop", None),
        ("Write to someone@example.com. " + LONG, "stop", None),
    ],
)
def test_flaws(text, finish, reason):
    assert flaw(text, "why does the sun rise?", finish) == reason


def test_a_copy_of_the_prompt_is_only_right_for_rewriting():
    assert flaw(LONG, LONG, "stop") == "copies_prompt"
    assert flaw(LONG, LONG, "stop", rewriting=True) is None


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("hello. how are you? i am fine, and so is iris", "Hello. How are you? I am fine, and so is iris"),
        ("i'm here\n\nthe end! yes i", "I'm here\n\nThe end! Yes I"),
        ("Hello. i am fine", "Hello. i am fine"),
        ("version 1.5 is out. it works", "Version 1.5 is out. It works"),
        ("\u00e9t\u00e9. fin", "\u00c9t\u00e9. Fin"),
        ("", ""),
    ],
)
def test_truecasing(text, wanted):
    assert truecased(text) == wanted
