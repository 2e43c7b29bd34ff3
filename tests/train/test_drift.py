"""Samples while training, and the KL of the policy from its start by them."""

import gc
import json
import math
import weakref

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from prefine.data.chat import Encoded
from prefine.durable import sha256_file
from prefine.errors import PrefineError
from prefine.models.decoding import Decoding
from prefine.models.layouts import plain_logps
from prefine.models.load import _without_notice, load_model, load_tokenizer
from prefine.models.policy import Policy
from prefine.models.sampling import sample_ids
from prefine.pipeline import run_recipe
from prefine.progress import Progress
from prefine.recipe import Evaluate
from prefine.registry import objectives
from prefine.rundir import Counts
from prefine.train import drift
from prefine.train.batches import Item
from prefine.train.stage import encode_examples, settings_that_count
from tests.train.job import Numbers, make_policy, make_trainer
from tests.train.test_stage import metrics, pairs_file, recipe, train

__all__ = ["pairs_file"]


def items(prompts):
    return [Item(f"row-{i}", Encoded(list(p), [[3]], [[True]], {})) for i, p in enumerate(prompts)]


def samples(folder, given, *, count=100, new=2, seed=0, say=print):
    return drift.Samples(folder / drift.SAMPLES, given, Numbers(), count=count, max_new_tokens=new, seed=seed, say=say)


