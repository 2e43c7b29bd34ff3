"""Answers by a model behind an engine, and what the stage keeps of samples."""

import pytest

from prefine.engines.base import Outcome, Reply, Request
from prefine.engines.session import Session
from prefine.errors import PrefineError
from prefine.generate import stage
from prefine.generate.asking import written
from prefine.ledger import Ledger
from prefine.progress import Progress
from tests.engines.scripted import Scripted
from tests.prompts.world import Stopped, rows, seeds

ENGINE = {"name": "hf", "model": "teacher"}


def run(world, block, groups, **section):
    recipe = world.recipe(generator={"engine": ENGINE, **block}, **section)
    source, target = world.folders("generate", groups)
    counts, facts = stage.run(recipe, target, source, Progress.silent())
    return target, counts, facts


def test_each_sample_is_a_request_with_its_own_seed(world):
    def answer(request):
        return Reply(f" text {request.sampling.seed} ", "stop", completion_tokens=4, logps=[-1.0, -2.0, -3.0, -2.0])

    made = world({"teacher": answer})
    target, _, facts = run(made, {"name": "answer", "system": "Be brief."}, seeds("a b", "c d"), num_responses=3)
    for group in target.groups():
        assert [c.text for c in group.candidates] == ["text 3", "text 4", "text 5"]
        first = group.candidates[0]
        assert (first.n_tokens, first.avg_logprob, first.finish_reason) == (4, -2.0, "stop")
        assert first.generator["system_principle"] == "Be brief."
        assert (first.generator["model"], first.generator["role"], first.generator["index"]) == (
            "teacher",
            "teacher",
            "0",
        )
        assert group.messages == [{"role": "user", "content": group.prompt}]
    assert all(r.messages[0] == {"role": "system", "content": "Be brief."} for _, r in made.asked)
    assert len(made.calls) == 6
    assert facts["session"]["calls"] == 6


def test_greedy_samples_are_one_call(world):
    made = world({"teacher": lambda r: "same"})
    target, _, _ = run(made, {"name": "answer", "temperature": 0.0}, seeds("a b"), num_responses=3)
    assert len(made.calls) == 1
    (group,) = target.groups()
    assert len({c.id for c in group.candidates}) == 3


def test_a_failed_sample_is_left_out_and_a_prompt_without_any_is_dropped(world):
    def answer(request):
        text = request.messages[0]["content"]
        if text == "bad" or (text == "half" and request.tag.endswith(":0")):
            return Outcome("failed_permanent", error="content_filter: no")
        return "fine"

    target, counts, _ = run(
        world({"teacher": answer}), {"name": "answer"}, seeds("bad", "half", "good"), num_responses=2
    )
    assert {g.prompt: len(g.candidates) for g in target.groups()} == {"half": 1, "good": 2}
    assert counts.as_dict()["dropped"] == {"content_filter": 1}
    assert counts.extra["failed_content_filter"] == 3


def test_reasons_and_histograms_survive_a_kill(world, monkeypatch):
    monkeypatch.setattr(stage, "PART", 2)
    groups = seeds(*[f"prompt {i}" for i in range(7)])

    def answer(request):
        n = int(request.messages[0]["content"].split()[1])
        if n == 2:
            return Outcome("failed_permanent", error="content_filter: no")
        return "the same" if n == 5 else f"text {request.sampling.seed % (1 + n % 3)}"

    section = {"num_responses": 4, "min_unique": 2, "keep": 2}
    whole = world({"teacher": answer}, name="whole")
    target, counts, facts = run(whole, {"name": "answer"}, groups, **section)
    assert counts.dropped == {"content_filter": 1, "low_diversity": 4}
    # Prompts 0, 3, 6 and 5 say one thing, 1 and 4 two.
    assert facts["distinct_of_sampled"] == {"1": 4, "2": 2}
    for limit in (3, 9, 17, 27):
        killed = world({"teacher": answer}, limit, name=f"killed-{limit}")
        with pytest.raises(Stopped):
            run(killed, {"name": "answer"}, groups, **section)
        killed.limit = None
        again, after, after_facts = run(killed, {"name": "answer"}, groups, **section)
        assert rows(again) == rows(target)
        assert after.as_dict() == counts.as_dict()
        assert after_facts["distinct_of_sampled"] == facts["distinct_of_sampled"]
        assert killed.calls == whole.calls


def test_keep_spreads_and_asks_for_enough_samples(world):
    texts = ["a b c d", "a b c e", "w x y z"]
    made = world({"teacher": lambda r: texts[r.sampling.seed - 3]})
    target, _, _ = run(made, {"name": "answer"}, seeds("p"), num_responses=3, keep=2)
    (group,) = target.groups()
    assert [(c.text, c.generator["index"]) for c in group.candidates] == [("a b c d", "0"), ("w x y z", "2")]
    with pytest.raises(PrefineError, match=r"generate.keep is 5, above the number of samples: .* is 4"):
        run(world({"teacher": None}, name="k"), {"name": "answer"}, seeds("p"), keep=5)
    with pytest.raises(PrefineError, match=r"generate.min_unique is 5"):
        run(world({"teacher": None}, name="u"), {"name": "answer"}, seeds("p"), min_unique=5)


def test_a_response_names_its_call_in_the_ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        session = Session(Scripted(lambda r: "tea"), ledger)
        (reply,) = session.ask([Request(({"role": "user", "content": "say tea"},))])
        candidate = written("g", reply.text, reply, {"model": "m"})
        (row,) = ledger.rows("ok")
    assert candidate.generator == {"model": "m", "ledger_key": row.key}
