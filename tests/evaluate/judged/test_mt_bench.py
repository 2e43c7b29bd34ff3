"""MT-Bench live: four questions to the judge, two turns, means by turn and category."""

import json

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.judged.base import Answers
from prefine.evaluate.judged.mt_bench import MTBench
from tests.evaluate.judged.conftest import ENGINE, step

ROWS = [
    {"question_id": 81, "category": "writing", "turns": ["write", "shorter"]},
    {"question_id": 111, "category": "math", "turns": ["add", "subtract"], "reference": ["five", "one"]},
    {"question_id": 121, "category": "coding", "turns": ["code", "faster"]},
]
OURS = {"81": ["a poem", "p."], "111": ["5", "1"], "121": ["x", "y"]}


@pytest.fixture
def run(tmp_path, lines, judge, recipe):
    def make(answer, rows=ROWS, ours=OURS, **settings):
        judge.script(answer)
        benchmark = MTBench(lines("q.jsonl", rows), **{"engine": ENGINE, **settings})
        benchmark.load()
        benchmark.open(recipe)
        try:
            found = benchmark.result(Answers("dpo", ours), None, tmp_path / "dpo", step)
        finally:
            benchmark.close()
        rows = [json.loads(line) for line in (tmp_path / "dpo" / "mt_bench.jsonl").read_text().splitlines()]
        return found, rows

    return make


def graded(request):
    """Turn 1 gets 8, turn 2 gets 4; what is graded beside right answers gets one more."""
    text = request.messages[-1]["content"]
    return f"Fine. Rating: [[{(4 if 'second answer' in text else 8) + ('known to be right' in text)}]]"


def test_two_turns_and_right_answers(run, judge):
    found, rows = run(graded)
    # writing 8 and 4, math (with right answers) 9 and 5, coding (none are known) 8 and 4
    assert found["score"] == pytest.approx(38 / 6) and found["turn_1"] == pytest.approx(25 / 3)
    assert found["turn_2"] == pytest.approx(13 / 3) and found["n_parsed"] == 6 and found["low"] <= found["score"]
    assert found["categories"]["math"]["value"] == 7 and found["graded_without_reference"] == 2
    assert [r["judge"][1] for r in rows] == [
        "mt_bench_turn_1", "mt_bench_turn_2", "mt_bench_turn_1_reference", "mt_bench_turn_2_reference",
        "mt_bench_turn_1", "mt_bench_turn_2",
    ]  # fmt: skip
    second = judge.asked[3]
    assert all(text in second for text in ("add", "five", "subtract", "one")) and second.index("five") < second.index(
        "one"
    )
    assert rows[0]["judge"][0] == found["judge"] and found["judge"].startswith("judge-1, ")


def test_references_of_a_file(run, lines):
    path = lines("gpt-4.jsonl", [
        {"question_id": 111, "choices": [{"turns": ["V", "I"]}]},
        {"question_id": 121, "choices": [{"turns": ["def", "faster def"]}]},
    ])  # fmt: skip
    found, _ = run(graded, references=path)
    assert found["graded_without_reference"] == 0 and found["turn_1"] == pytest.approx(26 / 3)
    with pytest.raises(PrefineError, match="no answer to 1 of 2 questions, such as '121'"):
        run(graded, references=lines("gpt-4.jsonl", [{"question_id": 111, "choices": [{"turns": ["V", "I"]}]}]))


def test_what_is_no_grade_is_left_out(run):
    def answer(request):
        text = request.messages[-1]["content"]
        return "Rating: [[11]]" if "write" in text and "second answer" not in text else graded(request)

    found, rows = run(answer, max_reasks=0)
    assert rows[0]["score"] == -1 and rows[0]["status"] == "parse_error" and rows[0]["judgment"] == "Rating: [[11]]"
    assert found["n_failed"] == 1 and found["score"] == pytest.approx(30 / 5)
    assert found["bounds"] == [pytest.approx(31 / 6), pytest.approx(40 / 6)]


def test_an_answer_that_is_missing(run, judge):
    found, rows = run(graded, ours={"81": ["a poem"], "111": ["5", "1"]})
    assert len(judge.asked) == 3 and found["n_failed"] == 3
    assert [r["status"] for r in rows] == ["ok", "no_response", "ok", "ok", "no_response", "no_response"]


def test_official_texts(run, judge, tmp_path):
    slots = {
        "single-v1": "Q {question} A {answer}",
        "single-math-v1": "Q {question} R {ref_answer_1} A {answer}",
        "single-v1-multi-turn": "{question_1} {answer_1} {question_2} {answer_2}",
        "single-math-v1-multi-turn": "{question_1} {ref_answer_1} {question_2} {ref_answer_2} {answer_1} {answer_2}",
    }
    path = tmp_path / "judge_prompts.jsonl"
    path.write_text(
        "\n".join(json.dumps({"name": n, "system_prompt": "S", "prompt_template": t}) for n, t in slots.items())
    )
    found, rows = run(lambda _: "[[7]]", templates=str(path))
    assert judge.asked[:4] == [
        "S\nQ write A a poem",
        "S\nwrite a poem shorter p.",
        "S\nQ add R five A 5",
        "S\nadd five subtract one 5 1",
    ]
    first_two = ["single-v1", "single-v1-multi-turn"]
    assert [r["judge"][1] for r in rows][:4] == [*first_two, "single-math-v1", "single-math-v1-multi-turn"]
    assert found["score"] == 7 and any("not that of their category" in n for n in found["notes"])  # coding has none


def test_temperatures(lines):
    rows = [{"question_id": i, "turns": ["x"]} for i in (81, 95, 105, 115, 125, 135, 145, 155)]
    benchmark = MTBench(lines("q.jsonl", rows), engine=ENGINE)
    benchmark.load()
    assert [benchmark.temperature(q) for q in benchmark.questions] == [0.7, 0.7, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1]
    fixed = MTBench(lines("q.jsonl", rows), engine=ENGINE, temperature=0.3)
    fixed.load()
    assert {fixed.temperature(q) for q in fixed.questions} == {0.3}


def test_a_labeler_grades(run, tmp_path, monkeypatch, judge):
    (tmp_path / "own_grade.py").write_text(
        "def grade(prompt, response, task_meta):\n    return {'shorter': 3, 'write': 9}.get(prompt, 6)\n"
        "def wild(prompt, response, task_meta):\n    return 11.5\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found, _ = run(graded, engine=None, judge={"name": "programmatic", "function": "own_grade:grade"})
    assert judge.asked == [] and found["score"] == 6 and found["categories"]["writing"]["value"] == 6
    with pytest.raises(PrefineError, match=r"the labeler gave 11\.5; grades are from 1 to 10"):
        run(graded, engine=None, judge={"name": "programmatic", "function": "own_grade:wild"})
