"""The loop: exact normalization however a batch is cut, exact resume, and refusals before harm is done."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prefine.errors import Interrupted, PrefineError
from prefine.registry import objectives
from prefine.train import checkpoint
from prefine.train.batches import Schedule, cut, total_steps
from prefine.train.optim import learning_rate
from tests.train.job import make_items, make_policy, make_trainer, weights

JOB = Path(__file__).with_name("job.py")
ROOT = Path(__file__).resolve().parents[2]


def start(folder, name, settings, processes=1, **kwargs):
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", "0"]
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.Popen(
        [*launcher, str(JOB), str(folder), json.dumps({"name": name}), json.dumps(settings)], env=env, **kwargs
    )


@pytest.mark.parametrize(
    ("name", "unlike", "tokens"),
    [
        ("pad", {}, 100),
        ("pad", {"short_of_memory": [1, 60]}, 50),
        ("beta_dpo", {"short_of_memory": [0, 60]}, 50),
        ("beta_dpo", {"found": [100, 70]}, 70),
    ],
    ids=str,
)
def test_two_processes_train_as_one(tmp_path, name, unlike, tokens):
    """Even if one of them runs out of memory, or has found less of it: then both take smaller micro-batches."""
    settings = {"max_tokens": 100, "num_train_epochs": 1.0, "eval_samples": 2}
    said = {}
    for folder, processes in (("one", 1), ("two", 2)):
        more = unlike if processes == 2 else {}
        with start(tmp_path / folder, name, {**settings, **more}, processes, stdout=subprocess.PIPE) as job:
            said[folder] = job.communicate(timeout=240)[0].decode().split("ready\n")[-1]
        assert job.returncode == 0
    assert said["one"].count("micro-batches of 100") == 1
    assert said["two"].count(f"micro-batches of {tokens}") == 2
    one, two = (load_file(tmp_path / f / "final.safetensors") for f in ("one", "two"))
    begin = {n: p for n, p in make_policy().model.named_parameters()}
    for key, value in one.items():
        moved = (value - begin[key]).norm()
        assert (two[key] - value).norm() <= 1e-4 * moved, key
    logs = [[json.loads(x) for x in (tmp_path / f / "metrics.jsonl").read_text().splitlines()] for f in ("one", "two")]
    for a, b in zip(*logs, strict=True):
        assert a["step"] == b["step"] and a["tokens"] == b["tokens"]
        key = "loss" if "loss" in a else "eval/loss"
        assert a[key] == pytest.approx(b[key], rel=1e-5)
    assert sampled(tmp_path / "one")[1] == sampled(tmp_path / "two")[1] == [0, 0, 1, 1, 2, 2, 3, 3]


def run_through(tmp_path, name, settings):
    trainer = make_trainer(tmp_path, {"name": name}, dict(settings))
    trainer.run()
    return weights(trainer), (tmp_path / "metrics.jsonl").read_text()


def sampled(folder):
    """What was sampled while training, as bytes, and the steps at which it was."""
    path = folder / "samples.jsonl"
    text = path.read_bytes() if path.exists() else b""
    return text, [json.loads(line)["step"] for line in text.splitlines()]


def without_seconds(log):
    rows = [json.loads(line) for line in log.splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dpo", {}),
        ("pad", {"max_tokens": 60}),
        ("sft", {"lora": True, "dropout": 0.2}),
        ("simpo", {"lr_scheduler_type": "linear", "gradient_checkpointing": False}),
        ("beta_dpo", {"max_tokens": 60}),
        ("bco", {}),
        ("tdpo", {"lora": True}),
        ("dpo", {"eval_samples": 2, "eval_steps": 2, "lora": True, "dropout": 0.2}),
    ],
)
def test_stopped_at_any_step_and_resumed_is_bitwise_the_same(tmp_path, name, settings):
    settings = {**settings, "num_train_epochs": 2.0, "logging_steps": 4}
    want, log = run_through(tmp_path / "whole", name, settings)
    for stop in range(1, 6):
        folder = tmp_path / f"stop-{stop}"
        trainer = make_trainer(folder, {"name": name}, dict(settings))
        step = trainer._optimizer_step

        def stopping(trainer=trainer, step=step, stop=stop):
            row = step()
            trainer._stop = trainer.step == stop
            return row

        trainer._optimizer_step = stopping
        with pytest.raises(Interrupted):
            trainer.run()
        torch.manual_seed(99)
        got, resumed_log = run_through(folder, name, settings)
        for key, value in want.items():
            assert torch.equal(got[key], value), (stop, key)
        assert without_seconds(resumed_log) == without_seconds(log)
        assert sampled(folder) == sampled(tmp_path / "whole")
    assert sampled(tmp_path / "whole")[1] == ([0, 0, 2, 2, 4, 4, 6, 6] if "eval_samples" in settings else [])


def test_killed_at_random_instants_ends_with_the_same_bits(tmp_path):
    settings = {"num_train_epochs": 40.0, "save_steps": 1, "lora": True, "logging_steps": 7}
    settings |= {"eval_samples": 2, "eval_steps": 10}
    assert start(tmp_path / "whole", "beta_dpo", settings).wait(timeout=240) == 0
    want = load_file(tmp_path / "whole" / "final.safetensors")
    folder, kills = tmp_path / "killed", 0
    generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "big"))
    for _ in range(12):
        with start(folder, "beta_dpo", settings, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            if kills < 3:
                # A step and its save take some ten milliseconds, so the kill falls within either.
                delay = 0.05 + 0.4 * float(torch.rand(1, generator=generator))
                try:
                    process.wait(timeout=delay)
                except subprocess.TimeoutExpired:
                    process.kill()
                    kills += 1
            process.wait(timeout=240)
        if (folder / "final.safetensors").exists():
            break
    assert kills == 3
    for key, value in load_file(folder / "final.safetensors").items():
        assert torch.equal(value, want[key]), key
    assert sampled(folder) == sampled(tmp_path / "whole")
    assert sampled(folder)[1] == sorted([*range(0, 121, 10)] * 2)


def test_sigterm_saves_and_stops(tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(tmp_path, "dpo", {"num_train_epochs": 2000.0}, **pipes) as process:
        process.stdout.readline()
        while not (tmp_path / "metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.01)
        process.terminate()
        _, error = process.communicate(timeout=60)
    assert b"Interrupted: stopped at step" in error
    assert checkpoint.newest(tmp_path / "checkpoints") is not None


def stopped(folder, **fingerprint):
    trainer = make_trainer(folder, {"name": "dpo"}, {"num_train_epochs": 2.0}, **fingerprint)
    trainer._stop = True
    with pytest.raises(Interrupted):
        trainer.run()


def test_resuming_with_other_settings_or_data_is_refused_by_name(tmp_path):
    stopped(tmp_path, data="aaaa")
    trainer = make_trainer(tmp_path, {"name": "dpo", "beta": 0.2}, {"num_train_epochs": 2.0}, data="bbbb")
    with pytest.raises(PrefineError, match=r"data: .*aaaa.*bbbb.*objective\.beta: null -> 0\.2"):
        trainer.run()


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    settings = {"num_train_epochs": 2.0, "save_steps": 1}
    want, _ = run_through(tmp_path / "whole", "dpo", settings)
    folder = tmp_path / "damaged"
    run_through(folder, "dpo", settings)
    last = checkpoint.newest(folder / "checkpoints")
    data = bytearray((last / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (last / "weights.safetensors").write_bytes(bytes(data))
    said = []
    before = checkpoint.newest(folder / "checkpoints", said.append)
    assert before.name < last.name and "weights.safetensors is not as it was written" in said[0]
    got, _ = run_through(folder, "dpo", settings)
    assert all(torch.equal(got[k], v) for k, v in want.items())


def test_a_damaged_checkpoint_is_not_counted_among_those_that_are_kept(tmp_path):
    """Saving an earlier step beside it must not delete the only good one."""
    trainer = make_trainer(tmp_path, {"name": "dpo"}, {"num_train_epochs": 2.0, "save_total_limit": 2})
    for _ in range(3):
        trainer._optimizer_step()
    folder = tmp_path / "checkpoints"
    for _ in range(2):
        trainer.save()
        (folder / "step-000003" / "weights.safetensors").write_bytes(b"")
        assert checkpoint.newest(folder, lambda line: None) is None
    for step in (1, 2):
        trainer.step = step
        trainer.save()
    assert sorted(p.name for p in folder.glob("step-*")) == ["step-000001", "step-000002", "step-000003.damaged"]
    assert checkpoint.newest(folder).name == "step-000002"


def test_the_optimizer_itself_takes_its_moments_back(tmp_path, monkeypatch):
    """Where its counter of steps has to be depends on the device and on how it computes."""
    trainer = make_trainer(tmp_path, {"name": "dpo"}, {"num_train_epochs": 2.0})
    trainer._optimizer_step()
    trainer.save()
    again = make_trainer(tmp_path, {"name": "dpo"}, {"num_train_epochs": 2.0})
    given = []
    real = again.optimizer.load_state_dict
    monkeypatch.setattr(again.optimizer, "load_state_dict", lambda state: given.append(state) or real(state))
    again._resume()
    assert len(given) == 1
    for old, new in zip(trainer._trainable().values(), again._trainable().values(), strict=True):
        before, after = trainer.optimizer.state[old], again.optimizer.state[new]
        assert before.keys() == after.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(before[k], after[k]) and before[k].dtype == after[k].dtype for k in before)


def test_a_crash_before_the_rename_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    settings = {"num_train_epochs": 2.0, "save_steps": 1}
    trainer = make_trainer(tmp_path, {"name": "dpo"}, dict(settings))
    written = []
    real = checkpoint.write_json

    def failing(path, value):
        written.append(path)
        if len(written) == 4:
            raise OSError("disk full")
        real(path, value)

    monkeypatch.setattr(checkpoint, "write_json", failing)
    with pytest.raises(OSError, match="disk full"):
        trainer.run()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir() if ".tmp-" in p.name] == []
    assert checkpoint.newest(tmp_path / "checkpoints").name == "step-000001"


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    run_through(tmp_path, "dpo", {"num_train_epochs": 2.0, "save_steps": 1, "save_total_limit": 3})
    names = sorted(p.name for p in (tmp_path / "checkpoints").glob("step-*"))
    assert names == ["step-000003", "step-000004", "step-000005"]


def test_non_finite_stops_before_the_weights_change(tmp_path):
    trainer = make_trainer(tmp_path, {"name": "dpo"}, {})
    trainer._optimizer_step()
    before = weights(trainer)
    index = trainer.schedule.batch(1)[0]
    trainer.items[index].ref_logps[0] = math.nan
    with pytest.raises(PrefineError, match=f"not finite.*{trainer.items[index].id}"):
        trainer._optimizer_step()
    assert all(torch.equal(v, before[k]) for k, v in weights(trainer).items())


def test_a_wrong_reference_is_caught_before_the_first_step(tmp_path):
    trainer = make_trainer(tmp_path, {"name": "dpo"}, {})
    del trainer.objective.start_loss
    with pytest.raises(PrefineError, match=r"must be 0\.6931"):
        trainer.run()


def test_nothing_to_train_is_an_error(tmp_path):
    policy = make_policy()
    policy.requires_grad_(False)
    with pytest.raises(PrefineError, match="nothing to train"):
        make_trainer(tmp_path, {"name": "dpo"}, {}, policy=policy)


def test_evaluation_changes_nothing(tmp_path):
    want, _ = run_through(tmp_path / "a", "dpo", {"num_train_epochs": 2.0})
    got, _ = run_through(tmp_path / "b", "dpo", {"num_train_epochs": 2.0, "eval_steps": 1})
    assert all(torch.equal(got[k], v) for k, v in want.items())


def test_schedule_covers_every_example_once_an_epoch_in_another_order():
    schedule = Schedule(num_items=10, batch_size=4, total_steps=6, seed=5)
    first = [i for step in range(3) for i in schedule.batch(step)]
    second = [i for step in range(3, 6) for i in schedule.batch(step)]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert total_steps(10, 4, 1.0, None) == 3 and total_steps(10, 4, 2.5, None) == 8 and total_steps(10, 4, 9.0, 7) == 7


def test_processes_get_equally_many_micro_batches_and_each_example_once():
    items = make_items(objectives.build({"name": "dpo"}), 5)
    shares = [cut(items, 40, rank, 3, mode="dense") for rank in range(3)]
    assert len({len(s) for s in shares}) == 1
    ids = [item.id for share in shares for part in share if not part.filler for item in part.items]
    assert sorted(ids) == [item.id for item in items]
    alone = [cut(items[:1], 40, rank, 2, mode="dense") for rank in range(2)]
    assert [part.filler for share in alone for part in share] == [False, True]


def test_learning_rate_schedules():
    from prefine.recipe import Train

    def rates(kind, warmup=0.2):
        train = Train(objective={"name": "dpo"}, learning_rate=1.0, lr_scheduler_type=kind, warmup_ratio=warmup)
        return [learning_rate(train, step, 10) for step in range(10)]

    assert rates("constant") == [0.5] + [1.0] * 9
    assert rates("linear") == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert rates("cosine")[6] == pytest.approx(0.5) and rates("cosine", 0.0)[0] == 1.0


def test_peak_memory_is_that_of_this_run(tmp_path):
    from prefine.train.memory import peak_memory_mb, reset_peak_memory

    block = torch.ones(64 << 20)
    high = peak_memory_mb()
    del block
    reset_peak_memory()
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak can only be reset on Linux")
    assert peak_memory_mb() < high - 100
