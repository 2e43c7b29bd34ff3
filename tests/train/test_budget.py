"""The budget of a micro-batch: measured, predicted, and halved when memory runs out all the same."""

import pytest
import torch

from prefine.errors import PrefineError
from prefine.models.masters import Masters
from prefine.models.trees import tree_size
from prefine.registry import objectives
from prefine.train import budget, memory
from prefine.train.budget import find_budget
from prefine.train.memory import out_of_memory
from tests.train.job import block_of, make_items, make_policy, make_trainer, weights


@pytest.fixture
def start():
    policy = make_policy()
    return policy, Masters(policy.model), make_items(objectives.build({"name": "dpo"}), 40)


def test_the_free_memory_decides(monkeypatch, start):
    policy, masters, items = start
    kept = budget._kept_for_a_token(policy, items, "cascade")
    fixed = 12 * sum(p.numel() for p in masters.named.values()) + budget.KEPT_BYTES["cpu"]
    monkeypatch.setattr(budget, "free_bytes", lambda device: int((fixed + 1000 * kept) / 0.8))
    found = find_budget(policy, masters, items, "cascade", "auto")
    assert found.max_tokens == pytest.approx(1000, abs=1)
    assert found.added_mb == pytest.approx(
        (fixed - budget.KEPT_BYTES["cpu"] + 1000 * (kept + 48 * 4)) / 2**20, rel=0.01
    )
    assert found.predicted_mb == found.held_mb + found.added_mb and found.held_mb > 100
    monkeypatch.setattr(budget, "free_bytes", lambda device: 1 << 40)
    assert find_budget(policy, masters, items, "cascade", "auto").max_tokens == budget.MOST["cpu"]
    assert find_budget(policy, masters, items, "cascade", 77).max_tokens == 77
    assert "77 tokens" in find_budget(policy, masters, items, "cascade", 77).line
    halved = Masters(policy.model, bf16=True)
    assert find_budget(policy, halved, items, "cascade", "auto").max_tokens == 2 * budget.MOST["cpu"]


def test_what_a_token_costs_grows_with_the_layers_and_not_with_the_items(start):
    policy, _, items = start
    one = budget._kept_for_a_token(policy, items, "cascade")
    assert budget._kept_for_a_token(policy, items[:20], "cascade") == pytest.approx(one, rel=0.2)
    # At least the inputs of its norms, its projections and its feed-forward part, in float32, for two layers.
    assert one > 2 * 4 * (2 * 16 + 3 * 24)
    with torch.no_grad():
        state = torch.random.get_rng_state()
        budget._kept_for_a_token(policy, items, "cascade")
        assert torch.equal(state, torch.random.get_rng_state())
    assert all(p.grad is None for p in policy.parameters())


@pytest.mark.parametrize("name", ["dpo", "beta_dpo"])
def test_a_step_that_ran_out_of_memory_is_done_again_in_halves(tmp_path, name):
    want = make_trainer(tmp_path / "a", block_of(name), {"max_tokens": 10_000})
    got = make_trainer(tmp_path / "b", block_of(name), {"max_tokens": 200})
    laid_out, asked = got.passes._laid_out, []

    def short_of_memory(part, *more):
        tokens = sum(tree_size(item.encoded) for item in part.items)
        asked.append(tokens)
        if tokens > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return laid_out(part, *more)

    got.passes._laid_out = short_of_memory
    said = []
    got.progress.line = said.append
    for _ in range(2):
        a, b = want._optimizer_step(), got._optimizer_step()
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    assert max(asked) > 100 and got.passes.max_tokens == 100
    assert said == ["step 1: out of memory; going on with micro-batches of 100 tokens"]
    for key, value in weights(want).items():
        assert torch.allclose(value, weights(got)[key], atol=1e-6)
    for key, value in want.objective.state_dict().items():
        assert torch.allclose(value, got.objective.state_dict()[key])


