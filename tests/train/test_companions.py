"""Objectives that need more than stored sums: labels, responses to other prompts, tokens, a reference, a teacher."""

import gc
import json
import weakref

import pytest
import torch

from prefine.errors import PrefineError
from prefine.models.layouts import plain_logps
from prefine.models.load import load_model, load_tokenizer
from prefine.models.policy import Policy
from prefine.pipeline import run_recipe
from prefine.progress import Progress
from prefine.registry import objectives
from prefine.rundir import Counts
from prefine.train import stage
from prefine.train.stage import add_mismatched, encode_examples
from tests.train.test_stage import metrics, pairs_file, recipe, train

__all__ = ["pairs_file"]
SINGLES = {"pair": {"pairer": {"name": "responses"}}}


@pytest.fixture
def labeled_file(tmp_path):
    path = tmp_path / "labeled.jsonl"
    words = "tea sun cup hat dog box pen sky ant map key jar oak ink fig ram elm bay"
    rows = [{"prompt": f"say {w} now", "completion": f"{w}!", "label": True} for w in words.split()]
    rows += [{"prompt": f"say {w} now", "completion": f"no {w} for you", "label": False} for w in words.split()]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def first_and_last(done):
    logged = [m for m in metrics(done) if "loss" in m]
    return logged[0], logged[-1]


@pytest.mark.parametrize("name", ["kto", "bco"])
def test_labeled_rows_train_without_pairs(tmp_path, tiny_model_dir, labeled_file, name):
    done = train(recipe(tmp_path, tiny_model_dir, labeled_file, train={"objective": {"name": name, "beta": 0.5}}))
    first, last = first_and_last(done)
    assert first["loss"] == pytest.approx({"kto": 0.5, "bco": 0.6931}[name], abs=1e-3)
    assert last["rewards/chosen"] - last["rewards/rejected"] > 0.5 and last["loss"] < first["loss"]
    counts = done.manifest()["counts"]
    assert counts["rows_in"] == counts["rows_out"] == 36


@pytest.mark.parametrize("name", ["kto", "bco"])
def test_the_chosen_response_of_a_pair_is_the_desirable_one(tmp_path, tiny_model_dir, pairs_file, name):
    block = {"objective": {"name": name, "beta": 0.5}, "num_train_epochs": 1.0}
    done = train(recipe(tmp_path, tiny_model_dir, pairs_file, train=block, pair={"pairer": {"name": "given"}}))
    assert "rewards/margins" in first_and_last(done)[1]


def test_a_mismatched_response_belongs_to_another_prompt(tmp_path, tiny_model_dir, pairs_file):
    made = recipe(tmp_path, tiny_model_dir, pairs_file)
    from prefine.schema import Example

    def turn(role, text):
        return {"role": role, "content": text}

    examples = [
        Example(f"e{i}", f"g{i}", [turn("user", f"q{i // 2}")], [[turn("assistant", f"a{i}")]], labels=[1.0])
        for i in range(4)
    ]
    objective = objectives.build({"name": "kto"})
    items = encode_examples(examples, "train", load_tokenizer(made.model), made, objective, Counts())
    own = [item.encoded.responses[0] for item in items]
    add_mismatched(items)
    assert all(item.size == 1 and len(item.encoded.responses) == 2 and item.mismatched for item in items)
    assert [item.encoded.responses[1] for item in items] == [own[2], own[2], own[0], own[0]]
    alone = encode_examples(examples[:2], "train", load_tokenizer(made.model), made, objective, Counts())
    with pytest.raises(PrefineError, match="one prompt"):
        add_mismatched(alone)
    alone = encode_examples(examples[:2], "train", load_tokenizer(made.model), made, objective, Counts())
    add_mismatched(alone, items)
    assert [item.encoded.responses[1] for item in alone] == [own[2], own[2]]


@pytest.mark.parametrize("model", [{}, {"lora_r": 4}])
@pytest.mark.parametrize(
    ("block", "start"),
    [
        ({"name": "tdpo", "beta": 0.5}, 0.6931),
        ({"name": "ld_dpo", "beta": 0.5}, 0.6931),
        ({"name": "wpo", "beta": 0.5}, None),
        ({"name": "dpo", "beta": 0.5, "wpo": "greedy", "wpo_normalize": True, "ld_alpha": 0.3}, None),
        ({"name": "mallows", "beta": 0.5}, 0.6931),
        ({"name": "orpo", "nll_on_prompt": True}, None),
    ],
)
def test_objectives_on_tokens_train(tmp_path, tiny_model_dir, pairs_file, model, block, start):
    done = train(recipe(tmp_path, tiny_model_dir, pairs_file, model=model, train={"objective": block}))
    first, last = first_and_last(done)
    assert last["rewards/margins"] > first["rewards/margins"] and last["loss"] < first["loss"]
    if start is not None:
        assert first["loss"] == pytest.approx(start, abs=1e-3)
    if block["name"] == "tdpo":
        assert first["seq_kl/chosen"] == pytest.approx(0.0, abs=1e-4) and last["seq_kl/chosen"] > 1e-3


