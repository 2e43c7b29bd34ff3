"""AlpacaEval live: both orders, probabilities or text, the coin, and what has no verdict."""

import csv
import math

import pytest

from prefine.engines.base import Outcome, Reply
from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.alpaca_eval import is_switched, unswitched
from prefine.evaluate.benchmarks.reading import read_file
from prefine.evaluate.judged.alpaca_eval import AlpacaEval
from prefine.evaluate.judged.base import Answers
from tests.conftest import shared
from tests.evaluate.judged.conftest import ENGINE, step


@pytest.fixture
def run(tmp_path, lines, judge, recipe):
    """Judge our answers `ours i` against `base i` on n questions; the line of the result."""

    def make(answer, n=4, ours=None, open_more=None, **settings):
        judge.script(answer)
        rows = [{"instruction": f"do {i}", "output": f"base {i}", "generator": "base"} for i in range(n)]
        benchmark = AlpacaEval(lines("q.jsonl", rows), **{"engine": ENGINE, **settings})
        benchmark.load()
        facts = benchmark.open(recipe)
        assert benchmark.stored is not None
        texts, writer = benchmark.stored
        given = ours or {str(i): [f"ours {i}"] for i in range(n)}
        try:
            found = benchmark.result(Answers("dpo", given), Answers(writer, texts), tmp_path / "dpo", step)
        finally:
            benchmark.close()
        return found, facts

    return make


def prefers_ours(request):
    """The name of the answer that begins with `ours`."""
    text = request.messages[-1]["content"]
    return "M" if text.index("base") < text.index("ours") else "m"


def test_a_judge_who_says_names(run, judge):
    found, facts = run(prefers_ours, verdict="text")
    assert found["win_rate"] == 100 and found["n_parsed"] == 4 and len(judge.asked) == 8
    assert found["orders"]["flip_rate"] == 0 and found["orders"]["first_wins"] == 0.5
    assert facts["verdict"] == "text" and facts["engine"] == {"model": "judge-1"} and len(facts["templates"]) == 12
    assert found["judge"] == facts["name"] == f"judge-1, {facts['templates']}"
    assert found["without_verdict"] == {}


def test_probabilities_of_the_first_token(run, judge):
    # 0.6 for the first place in each order: ours has 0.4 where it is second and 0.6 where it is first; the mean is 0.5.
    def first(request):
        return Reply("m", "stop", first_token={"m": math.log(0.3), " M": math.log(0.2), "x": math.log(0.5)})

    found, facts = run(first)
    assert (
        facts["verdict"] == "first_token"
        and judge.sampling.max_tokens == facts["sampling"]["max_tokens"] == 1
        and judge.sampling.top_logprobs == 20
    )
    assert found["win_rate"] == pytest.approx(50) and found["n_draws"] + found["n_wins"] + found["n_wins_base"] == 4
    assert found["orders"]["first_wins"] == pytest.approx(0.6) and found["orders"]["flip_rate"] == 1.0
    assert found["orders"]["tie_rate"] == 1.0


def test_the_mean_of_both_orders(run):
    def judge(request):
        text = request.messages[-1]["content"]
        second = text.index("base") < text.index("ours")
        p = 0.2 if second else 0.9  # of the first answer: ours has 0.8 and 0.9
        return Reply("m", "stop", first_token={"m": math.log(p), "M": math.log(1 - p)})

    found, _ = run(judge)
    assert found["win_rate"] == pytest.approx(85) and found["orders"]["flip_rate"] == found["orders"]["tie_rate"] == 0
    assert found["orders"]["position_bias"] == pytest.approx((0.2 + 0.9) / 2 * 2 - 1)


def test_the_coin_of_alpaca_eval(run, judge):
    found, facts = run(prefers_ours, n=12, orders="coin", verdict="text")
    assert len(judge.asked) == 12 and found["win_rate"] == 100 and facts["orders"] == "coin"
    for i, text in enumerate(judge.asked):
        assert (text.index(f"ours {i}") < text.index(f"base {i}")) == is_switched(f"do {i}")


def test_second_tries_are_draws_of_their_own(run, judge):
    """A server may answer by text, temperature and seed alone."""
    seen = []

    def mumbles(request):
        seen.append((request.messages[-1]["content"], request.sampling.temperature, request.sampling.seed))
        return "neither"

    run(mumbles, n=1, verdict="text", max_reasks=2)
    assert len(seen) == len(set(seen)) == 6 and {t for _, t, _ in seen[:2]} == {0.0}


def test_a_missing_verdict_is_no_score_but_a_bound(run):
    def judge(request):
        text = request.messages[-1]["content"]
        return "neither" if "do 0" in text else prefers_ours(request)

    found, _ = run(judge, verdict="text", max_reasks=1)
    assert found["win_rate"] == 100 and found["n_failed"] == 1 and list(found["bounds"]) == [75, 100]
    assert found["asked"]["questions"] == {"asked": 8, "parse_error": 2, "reasked": 2}
    assert found["without_verdict"] == {"parse_error": 1}
    assert found["orders"]["invalid_rate"] == 0.25
    assert any("1 of 4 verdicts failed" in note for note in found["notes"])


def test_one_order_without_a_verdict_is_no_verdict(run):
    def judge(request):
        text = request.messages[-1]["content"]
        return "neither" if "do 0" in text and text.index("ours") < text.index("base") else prefers_ours(request)

    found, _ = run(judge, verdict="text", max_reasks=0)
    assert found["n_parsed"] == 3 and found["n_failed"] == 1 and found["asked"]["questions"]["parse_error"] == 1