def test_an_example_that_never_fits_is_named(tmp_path):
    trainer = make_trainer(tmp_path, block_of("dpo"), {"max_tokens": 64})

    def never(part, *more):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    trainer.passes._laid_out = never
    with pytest.raises(PrefineError, match=r"the longest example is row-\d+ with \d+\)\. Set train\.max_tokens"):
        trainer._optimizer_step()


def test_only_errors_of_memory_are_tried_again(tmp_path):
    assert out_of_memory(MemoryError()) and not out_of_memory(RuntimeError("shapes differ"))
    trainer = make_trainer(tmp_path, block_of("dpo"), {})

    def broken(part, *more):
        raise RuntimeError("shapes differ")

    trainer.passes._laid_out = broken
    with pytest.raises(RuntimeError, match="shapes differ"):
        trainer._optimizer_step()


def test_a_resumed_run_keeps_the_budget_it_had(tmp_path):
    trainer = make_trainer(tmp_path, block_of("dpo"), {"max_tokens": 120, "num_train_epochs": 2.0})
    trainer._optimizer_step()
    trainer.passes.max_tokens = 60
    trainer.save()
    again = make_trainer(tmp_path, block_of("dpo"), {"max_tokens": 120, "num_train_epochs": 2.0})
    again._resume()
    assert again.step == 1 and again.passes.max_tokens == 60


@pytest.mark.parametrize(("wanted", "expected"), [(40, 40), ("auto", 60)])
def test_a_resumed_run_may_be_given_less(tmp_path, wanted, expected):
    trainer = make_trainer(tmp_path, block_of("dpo"), {"max_tokens": 120, "num_train_epochs": 2.0})
    trainer._optimizer_step()
    trainer.passes.max_tokens = 60
    trainer.save()
    again = make_trainer(tmp_path, block_of("dpo"), {"max_tokens": wanted, "num_train_epochs": 2.0})
    again._resume()
    assert again.passes.max_tokens == expected


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", ["dpo", "beta_dpo"])
def test_a_step_done_again_is_to_the_bit_the_one_that_never_failed(tmp_path, name, last):
    """With dropout, and with memory that runs out in the middle of the batch, in the first or the second pass of an
    objective that needs two: nothing is counted twice."""
    settings = {"lora": True, "dropout": 0.3, "num_train_epochs": 2.0}
    want = make_trainer(tmp_path / "a", block_of(name), {**settings, "max_tokens": 30})
    got = make_trainer(tmp_path / "b", block_of(name), {**settings, "max_tokens": 60})
    laid_out, calls = got.passes._laid_out, []
    parts = len(got.passes._cut([got.items[i] for i in got.schedule.batch(0)]))
    fails = parts * (1 + got.objective.coupled) if last else 1 + parts // 2
    assert parts > 1

    def one_part_fails(part, *more):
        calls.append(part)
        if len(calls) == fails:
            raise torch.OutOfMemoryError("made up")
        return laid_out(part, *more)

    got.passes._laid_out = one_part_fails
    for _ in range(3):
        assert want._optimizer_step() == got._optimizer_step()
    assert got.passes.max_tokens == 30 and got.tokens == want.tokens
    assert all(torch.equal(value, weights(got)[key]) for key, value in weights(want).items())
    for key, value in want.objective.state_dict().items():
        assert torch.equal(value, got.objective.state_dict()[key])


def test_processes_of_one_machine_share_its_memory(monkeypatch):
    monkeypatch.setattr(memory.Path, "read_text", lambda self: "MemAvailable: 1000 kB")
    assert memory.free_bytes(torch.device("cpu")) == 1000 << 10
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory.free_bytes(torch.device("cpu")) == 250 << 10


@pytest.mark.parametrize("words", ["CUDA error: out of memory", "[enforce fail] DefaultCPUAllocator: no"])
def test_errors_of_memory_without_a_type_of_their_own(words):
    assert out_of_memory(RuntimeError(words)) and not out_of_memory(ValueError(words))
