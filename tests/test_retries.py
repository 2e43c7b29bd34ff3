"""Finished stages whose requests failed are done again by the next run, and what follows from them."""

import json
from typing import ClassVar

import pytest

from prefine.engines.base import Outcome
from prefine.errors import PrefineError
from prefine.estimate import estimate
from prefine.generate import stage as generate_stage
from prefine.ledger import Ledger
from prefine.pipeline import run_recipes
from prefine.progress import Progress
from prefine.recipe.variants import load_variants
from prefine.rundir import StageDir
from prefine.schema import make_group
from prefine.unanswered import FILE, unanswered
from tests.engines.scripted import Scripted

WORDS = "tea sun cup hat"
RECIPE = """
name: {name}
model: {{path: {model}}}
data: {{path: prompts.jsonl, test_fraction: 0.0}}
generate:
  generator: {{name: answer, engine: {{name: "tests.test_retries:Flaky"}}, max_tokens: 5}}
  num_responses: 2
label:
  labelers: [{{name: programmatic, function: "tests.scorers:vowels"}}]
pair: {{pairer: {{name: best_worst}}}}
"""


class Flaky(Scripted):
    """Fails for the prompts in `fails` (word to an outcome), else says the sample's seed after the word."""

    fails: ClassVar[dict] = {}
    sent: ClassVar[list] = []

    def __init__(self):
        super().__init__(self.reply)

    def reply(self, request):
        word = request.messages[-1]["content"].split()[-1]
        Flaky.sent.append(word)
        found = Flaky.fails.get(word, f"{word} {'aeiou'[: request.sampling.seed % 4]}")
        if isinstance(found, Exception):
            raise found
        return found


TIMEOUT = Outcome("failed_retryable", error="timeout: none")


@pytest.fixture
def run(tmp_path, tiny_model_dir, monkeypatch):
    """Runs the recipe and returns the run, the lines that were printed, and how often each word was asked."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"say {w}"}) + "\n" for w in WORDS.split()))

    def go(fails=None, name="flaky", **arguments):
        (tmp_path / "r.yaml").write_text(RECIPE.format(model=tiny_model_dir, name=name))
        Flaky.fails, Flaky.sent = fails or {}, []
        lines, progress = [], Progress.silent()
        monkeypatch.setattr(progress, "line", lines.append)
        return run_recipes(load_variants("r.yaml"), progress=progress, **arguments), lines, Flaky.sent

    return go


def files(folder):
    return {p.name: p.read_bytes() for p in folder.path.glob("part-*")}


def test_what_failed_is_asked_again_and_what_follows_is_made_anew(run):
    first, _, sent = run({"sun": TIMEOUT})
    assert sorted(sent) == sorted(["cup", "cup", "hat", "hat", "tea", "tea"] + ["sun"] * 6), "three tries each"
    assert first.results("generate")[0].manifest()["counts"]["dropped"] == {"timeout": 1}
    second, lines, sent = run()
    assert sent == ["sun", "sun"] and "generate: 2 requests that failed are asked again" in lines
    whole, _, _ = run(name="whole")
    for stage in ("generate", "label", "pair"):
        old, new = second.results(stage)
        (expected,) = whole.results(stage)
        assert files(new) == files(expected) != files(old), stage
        assert new.manifest()["counts"] == expected.manifest()["counts"]
    _, lines, sent = run()
    assert sent == [] and [line.split(", ")[-1] for line in lines] == ["already done"] * 4
    assert len(second.results("pair")) == 2


def test_where_the_same_ones_fail_again_the_result_stays(run):
    first, _, _ = run({"sun": TIMEOUT})
    before = [p.path for s in ("generate", "label", "pair") for p in first.results(s)]
    _, lines, sent = run({"sun": TIMEOUT})
    assert set(sent) == {"sun"} and "  the result stays as it is: the same ones failed" in lines
    assert [p.path for s in ("generate", "label", "pair") for p in first.results(s)] == before
    assert sorted(p.name for p in (first.path / "generate").iterdir()) == [before[0].name]


def test_a_server_that_is_gone_does_not_keep_a_finished_run_from_going_on(run):
    first, _, _ = run({"sun": TIMEOUT})
    _, lines, _ = run({"sun": PrefineError("nobody listens")})
    assert "  the result stays as it is: nobody listens" in lines
    assert len(list((first.path / "generate").iterdir())) == len(list((first.path / "pair").iterdir())) == 1


def test_what_failed_for_good_is_asked_again_only_when_released(run):
    first, _, _ = run({"sun": Outcome("failed_permanent", error="content_filter: no")})
    assert run()[2] == []
    with Ledger(first.path / "ledger.sqlite") as ledger:
        assert ledger.retry("failed_permanent") == 2
    line, note = estimate(load_variants("r.yaml"))
    assert line.startswith("generate: 8 requests, 6 of them answered before: 2 calls") and note
    assert run()[2] == ["sun", "sun"]
    assert first.results("generate")[-1].manifest()["counts"]["rows_out"] == 4


def test_an_attempt_that_was_interrupted_goes_on(run, monkeypatch):
    first, _, _ = run({"sun": TIMEOUT, "tea": TIMEOUT})

    def die(self, rows):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StageDir, "write_part", die)
        run({"tea": TIMEOUT})
    assert len(first.results("generate")) == 1, "the attempt is not finished"
    assert run()[2] == ["tea", "tea"]
    assert first.results("generate")[-1].manifest()["counts"]["rows_out"] == 4
    assert run()[2] == []


def test_failures_before_an_interruption_are_remembered_after_it(run, monkeypatch):
    monkeypatch.setattr(generate_stage, "PART", 1)
    with pytest.raises(PrefineError, match="stop here"):
        # Prompts are asked in the order of their ids; the first one fails, and the last one ends the process.
        order = _order()
        run({order[0]: TIMEOUT, order[3]: PrefineError("stop here")})
    first, _, sent = run()
    assert sent == [order[3]] * 2, "the part of the first prompt is written"
    (folder,) = first.results("generate")
    assert set(unanswered(folder.path).values()) == {"failed_retryable"} and len(unanswered(folder.path)) == 2
    assert FILE not in folder.manifest()["files"]
    assert run()[2] == [order[0]] * 2


def _order():
    ids = {make_group([{"role": "user", "content": f"say {w}"}]).id: w for w in WORDS.split()}
    return [ids[i] for i in sorted(ids)]


def test_beside_other_processes_nothing_is_asked_again(run, monkeypatch):
    run({"sun": TIMEOUT})
    monkeypatch.setenv("WORLD_SIZE", "2")
    _, lines, sent = run()
    assert sent == [] and "  2 requests that failed are not asked again beside other processes" in lines
