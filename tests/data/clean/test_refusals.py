"""Phrases of refusals: those that are shipped, and files of one's own."""

import pytest

from prefine.data.clean.degeneration import flags_of
from prefine.data.clean.refusals import plain, refusals
from prefine.errors import PrefineError

from .folders import clean, pair_of


@pytest.mark.parametrize(
    "text",
    [
        "I\u2019m sorry, but I can\u2019t help with that.",
        "I won't be able to assist you with this.",
        "Das kann ich leider nicht sagen. Ich kann dir dabei nicht helfen.",
        "Es tut mir leid, aber ich darf das nicht.",
        "Hier muss ich leider ablehnen.",
        "Ich bin nicht in der Lage, das zu tun.",
        "D\u00e9sol\u00e9, mais je ne suis pas l\u00e0 pour \u00e7a.",
        "Je ne peux malheureusement pas vous aider \u00e0 faire cela.",
        "Je dois refuser.",
        "Lo siento, pero no es posible.",
        "No puedo ayudarte con eso.",
        "\u62b1\u6b49\uff0c\u6211\u65e0\u6cd5\u5e2e\u52a9\u60a8\u3002",
        "\u5f88\u9057\u61be\u6211\u4e0d\u80fd\u63d0\u4f9b\u8fd9\u4e9b\u4fe1\u606f\u3002",
    ],
)
def test_refusals_in_several_languages(text):
    assert "refusal" in flags_of(text, "What is it?")


@pytest.mark.parametrize(
    "text",
    [
        "You can't help it.",
        "I can. Help is near.",
        "Ich kann dir helfen, das ist nicht schwer.",
        "Tut mir leid, das zu h\u00f6ren. Ruf einen Freund an.",
        "Je peux vous aider. Ce n'est pas difficile.",
        "No hay problema, puedo ayudarte.",
        "\u6211\u53ef\u4ee5\u5e2e\u52a9\u60a8\uff0c\u8fd9\u5e76\u4e0d\u96be\u3002",
        "Hi, candy cannot be handed out; hi cannot help.",
    ],
)
def test_what_is_no_refusal(text):
    assert "refusal" not in flags_of(text, "What is it?")


def test_a_file_of_ones_own_replaces_or_extends(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("# mine\n\nnope (never|not now)  # or both\nask [6] else\n", encoding="utf-8")
    found = refusals(str(mine))
    for text, there in [
        ("NOPE,", False),
        ("Well: Nope   NEVER!", True),
        ("nope not now", True),
        ("nope nevertheless", False),
        ("snope never", False),
        ("ask someone else", False),
        ("Ask me, else", True),
        ("ask. else", False),
        ("I'm sorry, but I can't help.", False),
    ]:
        assert bool(found.search(plain(text))) == there, text
    more = tmp_path / "more.txt"
    more.write_text("@shipped\nnope\n")
    assert refusals(str(more)).search("nope") and refusals(str(more)).search(plain("Sorry, but I won't"))
    rows = [pair_of("q", "Well: nope never!", "Sure, here it is"), pair_of("r", "I'm sorry, but I can't.", "Sure")]
    ends = {name: _ended(tmp_path, rows, {"refusals": str(f)} if f else {}) for name, f in (("mine", mine), ("", None))}
    assert ends == {"mine": {rows[0].id}, "": {rows[1].id}}


def _ended(tmp_path, rows, settings):
    found = clean(tmp_path, rows, {"name": "flags", **settings})
    return {row.id for row in rows} & found.dropped().keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fine\nno (way\n", r"mine.txt:2: 'no \(way' is no phrase: a bracket is not closed"),
        ("a|b\n", r"mine.txt:1: 'a\|b' is no phrase: brackets are"),
        ("a [x] b\n", r"mine.txt:1: .* is no phrase"),
        ("a) b\n", r"mine.txt:1: .* is no phrase"),
        ("# nothing\n", "there is no phrase in it"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_line(tmp_path, text, message):
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(PrefineError, match=message):
        refusals(str(tmp_path / "mine.txt"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PrefineError, match="cannot be read"):
        refusals(str(tmp_path / "none.txt"))
