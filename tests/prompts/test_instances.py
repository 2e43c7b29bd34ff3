"""Cases of tasks: which are good, and what is asked."""

from collections import Counter

from prefine.prompts.instances import Case, Cases, good_cases


def test_bad_cases_are_counted_by_reason():
    rejected = Counter()
    items = [
        {"input": "2 + 2", "output": "4"},
        {"input": "2  + 2", "output": "4"},  # the same input again
        {"input": "1 + 1", "output": ""},
        {"input": "x", "output": " X "},
        {"input": "3", "output": "odd"},
        {"input": "3", "output": "prime"},  # two answers to one input: neither can be trusted
        {"label": "yes", "input": "is ice cold?"},
        {"input": "count", "output": 7},
        {"input": None, "output": "no input is needed"},
        {"output": ["list"]},
        "text",
    ]
    assert good_cases(items, 9, rejected) == [
        Case("2 + 2", "4"),
        Case("is ice cold?", "yes"),
        Case("count", "7"),
        Case("", "no input is needed"),
    ]
    assert rejected == {
        "case_repeated": 1,
        "case_empty_output": 1,
        "case_output_is_input": 1,
        "case_contradicts": 2,
        "case_not_a_case": 2,
    }
    assert len(good_cases(items, 2, rejected)) == 2
    assert rejected["case_beyond"] == 2


def test_tasks_of_choosing_a_label_are_asked_for_labels_first():
    asked = []

    def ask(purpose, texts, names, read):
        asked.append((purpose, list(texts)))
        return [True, False, None] if purpose == "classify" else [[], None, [{"output": "x"}]]

    cases = Cases(3, "English")
    assert cases.write(["A?", "B?", "C?"], ask, Counter()) == [[], [], [Case("", "x")]]
    (_, classified), (_, wanted) = asked
    assert ["A?" in classified[0], "B?" in classified[1]] == [True, True]
    assert ['"label"' in text for text in wanted] == [True, False, False]