def test_a_second_try_is_read(run, judge):
    tries = []

    def answer(request):
        tries.append(request.tag)
        return prefers_ours(request) if request.tag else "m or M"

    found, _ = run(answer, n=1, verdict="text")
    assert tries == ["", "", "#1", "#1"] and found["win_rate"] == 100 and found["n_failed"] == 0


def test_a_failure_of_one_call_is_counted(run):
    def judge(request):
        if "do 1" in request.messages[-1]["content"]:
            return Outcome("failed_permanent", error="context_length: too long")
        return prefers_ours(request)

    found, _ = run(judge, verdict="text")
    assert found["n_failed"] == 1 and found["asked"]["questions"]["context_length"] == 2


def test_equal_answers_are_a_draw_without_a_call_and_missing_ones_are_missing(run, judge):
    ours = {"0": ["base 0"], "1": ["ours 1"], "2": ["ours 2"]}
    found, _ = run(prefers_ours, ours=ours, verdict="text")
    assert len(judge.asked) == 4 and found["n_draws"] == 1 and found["n_wins"] == 2 and found["n_failed"] == 1
    assert found["win_rate"] == pytest.approx(100 * 2.5 / 3)


def test_the_ledger_answers_a_second_time(run, judge):
    run(prefers_ours, verdict="text")
    before = len(judge.asked)
    again, _ = run(prefers_ours, verdict="text")
    assert len(judge.asked) == before and again["asked"]["session"]["from_ledger"] == 8 and again["win_rate"] == 100


def test_an_engine_without_probabilities(run, judge):
    judge.features = frozenset()
    found, facts = run(prefers_ours)
    assert facts["verdict"] == "text" and found["win_rate"] == 100
    with pytest.raises(PrefineError, match="does not tell the first token's probabilities; set verdict: text"):
        run(prefers_ours, verdict="first_token")


def test_a_function_judges(run, tmp_path, monkeypatch, judge):
    (tmp_path / "own_rule.py").write_text(
        "def better(prompt, response, task_meta):\n"
        "    i = int(prompt.split()[-1])\n"
        "    if i == 3: return None\n"
        "    return {0: 1.0, 1: 0.0, 2: 0.0}[i] if response.startswith('ours') else 0.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found, facts = run(prefers_ours, engine=None, judge={"name": "programmatic", "function": "own_rule:better"})
    assert judge.asked == [] and found["n_wins"] == 1 and found["n_draws"] == 2 and found["n_failed"] == 1
    assert found["win_rate"] == pytest.approx(100 * (1 + 0.5 + 0.5) / 3) and facts["function"] == "own_rule:better"


def test_judgments_are_kept_as_the_tool_stores_them(run, tmp_path):
    from prefine.evaluate.benchmarks.judgments import score

    found, _ = run(prefers_ours, verdict="text")
    again = score(tmp_path / "dpo", "alpaca_eval").models[0]
    assert {k: again[k] for k in ("win_rate", "low", "high")} == {k: found[k] for k in ("win_rate", "low", "high")}


@pytest.mark.parametrize("both", [{"engine": None}, {"judge": {"name": "programmatic", "function": "a:b"}}])
def test_one_judge(lines, both):
    with pytest.raises(ValueError, match="either engine"):
        AlpacaEval("q", **{"engine": ENGINE, **both})


def test_questions_without_a_baseline(lines):
    path = lines("q.jsonl", [{"instruction": "x"}])
    with pytest.raises(PrefineError, match="question '0' has no answer of a baseline"):
        AlpacaEval(path, engine=ENGINE).load()
    start = AlpacaEval(path, engine=ENGINE, baseline="start")
    start.load()
    assert start.stored is None


def test_a_published_score_comes_out_of_its_own_verdicts(judge, recipe, lines, tmp_path):
    """Real verdicts as a judge's probabilities, shown in the coin's order: the leaderboard's numbers, with its C."""
    pytest.importorskip("sklearn")
    folder = shared("data/alpaca_eval")
    (published,) = [
        r for r in csv.DictReader((folder / "published.csv").read_text().splitlines()) if r["model"] == "gemma-2b-it"
    ]
    verdicts = {r.whole_at("index"): r for r in read_file(folder / "gemma-2b-it.jsonl.gz")}
    rows = [
        {"instruction": f"instruction {i} end", "output": "b" * r.whole_at("len_1"), "generator": "gpt4_1106_preview"}
        for i, r in sorted(verdicts.items())
    ]

    def answer(request):
        text = request.messages[-1]["content"]
        i = int(text.split("instruction ")[1].split()[0])
        stored = float(verdicts[i].number_at("preference") or 0)
        shown = unswitched(stored, is_switched(f"instruction {i} end"))
        p = min(max(2 - shown, 1e-12), 1 - 1e-12)
        return Reply("m", "stop", first_token={"m": math.log(p), "M": math.log1p(-p)})

    judge.script(answer)
    benchmark = AlpacaEval(
        lines("q.jsonl", rows),
        engine=ENGINE,
        orders="coin",
        data=str(folder),
        length_control_c=float(published["C"]),
        judge_name="weighted_alpaca_eval_gpt4_turbo",
        resamples=0,
    )
    benchmark.load()
    benchmark.open(recipe)
    assert benchmark.stored is not None
    ours = {str(n): ["o" * r.whole_at("len_2")] for n, (_, r) in enumerate(sorted(verdicts.items()))}
    found = benchmark.result(Answers("gemma", ours), Answers("gpt4_1106_preview", benchmark.stored[0]), tmp_path, step)
    benchmark.close()
    assert len(judge.asked) == len(verdicts) == found["n_parsed"] and found["regularized"]
    assert found["win_rate"] == pytest.approx(float(published["win_rate"]), abs=1e-6)
    assert found["length_controlled_winrate"] == pytest.approx(float(published["length_controlled_winrate"]), abs=1e-3)
