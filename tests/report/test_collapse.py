"""Signs of degeneration, on texts that show them and on texts that do not."""

import pytest

from prefine.report.collapse import repeats, signs


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("the cat sat " * 10, True),
        ("no no no no no no no no no no no no no", True),
        ("no no no", False),
        ("a quick brown fox jumps over the lazy dog while the cat sleeps on a mat in the sun", False),
    ],
)
def test_repetition(text, wanted):
    assert repeats(text) is wanted


def test_shares_by_hand():
    texts = [
        "same",
        "same",
        " same ",
        "",
        "  ",
        "I'm sorry, I can't do that",
        "I cannot see why",
        "x",
        "y",
        "z z z z " * 9,
    ]
    found = signs(texts)
    assert found == {"repeating": 0.1, "empty": pytest.approx(0.2), "same_answer": 0.3, "refusing": 0.2}


def test_a_few_responses_or_different_ones_have_no_common_text():
    assert signs(["same"] * 9)["same_answer"] == 0
    assert signs([str(i) for i in range(20)])["same_answer"] == 0
    assert signs(["he said: i cannot", "sorry for him"] * 5)["refusing"] == 0
