"""However a global batch is cut into micro-batches, rows and processes, its gradient is one: for every objective."""

import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prefine.errors import PrefineError
from prefine.models import head
from prefine.models.logps import policy_token_logps
from prefine.models.policy import Policy
from prefine.models.trees import pack
from prefine.objectives.base import Objective, Output
from prefine.registry import objectives
from prefine.train.stage import checkpoint_activations
from tests.train.job import block_of, make_policy, make_trainer

EVERY = sorted(objectives.entries())
ROOT = Path(__file__).resolve().parents[2]


def first_gradients(folder, name, double=True, **settings):
    """Weight gradients of the first step on 16 ragged examples, caught before the optimizer uses them."""
    policy = make_policy()
    trainer = make_trainer(
        folder,
        block_of(name),
        {"batch_size": 16, "max_grad_norm": 1e9, **settings},
        n=16,
        policy=policy.double() if double else policy,
    )
    caught = {}

    def catch(*_, **__):
        caught.update({n: p.grad.clone() for n, p in trainer._trainable().items()})
        raise StopIteration

    trainer.optimizer.step = catch
    with pytest.raises(StopIteration):
        trainer._optimizer_step()
    return caught


def gap(one, other):
    """Distance of two gradients relative to their size, all weights together."""
    assert one.keys() == other.keys()
    size = torch.stack([g.double().norm() for g in one.values()]).norm()
    assert size > 0
    return float(torch.stack([(other[k].double() - g.double()).norm() for k, g in one.items()]).norm() / size)


@pytest.mark.parametrize("name", EVERY)
def test_a_batch_cut_any_way_has_one_gradient(tmp_path, name):
    # The model's norms compute in float32, so another layout moves even a float64 model by that much.
    whole = first_gradients(tmp_path / "a", name, max_tokens=100_000)
    for i, (tokens, mode, slack) in enumerate(
        [(120, "cascade", 1e-9), (1, "cascade", 1e-9), (90, "separate", 1e-6), (90, "dense", 1e-6)]
    ):
        cut_up = first_gradients(tmp_path / str(i), name, max_tokens=tokens, mode=mode)
        assert gap(whole, cut_up) <= slack, (tokens, mode)


def cuts_of(monkeypatch):
    """The numbers of parts that policies cut their responses into, of at most 12 rows where a tree has fewer."""
    found, parts = [], Policy.parts
    monkeypatch.setattr(head, "KEPT_BYTES", {"cpu": 48 * 8 * 12})

    def seen(policy, *given):
        found.append(parts(policy, *given))
        return found[-1]

    monkeypatch.setattr(Policy, "parts", seen)
    return found


@pytest.mark.parametrize("name", EVERY)
def test_the_head_of_a_few_trees_at_a_time_gives_the_same_gradient(tmp_path, name, monkeypatch):
    settings = {"max_tokens": 100_000}
    for mode in ("cascade", "separate", "dense"):
        whole = first_gradients(tmp_path / "whole", name, mode=mode, **settings)
        with monkeypatch.context() as patched:
            cuts = cuts_of(patched)
            assert gap(whole, first_gradients(tmp_path / mode, name, mode=mode, **settings)) <= 1e-12
        objective = objectives.build(block_of(name))
        head_alone = objective.statistics <= head.WITH_SLOPE | head.WITHOUT | {"token_logps", "ref_token_logps"}
        if objective.coupled:
            assert cuts == []
        else:
            assert (len(cuts[0]) > 2) == (mode != "dense" and head_alone), cuts


