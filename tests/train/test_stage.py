"""The train stage on files: full, LoRA, an adapter below a new one, and what is counted on the way."""

import json
import os

import pytest
import torch

from prefine.errors import PrefineError
from prefine.models import reference
from prefine.models.layouts import plain_logps
from prefine.models.load import load_model, load_tokenizer
from prefine.models.policy import Policy
from prefine.pipeline import compute_reference, run_recipe
from prefine.progress import Progress
from prefine.recipe import Recipe
from prefine.registry import objectives
from prefine.rundir import Counts
from prefine.train.stage import encode_examples


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    words = "tea sun cup hat dog box pen sky ant map key jar oak ink fig ram elm bay"
    rows = [
        {"prompt": f"say {word} now", "chosen": f"{word}!", "rejected": f"no {word} for you"} for word in words.split()
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def recipe(tmp_path, path, data, **changes):
    train = {
        "objective": {"name": "dpo", "beta": 0.5},
        "learning_rate": 1e-2,
        "batch_size": 8,
        "num_train_epochs": 4.0,
        "eval_samples": 0,
        **changes.pop("train", {}),
    }
    settings = {
        "name": changes.pop("name", "run"),
        "output_dir": str(tmp_path / "runs"),
        "model": {"path": str(path), **changes.pop("model", {})},
        "data": {"path": str(data), "test_fraction": 0.25},
        "train": train,
        **changes,
    }
    return Recipe.model_validate(settings)


def train(made):
    run = run_recipe(made, progress=Progress.silent())
    return run.results("train")[-1]


def metrics(folder):
    return [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("model", [{}, {"lora_r": 4}])
def test_training_raises_the_margin_and_leaves_the_folder_complete(tmp_path, tiny_model_dir, pairs_file, model):
    done = train(recipe(tmp_path, tiny_model_dir, pairs_file, model=model, train={"save_steps": 3}))
    logged = [m for m in metrics(done) if "loss" in m]
    assert logged[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert logged[-1]["rewards/margins"] > 0.5 and logged[-1]["rewards/accuracies"] == 1.0
    assert any("eval/rewards/accuracies" in m for m in metrics(done))
    manifest = done.manifest()
    counts = manifest["counts"]
    assert counts["rows_in"] == counts["rows_out"] + sum(counts["dropped"].values()) == 18
    assert manifest["steps"] == 8 and manifest["peak_memory_mb"] > 0 and manifest["seed"] == 0
    assert ("adapter_config.json" if model else "config.json") in {p.name for p in (done.path / "model").iterdir()}
    assert {p.name for p in (done.path / "checkpoints").glob("step-*")} == {"step-000003", "step-000006"}


def logps_of(spec, pairs_file):
    from prefine.data.chat import encode

    tokenizer = load_tokenizer(spec)
    item = encode(tokenizer, [{"role": "user", "content": "say tea"}], [[{"role": "assistant", "content": "tea!"}]])
    return float(plain_logps(Policy(load_model(spec)), [item])[0].detach())


def test_a_new_adapter_starts_from_what_the_old_one_learned(tmp_path, tiny_model_dir, pairs_file):
    first = train(
        recipe(
            tmp_path,
            tiny_model_dir,
            pairs_file,
            model={"lora_r": 4},
            name="sft",
            train={"objective": {"name": "sft"}},
            pair={"pairer": {"name": "responses"}},
        )
    )
    on_top = recipe(tmp_path, tmp_path / "runs" / "sft", pairs_file, model={"lora_r": 2}, name="dpo")
    second = train(on_top)
    begin = next(m for m in metrics(second) if "loss" in m)
    assert begin["loss"] == pytest.approx(0.6931, abs=1e-3)
    base, old, new = (
        logps_of(on_top.model.model_copy(update={"path": str(p)}), pairs_file)
        for p in (tiny_model_dir, first.path / "model", second.path / "model")
    )
    assert abs(base - old) > 1e-2 and abs(old - new) > 1e-2
    start = load_model(on_top.model, train=True)
    with torch.no_grad(), start.disable_adapter():
        reference = float(plain_logps(Policy(start), [_item(on_top.model)])[0])
    assert reference == pytest.approx(old, abs=1e-4)


def _item(spec):
    from prefine.data.chat import encode

    return encode(
        load_tokenizer(spec), [{"role": "user", "content": "say tea"}], [[{"role": "assistant", "content": "tea!"}]]
    )


def test_gradient_checkpointing_changes_no_number(tmp_path, tiny_model_dir, pairs_file):
    losses = []
    for i, (on, model) in enumerate([(False, {}), (True, {}), (False, {"lora_r": 4}), (True, {"lora_r": 4})]):
        settings = {"gradient_checkpointing": on, "logging_steps": 1}
        done = train(recipe(tmp_path, tiny_model_dir, pairs_file, model=model, name=f"run{i}", train=settings))
        losses.append([m["loss"] for m in metrics(done) if "loss" in m])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[2] == pytest.approx(losses[3], abs=1e-5)


def test_reference_log_probs_are_stored_verified_and_shared(tmp_path, tiny_model_dir, pairs_file):
    train(recipe(tmp_path, tiny_model_dir, pairs_file))
    (part,) = (tmp_path / "runs" / "run" / "reference").glob("*/part-*.parquet")
    before = part.stat().st_mtime_ns
    train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"objective": {"name": "dpo", "beta": 0.2}}))
    assert [p.stat().st_mtime_ns for p in part.parent.iterdir()] == [before]
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(part)
    wrong = pa.array([[v[0] + 3.0, *v[1:]] for v in table["token_logps"].to_pylist()], pa.list_(pa.float32()))
    pq.write_table(table.set_column(1, "token_logps", wrong), part)
    with pytest.raises(PrefineError, match="stored reference log-prob"):
        train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"objective": {"name": "dpo", "beta": 0.3}}))


