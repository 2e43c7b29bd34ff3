"""Under failures at random, each stage accounts for every row, and what did not fail is what it would have been."""

import hashlib
import json

import pytest

from prefine.engines.base import Outcome
from prefine.pipeline import run_recipes
from prefine.progress import Progress
from prefine.recipe.variants import load_variants
from prefine.rundir import RunDir

from .engines.scripted import Scripted
from .label.asked import better, between, code, pair_of

RECIPE = """
name: {name}
model: {{path: {model}}}
data: {{path: prompts.jsonl, test_fraction: 0.0}}
prompts:
  maker:
    name: self_instruct
    engine: {{name: ENGINE, model: writer, rate: {rate}}}
    target: 24
    calls: 2
    max_similarity: 1.0
  include_seeds: true
generate:
  generator: {{name: answer, engine: {{name: ENGINE, model: student, rate: {rate}}}, max_tokens: 5}}
  num_responses: 4
label:
  labelers:
    - {{name: judge_single, engine: {{name: ENGINE, model: judge, rate: {rate}}}}}
    - {{name: judge_pairwise, engine: {{name: ENGINE, model: judge, rate: {rate}}}}}
pair:
  score: judge_single
  pairer: {{name: best_random}}
""".replace("ENGINE", "tests.test_balance:Flaky")

SCORED = 7


def points(text: str) -> int:
    """What the judge gives a text: by its digest, so that neighbors have nothing to do with it."""
    return 1 + int(hashlib.sha256(text.encode()).hexdigest(), 16) % SCORED


def lot(request) -> float:
    """In [0, 1): the same for equal requests."""
    asked = json.dumps([request.messages, request.sampling.seed, request.tag], default=str)
    return int(hashlib.sha256(asked.encode()).hexdigest()[:8], 16) / 2**32


class Flaky(Scripted):
    """Answers by what it is asked as; a share `rate` of the requests fails for good."""

    def __init__(self, model: str, rate: float) -> None:
        super().__init__(self.say, model)
        self.rate = rate

    def say(self, request):
        if lot(request) < self.rate:
            return Outcome("failed_permanent", error="broken: as the lot fell")
        digest = hashlib.sha256(str((request.messages, request.sampling.seed)).encode()).hexdigest()
        if self.model == "writer":
            return json.dumps(
                [f"Tell me about {digest[i : i + 9]} and {digest[i + 9 : i + 20]} now" for i in (0, 20, 40)]
            )
        if self.model == "student":
            return f"answer {digest[:6]}"
        if "answer to grade" in request.messages[0]["content"]:
            score = points(between(request, "answer to grade"))
            return json.dumps({"reasons": "so", "score": score, "code": code(request)})
        assert pair_of(request)
        return better(points)(request)


@pytest.fixture
def ran(tmp_path, tiny_model_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seeds = ["bees", "birds", "boats", "bread", "books", "boots", "bells", "beans"]
    lines = [json.dumps({"prompt": f"Please explain the {w} that we saw"}) for w in seeds]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))

    def run(name, rate):
        (tmp_path / f"{name}.yaml").write_text(RECIPE.format(name=name, model=tiny_model_dir, rate=rate))
        run_recipes(load_variants(tmp_path / f"{name}.yaml"), progress=Progress.silent())
        run = RunDir(tmp_path / "runs" / name)
        return {stage: run.results(stage)[0] for stage in ("data", "prompts", "generate", "label", "pair")}

    return run


@pytest.mark.acceptance(name="balance_under_failures")
def test_every_stage_balances_and_no_neighbor_of_a_failure_is_touched(ran):
    whole, torn = ran("whole", 0.0), ran("torn", 0.3)
    for stage, folder in [*whole.items(), *torn.items()]:
        counts = folder.manifest()["counts"]
        assert counts["rows_in"] == counts["rows_out"] + sum(counts["dropped"].values()), stage

    prompts = {g.id: g for g in torn["prompts"].groups()}
    assert len(prompts) == len(list(whole["prompts"].groups())) == 24 + 8, "what failed was made up for"

    responses = {g.id: [c.text for c in g.candidates] for g in torn["generate"].groups()}
    clean = {g.id: [c.text for c in g.candidates] for g in whole["generate"].groups()}
    both = responses.keys() & clean.keys()
    lost = sum(len(clean[k]) - len(responses[k]) for k in both)
    assert len(both) >= 8 and 0.1 < lost / (4 * len(both)) < 0.5
    assert all(set(responses[k]) <= set(clean[k]) for k in both)
    asked = torn["generate"].manifest()["session"]
    assert sum(map(len, responses.values())) == 4 * len(prompts) - asked["failed"]["broken"]

    graded = [
        (c.text, s)
        for g in torn["label"].groups()
        for c in g.candidates
        for s in c.scores
        if s.scorer == "judge_single"
    ]
    assert all(s.value == points(text) if s.status == "ok" else s.value is None for text, s in graded)
    assert 0.1 < sum(s.status != "ok" for _, s in graded) / len(graded) < 0.5
    outcomes = []
    for group in torn["label"].groups():
        of = {c.id: points(c.text) for c in group.candidates}
        right = {
            (c.a, c.b): "a" if of[c.a] > of[c.b] else "b" if of[c.a] < of[c.b] else "tie" for c in group.comparisons
        }
        outcomes += [(c.outcome, right[c.a, c.b]) for c in group.comparisons]
    valid = [found == right for found, right in outcomes if found != "invalid"]
    assert all(valid) and 0.3 < len(valid) / len(outcomes) < 0.7, "both orders of a pair must be answered: 0.7 ** 2"

    for example in torn["pair"].examples():
        chosen, rejected = (points(r[-1]["content"]) for r in example.responses)
        assert chosen > rejected