def test_parts_hold_whole_trees_and_compute_no_row_twice(tmp_path, monkeypatch):
    products, product = [], head._Work.product

    def counted(work, rows, cols, room):
        products.append((rows.stop - rows.start) * (cols.stop - cols.start))
        return product(work, rows, cols, room)

    monkeypatch.setattr(head._Work, "product", counted)
    cuts = cuts_of(monkeypatch)
    trainer = make_trainer(tmp_path, block_of("dpo"), {"batch_size": 8, "max_tokens": 10_000}, n=8)
    (part,) = trainer.passes._cut([trainer.items[i] for i in trainer.schedule.batch(0)])
    trainer._optimizer_step()
    assert all(cut % 2 == 0 for cut in cuts[0]) and cuts[0][0] == 0 and cuts[0][-1] == 16 and len(cuts[0]) > 3
    labels = [sum(map(sum, item.encoded.masks)) for item in part.items]
    assert sum(products) == 48 * sum(labels)
    for first, last in pairwise(cut // 2 for cut in cuts[0]):
        assert last - first == 1 or sum(labels[first:last]) <= 24


def test_a_frozen_head_is_not_cut(tmp_path, monkeypatch):
    cuts = cuts_of(monkeypatch)
    policy = make_policy(lora=True)
    make_trainer(tmp_path, block_of("dpo"), {"max_tokens": 10_000}, n=8, policy=policy)._optimizer_step()
    assert cuts == [[0, 2 * 8]]


def test_in_float32_and_in_two_processes_too(tmp_path):
    """16 examples at once, a few at a time, one at a time, and on two processes: gradients within 1e-6."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", __file__, str(tmp_path)]
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with subprocess.Popen(launcher, env=env) as two:
        far = {}
        for name in EVERY:
            whole = first_gradients(tmp_path / "one", name, double=False, max_tokens=100_000)
            for tokens in (120, 1):
                cut_up = first_gradients(tmp_path / "one", name, double=False, max_tokens=tokens)
                far[name, tokens] = gap(whole, cut_up)
            save_file({k: v.contiguous() for k, v in whole.items()}, tmp_path / f"{name}.one")
        assert two.wait(timeout=500) == 0
    for name in EVERY:
        far[name, "2 processes"] = gap(load_file(tmp_path / f"{name}.one"), load_file(tmp_path / f"{name}.two"))
    assert {k: v for k, v in far.items() if not v <= 1e-6} == {}


def moved_adapter():
    """A policy whose adapter is no longer zero, and whose numbers are not those of its start."""
    policy = make_policy(lora=True).double()
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    return policy


@pytest.mark.parametrize(("name", "more"), [("dpo", {}), ("kto", {}), ("ld_dpo", {"ld_alpha": 0.5}), ("tdpo", {})])
def test_a_reference_in_the_step_equals_a_pass_before(tmp_path, name, more):
    """With checkpointed activations, too: then the backward pass calls the policy's layers again."""
    found = []
    for stored, checkpointed in ((True, False), (False, False), (False, True)):
        policy = moved_adapter()
        if checkpointed:
            checkpoint_activations(policy)
        settings = {"batch_size": 16, "max_tokens": 120, "max_grad_norm": 1e9}
        trainer = make_trainer(tmp_path / str(stored), block_of(name, **more), settings, n=16, policy=policy)
        if "seq_kl" in trainer.objective.statistics:
            policy.compare_with(policy)
        encoded = [item.encoded for item in trainer.items]
        with policy.as_reference():
            before = policy_token_logps(policy, encoded, max_tokens=1, mode="cascade")
        for item, tokens in zip(trainer.items, before, strict=True):
            item.ref_token_logps = tokens if stored else []
            item.ref_logps = [math.fsum(t) for t in tokens] if stored else []
        policy.train()
        sums, _ = trainer.passes.backward(trainer.items, trainer._seed)
        grads = {n: p.grad.clone() for n, p in trainer._trainable().items()}
        policy.eval()
        found.append((grads, sums["loss"], trainer.passes.sums(trainer.items)[0]["loss"]))
    want, *others = found
    for got in others:
        assert gap(want[0], got[0]) <= 1e-6
        assert got[1:] == pytest.approx(want[1:], rel=1e-6)


def test_without_an_adapter_there_is_no_reference_in_the_step(tmp_path):
    trainer = make_trainer(tmp_path, block_of("dpo"), {})
    trainer.items[0].ref_logps = []
    with pytest.raises(PrefineError, match="a policy without an adapter gives none"):
        trainer.passes.sums(trainer.items[:1])


class Contrast(Objective):
    """A coupled objective with a value that is easy to know: each example's loss is its distance from the mean."""

    group_size = 1
    coupled = True

    def forward(self, responses):
        a = responses.logps[:, 0]
        return Output((a - a.mean()) ** 2, {"mean": a.detach().mean().expand(len(a))}, torch.arange(len(a)) + 1.0)


def test_a_coupled_objective_sees_the_batch_whole_and_in_its_order(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, block_of("sft"), {"batch_size": 6, "max_tokens": 20}, n=6)
    seen = []
    contrast = Contrast()
    monkeypatch.setattr(
        contrast, "forward", lambda r: seen.append(r.logps.detach()[:, 0]) or Contrast.forward(contrast, r)
    )
    trainer.objective = trainer.passes.objective = contrast
    batch = [trainer.items[i] for i in trainer.schedule.batch(0)]
    assert len(trainer.passes._cut(batch)) > 2
    row = trainer._optimizer_step()
    (logps,) = seen
    alone = torch.stack([make_policy().logps(pack([i.encoded]))[0] for i in batch])
    assert torch.allclose(logps.float(), alone.detach(), atol=1e-5)
    weights = torch.arange(6) + 1.0
    want = (weights * (logps - logps.mean()) ** 2).sum() / weights.sum()
    assert row["loss"] == pytest.approx(float(want), rel=1e-5)
    assert row["mean"] == pytest.approx(float(logps.mean()), rel=1e-5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    rank = int(os.environ["RANK"])
    for objective in EVERY:
        found = first_gradients(target / f"two-{rank}", objective, double=False, max_tokens=60)
        if rank == 0:
            save_file({k: v.contiguous() for k, v in found.items()}, target / f"{objective}.two")
    torch.distributed.destroy_process_group()