def stored_folders(tmp_path):
    return {p.name for p in (tmp_path / "runs" / "run" / "reference").iterdir()}


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"train": {"learning_rate": 1e-3, "max_tokens": 50, "layout": "separate"}}, True),
        ({"model": {"lora_r": 4}}, True),
        ({"train": {"bf16": True}}, False),
        ({"model": {"dtype": "bfloat16"}}, False),
        ({"model": {"lora_r": 4, "quantization": "nf4"}}, False),
    ],
    ids=str,
)
def test_what_the_key_of_the_reference_knows(tmp_path, tiny_model_dir, pairs_file, changes, shared):
    """What changes the numbers, and nothing else."""
    if "quantization" in str(changes):
        pytest.importorskip("bitsandbytes")
    compute_reference([recipe(tmp_path, tiny_model_dir, pairs_file)], progress=Progress.silent())
    first = stored_folders(tmp_path)
    compute_reference([recipe(tmp_path, tiny_model_dir, pairs_file, **changes)], progress=Progress.silent())
    assert len(first) == 1 and len(stored_folders(tmp_path) - first) == (0 if shared else 1)


def test_other_tokens_of_a_response_are_other_keys():
    from prefine.data.chat import Encoded

    def keys(prompt, responses, masks):
        return reference.response_keys(Encoded(prompt, responses, masks, {}))

    base = keys([1, 2], [[3, 4]], [[True, True]])
    others = [
        keys([1], [[2, 3, 4]], [[True] * 3]),
        keys([1, 2], [[3]], [[True]]),
        keys([1, 2], [[3, 4]], [[False, True]]),
    ]
    assert len({*base, *(key for (key,) in others)}) == 4
    assert keys([1, 2], [[7], [3, 4]], [[True], [True, True]])[1] == base[0]


def test_an_interrupted_reference_goes_on_where_it_was(tmp_path, tiny_model_dir, pairs_file, monkeypatch):
    monkeypatch.setattr(reference, "PART", 5)
    made = recipe(tmp_path, tiny_model_dir, pairs_file)
    add, written = reference.ResponseStore._add, []

    def killed(self, items, found, *more):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(len(items))
        add(self, items, found, *more)

    monkeypatch.setattr(reference.ResponseStore, "_add", killed)
    with pytest.raises(KeyboardInterrupt):
        compute_reference([made], progress=Progress.silent())
    assert written == [5, 5]
    rest = []
    monkeypatch.setattr(
        reference.ResponseStore, "_add", lambda self, items, *more: rest.append(len(items)) or add(self, items, *more)
    )
    compute_reference([made], progress=Progress.silent())
    assert rest == [5, 3]