def other_teacher(tmp_path, tiny_model_dir):
    """The same architecture and tokenizer with other weights."""
    model = load_model(recipe(tmp_path, tiny_model_dir, tmp_path).model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(tmp_path / "teacher")
    load_tokenizer(recipe(tmp_path, tiny_model_dir, tmp_path).model).save_pretrained(tmp_path / "teacher")
    return str(tmp_path / "teacher")


def test_distillation_from_memory_and_from_the_store(tmp_path, tiny_model_dir, pairs_file):
    teacher = other_teacher(tmp_path, tiny_model_dir)
    losses = {}
    for source in ("online", "stored"):
        block = {"name": "kd", "teacher": teacher, "lam": 1.0, "top_k": 5, "source": source}
        done = train(
            recipe(
                tmp_path,
                tiny_model_dir,
                pairs_file,
                name=source,
                train={"objective": block, "logging_steps": 1},
                **SINGLES,
            )
        )
        losses[source] = [m["loss"] for m in metrics(done) if "loss" in m]
    assert losses["online"][-1] < 0.5 * losses["online"][0]
    assert losses["stored"] == pytest.approx(losses["online"], rel=1e-3)
    assert list((tmp_path / "runs" / "stored" / "teacher").glob("*/part-*.parquet"))


@pytest.mark.parametrize(
    ("block", "in_training"),
    [({"source": "online"}, True), ({"source": "stored", "top_k": 5}, False), ({"name": "tdpo"}, True)],
    ids=str,
)
def test_the_other_model_is_there_when_memory_is_counted(
    tmp_path, tiny_model_dir, pairs_file, monkeypatch, block, in_training
):
    """And a teacher is gone when all that is asked of it is stored."""
    block = block if "name" in block else {"name": "kd", "teacher": other_teacher(tmp_path, tiny_model_dir), **block}
    seen, find_budget, trainer = [], stage.find_budget, stage.Trainer

    def counting(policy, *given):
        seen.append([weakref.ref(other) for other in policy._other])
        return find_budget(policy, *given)

    def training(*given, **named):
        gc.collect()
        seen.append([other() is not None for other in seen[0]])
        return trainer(*given, **named)

    monkeypatch.setattr(stage, "find_budget", counting)
    monkeypatch.setattr(stage, "Trainer", training)
    singles = SINGLES if block["name"] == "kd" else {}
    train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"objective": block}, **singles))
    assert seen[1] == [in_training]


def test_a_teacher_that_does_not_fit_is_refused_before_the_reference_is_computed(
    tmp_path, tiny_model_dir, pairs_file, monkeypatch
):
    monkeypatch.setattr(stage, "add_reference", lambda *_: pytest.fail("a whole pass came first"))
    monkeypatch.setattr(objectives.entries()["kd"].load(), "needs_reference", True)
    block = {"name": "kd", "teacher": "tiny-teacher"}
    with pytest.raises(PrefineError, match="different tokenizers"):
        train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"objective": block}, **SINGLES))


def test_the_teacher_itself_is_not_changed_and_not_saved(tmp_path, tiny_model_dir, pairs_file):
    teacher = other_teacher(tmp_path, tiny_model_dir)
    before = load_model(recipe(tmp_path, teacher, pairs_file).model).state_dict()
    block = {"name": "kd", "teacher": teacher}
    done = train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"objective": block, "save_steps": 2}, **SINGLES))
    after = load_model(recipe(tmp_path, teacher, pairs_file).model).state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    size = sum(p.numel() * 4 for p in load_model(recipe(tmp_path, teacher, pairs_file).model).parameters())
    saved = max(p.stat().st_size for p in (done.path / "checkpoints").glob("*/weights.safetensors"))
    assert saved < 1.1 * size + 10_000


def test_a_teacher_with_other_tokens_is_refused(tmp_path, tiny_model_dir, pairs_file):
    block = {"name": "kd", "teacher": "tiny-teacher"}
    with pytest.raises(PrefineError, match="different tokenizers"):
        train(recipe(tmp_path, tiny_model_dir, pairs_file, train={"objective": block}, **SINGLES))


def test_on_policy_distillation_trains_on_the_students_own_text(tmp_path, tiny_model_dir, pairs_file):
    teacher = other_teacher(tmp_path, tiny_model_dir)
    block = {"name": "gkd", "teacher": teacher, "on_policy": 1.0, "max_new_tokens": 6}
    settings = {"objective": block, "num_train_epochs": 6.0, "logging_steps": 1}
    runs = [
        train(recipe(tmp_path, tiny_model_dir, pairs_file, name=name, train=settings, **SINGLES)) for name in ("a", "b")
    ]
    rows = [[m for m in metrics(done) if "loss" in m] for done in runs]
    assert max(r["lengths/chosen"] for r in rows[0]) <= 6.0
    assert [r["loss"] for r in rows[0]] == [r["loss"] for r in rows[1]]
    assert rows[0][-1]["loss"] < rows[0][0]["loss"]


def test_the_reference_of_tokens_is_the_start_model(tmp_path, tiny_model_dir, pairs_file):
    made = recipe(tmp_path, tiny_model_dir, pairs_file, train={"objective": {"name": "ld_dpo"}, "max_steps": 1})
    run = run_recipe(made, progress=Progress.silent())
    import pyarrow.parquet as pq

    (part,) = (run.path / "reference").glob("*/part-*.parquet")
    stored = sorted(sum(v) for v in pq.read_table(part)["token_logps"].to_pylist())
    tokenizer, policy = load_tokenizer(made.model), Policy(load_model(made.model))
    counts = Counts()
    examples = list(run.results("pair")[-1].examples())
    items = [
        item
        for split in ("train", "test")
        for item in encode_examples(examples, split, tokenizer, made, objectives.build({"name": "dpo"}), counts)
    ]
    want = sorted(plain_logps(policy, [item.encoded for item in items]).tolist())
    assert stored == pytest.approx(want, abs=1e-4)
