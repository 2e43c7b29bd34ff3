"""Text out of data can be read and does nothing."""

import pytest

from prefine.report.text import model_name, plain, shown


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("one\n\ttwo", "one\n\ttwo"),
        ("é 日本 👍", "é 日本 👍"),
    ],
)
def test_text_is_escaped_and_otherwise_kept(text, wanted):
    assert str(shown(text)) == wanted


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\r", "\x9b", "\u202e", "\u2066", "\u200b", "\u2028", "\ufeff"])
def test_what_cannot_be_seen_is_named(character):
    html = str(shown(f"a{character}b"))
    assert character not in html and f">U+{ord(character):04X}</span>" in html
    assert character not in plain(f"a{character}b") and plain(f"a{character}b") == "a\ufffdb"


def test_long_text_is_cut_and_the_rest_counted():
    assert str(shown("x" * 10, 10)) == "x" * 10
    assert str(shown("x" * 1010, 10)) == "x" * 10 + ' <span class="hint">[1,000 more characters]</span>'
    assert plain("x" * 201) == "x" * 199 + "\u2026" and plain("x" * 200) == "x" * 200


def test_a_cut_never_opens_a_tag():
    assert "<" not in str(shown("<" * 50, 7)).replace('<span class="hint">', "").replace("</span>", "")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("org/model-1b", "org/model-1b"),
        ("tiny-student", "tiny-student"),
        ("/home/me/runs/demo/train/start-1234/model", "start-1234"),
        ("./weights", "weights"),
        ("../models/llama/", "llama"),
        ("/", "/"),
    ],
)
def test_folders_are_named_by_what_tells_them_apart(path, name):
    assert model_name(path) == name
