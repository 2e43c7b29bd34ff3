"""What would be asked is counted without asking, and without leaving a trace."""

import json

import pytest

from prefine.engines.base import Reply, Request, Sampling
from prefine.engines.cost import Budget, Estimate, Price
from prefine.engines.rehearsal import Rehearsal, rehearsal, total
from prefine.engines.session import Session
from prefine.estimate import estimate
from prefine.ledger import Ledger
from prefine.pipeline import run_recipes
from prefine.progress import Progress
from prefine.recipe.variants import load_variants
from tests.engines.scripted import Scripted

RECIPE = """
name: dry
model: {{path: {model}}}
data: {{path: prompts.jsonl, test_fraction: 0.0}}
generate:
  generator: {{name: answer, engine: {{name: hf, model: {model}}}, temperature: 1.0, max_tokens: 5}}
  num_responses: 3
label:
  labelers: [{{name: judge_single, engine: {{name: openai, model: some-judge, base_url: "http://127.0.0.1:9/v1"}}}}]
"""


@pytest.fixture
def recipe(tmp_path, tiny_model_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "say {w}"}}\n' for w in ("tea", "sun", "cup")))
    (tmp_path / "r.yaml").write_text(RECIPE.format(model=tiny_model_dir))
    return tmp_path / "r.yaml"


@pytest.mark.acceptance(name="cost")
def test_each_stage_that_asks_is_counted_or_named(recipe):
    generate, label, note = estimate(load_variants(recipe))
    assert generate.startswith("generate: 9 requests, 0 of them answered before: 9 calls, about ")
    assert "45 reply tokens expected (45 at most)" in generate
    assert label == "label: not known before generate has run" and note.startswith("(")
    assert not (recipe.parent / "runs").exists()
    run_recipes(load_variants(recipe), stages=["generate"], progress=Progress.silent())
    label, _ = estimate(load_variants(recipe))
    assert label.startswith("label: 9 requests, 0 of them answered before: 9 calls"), "and no server was needed"


def test_judged_benchmarks_are_counted_before_anybody_has_answered(recipe):
    questions = [{"question_id": 81 + i, "category": "writing", "turns": [f"write {i}", "again"]} for i in range(3)]
    (recipe.parent / "mt.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    hard = [{"uid": f"u{i}", "prompt": f"solve {i}", "category": "hard_prompt"} for i in range(4)]
    (recipe.parent / "hard.jsonl").write_text("".join(json.dumps(q) + "\n" for q in hard))
    server = "engine: {name: openai, model: j, base_url: 'http://127.0.0.1:9/v1'}"
    recipe.write_text(
        f"""
name: dry
model: {{path: {recipe.read_text().split("path: ")[1].split("}")[0]}}}
data: {{path: prompts.jsonl, test_fraction: 0.5}}
evaluate:
  benchmarks:
    - {{name: mt_bench, questions: mt.jsonl, {server}}}
    - {{name: arena_hard, questions: hard.jsonl, baseline: start, {server}}}
"""
    )
    mt, arena = estimate(load_variants(recipe))
    assert mt.startswith("evaluate: mt_bench: 6 requests to the judge for each model"), "two turns of three questions"
    assert arena.startswith("evaluate: arena_hard: 8 requests to the judge for each model"), "both orders of four"
    assert not (recipe.parent / "runs").exists()


def request(text):
    return Request(({"role": "user", "content": text},), Sampling(max_tokens=10))


def test_what_the_ledger_has_is_answered_and_costs_nothing(tmp_path):
    engine, path = Scripted(lambda r: "yes"), tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        Session(engine, ledger).ask([request("a")])
    with rehearsal() as found:
        session = Rehearsal(engine, path)
        known, unknown, twice = session.ask([request("a"), request("bcde"), request("bcde")])
        session.ask([request("bcde")])
        session.close()
    assert known == Reply("yes", "stop") and not unknown.ok and not twice.ok
    assert sum(engine.calls.values()) == 1
    # "bcde" is a token and four for the frame of its message; ten may be written.
    assert [(e.requests, e.from_ledger, e.calls, e.prompt_tokens, e.completion_tokens) for e in found] == [
        (2, 1, 1, 5, 10)
    ]


def test_estimates_add_up():
    budget = Budget(price=Price(1.0, 2.0, 0.5))
    one = Estimate(3, 1, 2, 100, 20, 40, True, budget.cost(100, 0, 20), budget.cost(100, 0, 40))
    two = Estimate(1, 0, 1, 10, 5, 5, False, None, None)
    assert total([one, one]) == Estimate(6, 2, 4, 200, 40, 80, True, pytest.approx(280e-6), pytest.approx(360e-6))
    assert total([one, two]) == Estimate(4, 1, 3, 110, 25, 45, True, None, None)
