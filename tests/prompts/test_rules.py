"""Why a proposed task is rejected."""

import pytest

from prefine.errors import PrefineError
from prefine.prompts.rules import BLOCKED, fault, find_checker, in_script


@pytest.mark.parametrize(
    "text, reason",
    [
        ("Name three fruits, please.", None),
        ("Name three fruits", "too_short"),
        ("word " * 150, None),
        ("word " * 151, "too_long"),
        ("Describe the picture to a friend.", "blocked_keyword"),
        ("Please go to the next town.", "blocked_keyword"),
        ("Explain imagery in poems to me.", None),
        ("Write a program that sorts numbers.", "bad_start"),
        ("... and then what happened here?", "bad_start"),
        ('"To be or not to be": who said it?', None),
        ("Äpfel are sold by whom here?", "bad_start"),
        ("Перевести слово на английский язык", "bad_start"),
        ("Say Перевести слово на английский", "not_language"),
    ],
)
def test_faults_in_english(text, reason):
    assert fault(text, "English", BLOCKED, 4, 150) == reason


def test_other_languages_have_other_letters():
    assert fault("Перечисли три самых больших города", "Russian", [], 4, 150) is None
    assert fault("Name the three largest towns", "Russian", [], 4, 150) == "not_language"
    assert in_script("用中文介绍一下 Python 语言和它的用途", "Chinese")
    assert in_script("Nenne drei Städte in Österreich", "German")
    assert fault("Äpfel und Birnen vergleichen, bitte", "German", [], 4, 150) is None


def test_a_checker_is_found_or_named():
    assert find_checker("tests.prompts.checkers:only_sorting")("sort it")
    with pytest.raises(PrefineError, match=r"no function 'only_sortin'.*did you mean 'only_sorting'"):
        find_checker("tests.prompts.checkers:only_sortin")
    with pytest.raises(PrefineError, match=r"there is no module 'tests.prompts.absent'"):
        find_checker("tests.prompts.absent:f")
