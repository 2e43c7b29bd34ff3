"""Questions and answers in the shapes of the three benchmarks."""

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.judged.questions import read_answers, read_questions


def test_alpaca_eval(lines):
    rows = [
        {"dataset": "helpful", "instruction": f"do {i}", "output": f"done {i}", "generator": "base"} for i in range(3)
    ]
    found = read_questions(lines("q.jsonl", rows), None, 2)
    assert [(q.id, q.turns, q.output, q.writer, q.category) for q in found] == [
        ("0", ["do 0"], "done 0", "base", "helpful"),
        ("1", ["do 1"], "done 1", "base", "helpful"),
    ]


def test_mt_bench(lines):
    row = {"question_id": 111, "category": "math", "turns": ["one?", "two?"], "reference": ["1", "2"]}
    (q,) = read_questions(lines("q.jsonl", [row]), None, None)
    assert (q.id, q.turns, q.category, q.references) == ("111", ["one?", "two?"], "math", ["1", "2"])
    assert q.group([]).messages == [{"role": "user", "content": "one?"}]
    second = q.group(["mine"])
    assert [m["content"] for m in second.messages] == ["one?", "mine", "two?"]
    assert second.split == "test" and second.task_meta == {"category": "math", "reference": "2"}


def test_arena_hard(lines):
    v1 = {"question_id": "a", "cluster": "x", "turns": [{"content": "old"}]}
    v2 = {"uid": "b", "category": "hard_prompt", "prompt": "new"}
    assert [(q.id, q.turns) for q in read_questions(lines("q.jsonl", [v1, v2]), None, None)] == [
        ("a", ["old"]),
        ("b", ["new"]),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"instructions": "x"}], "no question; one of .*did you mean 'instructions'"),
        ([{"id": 1, "prompt": "x"}, {"id": 1, "prompt": "y"}], "two questions have the id '1'"),
        ([{"prompt": 3}], "prompt: text is wanted, not int"),
    ],
)
def test_what_is_no_question(lines, rows, message):
    with pytest.raises(PrefineError, match=message):
        read_questions(lines("q.jsonl", rows), None, None)


def test_answers_of_all_shapes(lines):
    path = lines("q.jsonl", [{"question_id": i, "turns": [f"q{i}", "and?"]} for i in range(4)])
    questions = read_questions(path, None, None)
    rows = [
        {"question_id": 0, "model_id": "gpt", "choices": [{"index": 0, "turns": ["a", "b"]}]},
        {"instruction": "q1", "output": "c"},
        {"uid": "2", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": {"answer": "d"}}]},
        {"id": "3", "choices": [{"turns": [{"content": "e"}]}], "model": "gpt"},
        {"id": "unknown", "output": "z"},
    ]
    found, writer = read_answers(lines("a.jsonl", rows), questions)
    assert found == {"0": ["a", "b"], "1": ["c"], "2": ["d"], "3": ["e"]} and writer == "gpt"
    with pytest.raises(PrefineError, match="no answer to 3 of 4 questions, such as '1'"):
        read_answers(lines("a.jsonl", rows[:1]), questions)
    with pytest.raises(PrefineError, match=r"choices\.0\.turns: text is wanted"):
        read_answers(lines("a.jsonl", [{"question_id": 0, "choices": []}]), questions)