def small(seed):
    """Four tokens, the third of which ends a response."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Policy(LlamaForCausalLM(LlamaConfig(vocab_size=4, initializer_range=0.5, eos_token_id=2, **sizes)).eval())


@torch.no_grad()
def exact_kl(policy, start, prompts):
    """KL of each prompt over all responses of at most two tokens, where nothing follows the stop token 2.

    By the chain rule: KL of the first token, and that of the second one wherever the first is not 2.
    """

    def next_token(model, rows):
        logits = model.model(input_ids=torch.tensor(rows)).logits[:, -1]
        return torch.log_softmax(logits.double(), -1)

    def kl(p, q):
        return (p.exp() * (p - q)).sum(-1)

    p, q = (next_token(model, prompts) for model in (policy, start))
    out = kl(p, q)
    for token in (0, 1, 3):
        longer = [[*prompt, token] for prompt in prompts]
        out = out + p[:, token].exp() * kl(next_token(policy, longer), next_token(start, longer))
    return out


def test_kl_is_that_of_all_responses_by_enumeration(tmp_path):
    policy, start = small(1), small(2)
    prompts = [[a, b, c, d, 3] for a in range(4) for b in range(4) for c in range(4) for d in range(4)]
    want = float(exact_kl(policy, start, prompts).mean())
    given = items(prompts)
    made = samples(tmp_path, given, count=1000)
    made.take(policy, 5)
    (found,) = drift.curve(drift.read(made.path), start, {i.id: i.encoded.prompt_ids for i in given})
    assert found["n"] == 256 and found["step"] == 5 and want > 0.1
    assert found["low"] < want < found["high"] and found["high"] - found["low"] < want
    # Of its own start, the same policy has the KL 0, and exactly so.
    (none,) = drift.curve(drift.read(made.path), policy, {i.id: i.encoded.prompt_ids for i in given})
    assert (none["value"], none["low"], none["high"]) == (0, 0, 0)


def test_a_point_by_hand():
    rows = [{"logp": x, "token_ids": [3] * n, "finished": f} for x, n, f in [(-4.0, 2, True), (-3.0, 4, False)]]
    found = drift.point(7, rows, [-5.0, -6.0])
    # Differences 1 and 3: mean 2, sd sqrt(2), t(.975, 1) = 12.7062, so 2 -+ 12.7062
    assert (found["step"], found["value"], found["n"]) == (7, 2.0, 2)
    assert (found["low"], found["high"]) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)
    assert (found["per_token"], found["tokens"], found["finished"]) == (4 / 6, 3.0, 0.5)
    alone = drift.point(7, rows[:1], [-4.5])
    assert (alone["value"], alone["low"], alone["high"], alone["n"]) == (0.5, None, None, 1)


def test_the_prompts_are_different_ones_and_the_same_for_every_objective(tmp_path):
    prompts = [[3, 1], [3, 2], [3, 1], [3, 3], [], [3, 2], [3, 0]]
    one, other = samples(tmp_path, items(prompts), count=3), samples(tmp_path, items(prompts[::-1]), count=3)
    found = [[i.encoded.prompt_ids for i in s.chosen.values()] for s in (one, other)]
    assert found[0] == found[1] and len({tuple(p) for p in found[0]}) == 3
    assert len(samples(tmp_path, items(prompts)).chosen) == 4
    assert [i.id for i in samples(tmp_path, items(prompts)).chosen.values()].count("row-2") == 0


def test_what_is_sampled_depends_on_seed_step_and_prompt_alone(tmp_path):
    policy, given = small(1), items([[3, a, b] for a in range(4) for b in range(4)])

    def drawn(name, given, step, seed=0, before=0):
        made = samples(tmp_path / name, given, new=6, seed=seed)
        made.path.parent.mkdir()
        torch.manual_seed(before)
        made.take(policy, step)
        assert torch.initial_seed() == before
        return {row["prompt"]: (row["token_ids"], row["logp"]) for row in drift.read(made.path)}

    base = drawn("a", given, 5)
    assert drawn("b", given[::-1], 5, before=9) == base
    few = drawn("c", given[:3], 5)
    assert {k: ids for k, (ids, _) in few.items()} == {k: base[k][0] for k in few}
    assert drawn("d", given, 6) != base and drawn("e", given, 5, seed=1) != base


def test_rows_hold_the_response_and_whether_it_ended(tmp_path):
    made = samples(tmp_path, items([[3, a, b] for a in range(4) for b in range(4)]))
    policy = small(1)
    made.take(policy, 4)
    rows = drift.read(made.path)
    assert len(rows) == 16 and {row["finished"] for row in rows} == {True, False}
    for row in rows:
        assert row["finished"] == (row["token_ids"][-1] == 2) and 1 <= len(row["token_ids"]) <= 2
        text = row["token_ids"][:-1] if row["finished"] else row["token_ids"]
        assert row["response"] == " ".join(map(str, text)) and row["prompt"].startswith("3 ")
        prompt = [int(t) for t in row["prompt"].split()]
        item = Encoded(prompt, [row["token_ids"]], [[True] * len(row["token_ids"])], {})
        assert row["logp"] == pytest.approx(float(plain_logps(policy, [item])[0].detach()), abs=1e-5)


def test_rewinding_keeps_the_checkpoint_s_own_samples_and_redraws_those_of_the_start(tmp_path):
    made, policy = samples(tmp_path, items([[3, 1], [3, 0]])), small(1)
    for step in (0, 4, 8):
        made.take(policy, step)
    whole = made.path.read_bytes()
    made.rewind(4)
    assert [row["step"] for row in drift.read(made.path)] == [0, 0, 4, 4]
    made.take(policy, 8)
    assert made.path.read_bytes() == whole
    made.rewind(0)
    assert made.path.read_bytes() == b""


def test_without_samples_nothing_is_written(tmp_path):
    for made in (samples(tmp_path, items([[3, 1]]), count=0), samples(tmp_path, [])):
        made.rewind(0)
        made.take(small(1), 0)
    drift.measure(tmp_path, lambda: pytest.fail("no start is needed"), [], pytest.fail)
    assert list(tmp_path.iterdir()) == []


def test_a_curve_of_an_earlier_attempt_does_not_stay(tmp_path):
    (tmp_path / drift.CURVE).write_text("{}\n")
    drift.measure(tmp_path, lambda: pytest.fail("no start is needed"), [], pytest.fail)
    assert not (tmp_path / drift.CURVE).exists()


def test_memory_that_is_short_stops_no_training(tmp_path, monkeypatch):
    def short(*_, **__):
        raise torch.OutOfMemoryError("made up")

    settings = {"num_train_epochs": 1.0, "eval_samples": 2}
    trainer = make_trainer(tmp_path / "a", {"name": "sft"}, dict(settings))
    said = []
    trainer.samples.say = said.append
    with monkeypatch.context() as patched:
        patched.setattr(drift, "sample_ids", short)
        trainer.run()
    assert trainer.step == 3 and not trainer.samples.path.exists()
    assert [line.split(":")[0] for line in said] == ["step 0", "step 1", "step 2", "step 3"]
    assert "memory" in said[0]
    made = samples(tmp_path, items([[3, 1]]), say=said.append)
    made.take(small(1), 3)
    drift.measure(tmp_path, short, items([[3, 1]]), said.append)
    assert "memory" in said[-1] and not (tmp_path / drift.CURVE).exists()

    def gone():
        raise PrefineError("there is no folder")

    drift.measure(tmp_path, gone, items([[3, 1]]), said.append)
    assert said[-1] == "KL from the start is not known: there is no folder"

    def wrong():
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        drift.measure(tmp_path, wrong, items([[3, 1]]), said.append)


def test_a_model_that_cannot_be_sampled_from_is_trained_nevertheless(tmp_path, monkeypatch):
    def no_cache(*_, **__):
        raise PrefineError("no cache, which sampling needs")

    monkeypatch.setattr(drift, "sample_ids", no_cache)
    said = []
    made = samples(tmp_path, items([[3, 1]]), say=said.append)
    made.take(small(1), 4)
    full = samples(tmp_path, items([[3] * 2048]), say=said.append)
    monkeypatch.undo()
    full.take(small(1), 4)
    assert said == [
        "step 4: nothing was sampled for the curve of KL: no cache, which sampling needs",
        "step 4: nothing was sampled for the curve of KL: no prompt leaves room for a response",
    ]
    assert not made.path.exists()


def test_the_longest_sample(tmp_path, tiny_model_dir):
    made = recipe(tmp_path, tiny_model_dir, tmp_path)
    given = items([[3]])
    given[0].encoded.responses = [[3] * 5, [3] * 20]
    assert drift.max_new_tokens(made, given) == 40
    given[0].encoded.responses = [[3] * 500]
    assert drift.max_new_tokens(made, given) == 256
    evaluated = made.model_copy(update={"evaluate": Evaluate(max_new_tokens=33)})
    assert drift.max_new_tokens(evaluated, given) == 33


def test_the_start_is_loaded_only_when_the_policy_is_gone(tmp_path, tiny_model_dir):
    made = recipe(tmp_path, tiny_model_dir, tmp_path)
    policy = Policy(load_model(made.model))
    policy.prunes = False
    with torch.no_grad():
        for p in policy.parameters():
            p.zero_()
    load, alive = drift.start_of(policy, made), weakref.ref(policy)
    del policy
    gc.collect()
    assert alive() is None
    start = load()
    assert not start.prunes and not start.training
    assert not any(p.requires_grad for p in start.parameters())
    assert any(bool(p.any()) for p in start.parameters())
    adapted = make_policy(lora=True)
    assert drift.start_of(adapted, made)() is adapted


def saved(path, spec):
    """The trained model, with its adapter as it is."""
    if spec.lora_r is None:
        return load_model(spec.model_copy(update={"path": str(path)}))
    from peft import PeftModel

    below = load_model(spec)
    with _without_notice():
        return PeftModel.from_pretrained(below, path).eval()


def curve_of(done):
    return drift.read(done.path / drift.CURVE)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ({}, {}),
        ({"lora_r": 4}, {}),
        ({}, {"bf16": True}),
        ({"lora_r": 4}, {"bf16": True}),
        ({"lora_r": 4, "quantization": "nf4"}, {}),
        ({"lora_r": 4, "lora_use_dora": True}, {"layout": "separate"}),
        ({}, {"gradient_checkpointing": True}),
    ],
    ids=str,
)
def test_the_curve_of_a_training_is_that_of_its_models(tmp_path, tiny_model_dir, pairs_file, model, settings):
    """It begins at 0; its end is what the saved model and the start say of the last samples."""
    if "quantization" in model:
        pytest.importorskip("bitsandbytes")
    made = recipe(tmp_path, tiny_model_dir, pairs_file, model=model, train={**settings, "eval_samples": 3})
    said, progress = [], Progress.silent()
    progress.line = said.append
    done = run_recipe(made, progress=progress).results("train")[-1]
    points, rows = curve_of(done), drift.read(done.path / drift.SAMPLES)
    assert [p["step"] for p in points] == [0, 2, 4, 6, 8] and {p["n"] for p in points} == {3}
    assert abs(points[0]["value"]) < 1e-4 and points[-1]["value"] > 0.2
    last = points[-1]
    assert f"KL from the start: {last['value']:.3g} nats a response [{last['low']:.3g}, {last['high']:.3g}]" in said
    assert {"samples.jsonl", "kl.jsonl"} <= done.manifest()["files"].keys()
    tokenizer = load_tokenizer(made.model)
    examples = list(run_recipe(made, progress=Progress.silent()).results("pair")[-1].examples())
    held_out = encode_examples(examples, "test", tokenizer, made, objectives.build({"name": "dpo"}), Counts())
    prompts = {item.id: item.encoded.prompt_ids for item in held_out}
    end = [row for row in rows if row["step"] == 8]
    texts = [Encoded(prompts[r["id"]], [r["token_ids"]], [[True] * len(r["token_ids"])], {}) for r in end]
    start = Policy(load_model(made.model))
    trained = Policy(saved(done.path / "model", made.model))
    gaps = [float((plain_logps(trained, [t]) - plain_logps(start, [t])).detach()) for t in texts]
    near = {"rel": 0.05, "abs": 0.1} if "bf16" in settings else {"rel": 1e-3}
    assert sum(gaps) / 3 == pytest.approx(last["value"], **near)
    if not settings and not model:
        keys = [f"drift/8/{drift.digest(prompts[row['id']])}" for row in end]
        drawing = Decoding(1.0, max_new_tokens=drift.max_new_tokens(made, held_out), seed=0)
        again = sample_ids(trained.model, tokenizer, [prompts[row["id"]] for row in end], keys, drawing)
        assert [r[0].token_ids for r in again] == [row["token_ids"] for row in end]


@pytest.mark.parametrize("model", [{}, {"lora_r": 4, "lora_dropout": 0.3}])
def test_samples_change_no_byte_of_the_model(tmp_path, tiny_model_dir, pairs_file, model):
    bytes_of, logs = set(), []
    for count in (0, 16):
        settings = {"eval_samples": count, "logging_steps": 1}
        made = recipe(tmp_path, tiny_model_dir, pairs_file, model=model, name=f"run{count}", train=settings)
        done = train(made)
        (weights,) = (done.path / "model").glob("*.safetensors")
        bytes_of.add(sha256_file(weights))
        logs.append([{k: v for k, v in row.items() if k != "seconds"} for row in metrics(done)])
        left = {p.name for p in done.path.glob("*.jsonl")}
        assert left == {"metrics.jsonl", *(["samples.jsonl", "kl.jsonl"] if count else [])}
        assert "eval_samples" not in settings_that_count(made)
    assert len(bytes_of) == 1 and logs[0] == logs[1]


@pytest.mark.parametrize("model", [{}, {"lora_r": 4}])
def test_stopped_anywhere_it_ends_with_the_same_samples_and_curve(tmp_path, tiny_model_dir, pairs_file, model):
    """Also between the end of training and the score of the samples."""
    settings = {"eval_samples": 4, "save_steps": 3}

    def made(name):
        return recipe(tmp_path, tiny_model_dir, pairs_file, model=model, name=name, train=settings)

    whole = train(made("whole"))
    real = drift.measure

    def killed(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(drift, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            train(made("broken"))
    (folder,) = (tmp_path / "runs" / "broken" / "train").iterdir()
    assert (folder / "model").is_dir() and not (folder / "kl.jsonl").exists()
    assert drift.measure is real
    done = train(made("broken"))
    for name in ("samples.jsonl", "kl.jsonl"):
        assert (done.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert all(math.isfinite(p["value"]) for p in curve_of(done))


def test_the_trainer_s_policy_is_gone_before_the_start_is_loaded(tmp_path, tiny_model_dir, pairs_file, monkeypatch):
    seen, real_start, real_load = [], drift.start_of, drift.load_model

    def start_of(policy, made):
        seen.append(weakref.ref(policy))
        return real_start(policy, made)

    def load(spec):
        seen.append(seen[0]() is None)
        return real_load(spec)

    monkeypatch.setattr(drift, "start_of", start_of)
    monkeypatch.setattr(drift, "load_model", load)
    train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"eval_samples": 2}))
    assert seen[1:] == [True]


def test_a_torn_last_line_is_no_sample(tmp_path):
    made = samples(tmp_path, items([[3, 1]]))
    made.take(small(1), 2)
    with made.path.open("a") as f:
        f.write(json.dumps({"step": 4})[:5])
    made.rewind(2)
    assert [row["step"] for row in drift.read(made.path)] == [2]
