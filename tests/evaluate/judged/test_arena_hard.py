"""Arena-Hard live: two games, five labels, both versions' rules, style."""

import pytest

from prefine.evaluate.judged.arena_hard import GO_ON, ArenaHard
from prefine.evaluate.judged.base import Answers
from tests.evaluate.judged.conftest import ENGINE, step


@pytest.fixture
def run(tmp_path, lines, judge, recipe):
    def make(answer, n=4, category="hard_prompt", ours=None, **settings):
        judge.script(answer)
        rows = [{"uid": f"u{i}", "prompt": f"solve {i}", "category": category} for i in range(n)]
        base = [{"uid": f"u{i}", "output": f"base {i}", "model": "gpt"} for i in range(n)]
        settings = {"engine": ENGINE, "style_control": False, **settings}
        benchmark = ArenaHard(lines("q.jsonl", rows), baseline=lines("a.jsonl", base), **settings)
        benchmark.load()
        benchmark.open(recipe)
        assert benchmark.stored is not None
        texts, writer = benchmark.stored
        given = ours or {f"u{i}": [f"ours {i}"] for i in range(n)}
        try:
            return benchmark.result(Answers("dpo", given), Answers(writer, texts), tmp_path / "dpo", step)
        finally:
            benchmark.close()

    return make


def labeled(strong):
    """Says that ours is better: `>>` where `strong` holds of the prompt's text."""

    def answer(request):
        text = request.messages[1]["content"]
        sign = ">>" if strong(text) else ">"
        return f"Reasons. [[{'A' + sign + 'B' if text.index('ours') < text.index('base') else 'B' + sign + 'A'}]]"

    return answer


def test_votes_of_two_games(run, judge):
    def answer(request):
        text = request.messages[1]["content"]
        if "solve 0" in text:
            return "[[A>B]]"  # the first shown wins, whoever it is: one win and one loss
        return labeled(lambda t: "solve 1" in t)(request)

    found = run(answer)
    # Weighted votes: prompt 0 one of two, prompt 1 six of six, prompts 2 and 3 two of two each.
    assert len(judge.asked) == 8 and found["mean_vote"] == pytest.approx(100 * 11 / 12)
    assert found["baseline"] == "gpt" and found["n_prompts"] == 4 and found["n_failed"] == 0
    assert found["orders_agree"] == pytest.approx(75)


def test_v2_drops_a_prompt_and_v01_a_game(run):
    def answer(request):
        text = request.messages[1]["content"]
        lost = "solve 0" in text and text.index("ours") < text.index("base")
        return "no label" if lost else labeled(lambda _: False)(request)

    found = run(answer, max_reasks=0)
    assert found["without_verdict"] == {"parse_error": 1}
    assert found["n_dropped"] == 1 and found["n_parsed"] == 6 and found["bounds"][0] < found["bounds"][1] == 100
    found = run(answer, max_reasks=0, version="v0.1")
    assert found["n_dropped"] == 0 and found["n_parsed"] == 7 and found["n_failed"] == 1 and found["score"] > 99


def test_v01_asks_to_go_on_once(run, judge):
    def answer(request):
        if len(request.messages) == 2:
            return "I am still thinking"
        assert [m["role"] for m in request.messages] == ["system", "user", "assistant", "user"]
        assert request.messages[2]["content"] == "I am still thinking" and request.messages[3]["content"] == GO_ON
        return "[[A=B]]" if "solve 0" in request.messages[1]["content"] else "still nothing"

    found = run(answer, n=2, version="v0.1", max_reasks=0)
    assert len(judge.asked) == 8 and found["n_parsed"] == 2 and found["n_failed"] == 2 and found["mean_vote"] == 50


def test_v01_two_different_labels_are_no_verdict_at_once(run, judge):
    found = run(lambda _: "[[A>B]] or rather [[B>A]]", n=1, version="v0.1", max_reasks=0)
    assert found["n_failed"] == 2 and len(judge.asked) == 2 and found["score"] is None


def test_creative_writing_has_a_question_of_its_own(run, judge):
    run(labeled(lambda _: False), n=1, category="creative_writing")
    assert all("piece A" in text and "solve the request yourself" not in text for text in judge.asked)


def test_equal_answers_are_ties_without_a_call(run, judge):
    found = run(labeled(lambda _: False), n=2, ours={"u0": ["base 0"], "u1": ["ours 1"]})
    assert len(judge.asked) == 2 and found["mean_vote"] == pytest.approx(75)


def test_style_control(run):
    pytest.importorskip("torch")
    ours = {f"u{i}": [f"ours {i}" + " and **more**" * (i % 3)] for i in range(12)}
    found = run(labeled(lambda t: "solve 1" in t), n=12, ours=ours, style_control=True, resamples=5)
    controlled = {k: v for k, v in found.items() if "style" in k or "controlled" in k}
    assert controlled and all(
        v is None or 0 <= v <= 100 for v in controlled.values() if not isinstance(v, (dict, list))
    )
    assert any("style control centers features" in note for note in found["notes"])


def test_a_labeler_judges(run, tmp_path, monkeypatch, judge):
    (tmp_path / "own_length.py").write_text("def longer(prompt, response, task_meta):\n    return len(response)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = {"u0": ["ours, longer"], "u1": ["o"], "u2": ["b@se 2"]}
    block = {"name": "programmatic", "function": "own_length:longer"}
    found = run(labeled(lambda _: False), n=3, ours=ours, engine=None, judge=block)
    assert judge.asked == [] and found["mean_vote"] == pytest.approx(50) and found["orders_agree"] == 100