def test_a_stored_number_is_verified_wherever_it_stands(tmp_path, tiny_model_dir, pairs_file):
    """A run of wrong numbers at the end, far from the first items."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = recipe(tmp_path, tiny_model_dir, pairs_file)
    folder = compute_reference([made], progress=Progress.silent())
    (part,) = folder.glob("*/part-*.parquet")
    table = pq.read_table(part)
    rows = table["token_logps"].to_pylist()
    half = len(rows) // 2
    rows = [*rows[:half], *([row[0] + 3.0, *row[1:]] for row in rows[half:])]
    pq.write_table(table.set_column(1, "token_logps", pa.array(rows, pa.list_(pa.float32()))), part)
    with pytest.raises(PrefineError, match="stored reference log-prob"):
        train(made)


def test_what_was_expected_of_memory_is_said_beside_what_was_measured(tmp_path, tiny_model_dir, pairs_file):
    made, said = recipe(tmp_path, tiny_model_dir, pairs_file), []
    progress = Progress.silent()
    progress.line = said.append
    done = run_recipe(made, progress=progress).results("train")[-1].manifest()
    expected, measured = f"{done['predicted_memory_mb']:,.0f} MB", f"{done['peak_memory_mb']:,.0f} MB"
    (before,) = [i for i, line in enumerate(said) if f"expected peak of memory {expected}" in line]
    (after,) = [i for i, line in enumerate(said) if line == f"memory: {measured} at most, {expected} were expected"]
    assert before < after


def test_a_reference_at_each_step_needs_no_store(tmp_path, tiny_model_dir, pairs_file):
    logs = []
    for way in ("store", "step"):
        changes = {"model": {"lora_r": 4}, "name": way, "train": {"reference": way, "logging_steps": 1}}
        done = train(recipe(tmp_path, tiny_model_dir, pairs_file, **changes))
        assert (tmp_path / "runs" / way / "reference").exists() == (way == "store")
        logs.append([{k: v for k, v in m.items() if k != "seconds"} for m in metrics(done)])
    assert len(logs[0]) == len(logs[1]) > 8
    for stored, fresh in zip(*logs, strict=True):
        assert fresh == pytest.approx(stored, rel=1e-4, abs=1e-5)
    with pytest.raises(PrefineError, match=r"train\.reference: 'step' needs an adapter"):
        train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"reference": "step"}))


def test_the_reference_alone_and_then_the_training(tmp_path, tiny_model_dir, pairs_file, monkeypatch):
    made = recipe(tmp_path, tiny_model_dir, pairs_file)
    folder = compute_reference([made], progress=Progress.silent())
    (part,) = folder.glob("*/part-*.parquet")
    before = part.stat().st_mtime_ns
    assert not list((tmp_path / "runs" / "run" / "train").glob("*"))
    calls = []
    monkeypatch.setattr(reference.ResponseStore, "_add", lambda *_: calls.append(_))
    done = train(made)
    assert calls == [] and done.manifest()["steps"] == 8 and part.stat().st_mtime_ns == before
    with pytest.raises(PrefineError, match="with the objective 'simpo' needs no reference"):
        compute_reference(
            [recipe(tmp_path, tiny_model_dir, pairs_file, train={"objective": {"name": "simpo"}})],
            progress=Progress.silent(),
        )


def test_two_processes_share_the_reference_pass(tmp_path, tiny_model_dir, pairs_file):
    import subprocess
    import sys

    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe(tmp_path, tiny_model_dir, pairs_file).model_dump(exclude_none=True)))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "prefine", "reference", str(path)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    assert subprocess.run(launcher, env=env, capture_output=True, timeout=300).returncode == 0
    import pyarrow.parquet as pq

    parts = sorted((tmp_path / "runs" / "run" / "reference").glob("*/part-*.parquet"))
    assert [p.name for p in parts] == ["part-00000-0.parquet", "part-00000-1.parquet"]
    keys = [set(pq.read_table(p)["key"].to_pylist()) for p in parts]
    assert all(keys) and not keys[0] & keys[1]
    done = train(recipe(tmp_path, tiny_model_dir, pairs_file))
    assert next(m for m in metrics(done) if "loss" in m)["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert len(list(parts[0].parent.iterdir())) == 2


@pytest.mark.parametrize("model", [{}, {"lora_r": 4}])
def test_bfloat16_starts_at_the_reference_and_keeps_full_weights(tmp_path, tiny_model_dir, pairs_file, model):
    done = train(recipe(tmp_path, tiny_model_dir, pairs_file, model=model, train={"bf16": True}))
    logged = [m for m in metrics(done) if "loss" in m]
    assert logged[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert logged[-1]["rewards/accuracies"] == 1.0
    from safetensors.torch import load_file

    (file,) = (done.path / "model").glob("*.safetensors")
    tensors = load_file(file)
    assert all(t.dtype == torch.float32 for t in tensors.values())
    assert any(not torch.equal(t, t.bfloat16().float()) for t in tensors.values())


def test_a_finished_training_is_not_run_again_and_other_settings_get_their_own_folder(
    tmp_path, tiny_model_dir, pairs_file
):
    first = train(recipe(tmp_path, tiny_model_dir, pairs_file))
    written = (first.path / "manifest.json").stat().st_mtime_ns
    again = train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"logging_steps": 3, "save_steps": 5}))
    assert again.path == first.path and (first.path / "manifest.json").stat().st_mtime_ns == written
    other = train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"learning_rate": 2e-2}))
    assert other.path != first.path


def test_examples_that_do_not_fit_the_objective_are_counted(tmp_path, tiny_model_dir):
    from prefine.schema import Example

    def example(i, k, scores=()):
        answers = [[{"role": "assistant", "content": f"answer {i} {j}"}] for j in range(k)]
        return Example(f"e{i}", "g", [{"role": "user", "content": "q"}], answers, scores=list(scores))

    made = recipe(tmp_path, tiny_model_dir, tiny_model_dir)
    tokenizer = load_tokenizer(made.model)
    examples = [example(0, 2), example(1, 3), example(2, 3, [3, 2, 1]), example(3, 1), example(4, 13, range(13))]
    for name, kept, dropped in [
        ("dpo", ["e0"], {"needs_2_responses": 4}),
        ("sft", ["e3"], {"needs_1_responses": 4}),
        ("pad", ["e2"], {"needs_scores": 2, "needs_several_responses": 1, "more_than_12_responses": 1}),
    ]:
        counts = Counts()
        items = encode_examples(examples, "train", tokenizer, made, objectives.build({"name": name}), counts)
        assert [item.id for item in items] == kept and counts.dropped == dropped
        counts.as_dict()
