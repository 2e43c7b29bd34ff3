"""Where models come from, and what identifies their weights."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from prefine.errors import PrefineError
from prefine.models import load
from prefine.models.layouts import choose_layout
from prefine.models.load import add_lora, device, load_model, load_tokenizer, model_digest, resolve, set_threads
from prefine.models.policy import Policy
from prefine.models.trees import pack
from prefine.recipe import Model
from tests.models.test_trees import gradients, items, tiny


def test_embedded_models_load_by_name():
    spec = Model(path="tiny-student")
    tokenizer, model = load_tokenizer(spec), load_model(spec)
    assert model.config.vocab_size == len(tokenizer) and not model.training
    assert next(model.parameters()).dtype == torch.float32
    assert next(load_model(Model(path="tiny-student", dtype="bfloat16")).parameters()).dtype == torch.bfloat16


def test_a_missing_folder_names_the_nearest(tmp_path):
    (tmp_path / "smollm").mkdir()
    with pytest.raises(PrefineError, match=r"no folder .*smolm; did you mean 'smollm'\?"):
        resolve(str(tmp_path / "smolm"))


def test_a_folder_without_a_model_is_a_readable_error(tmp_path):
    with pytest.raises(PrefineError, match="no model could be loaded from"):
        load_model(Model(path=str(tmp_path)))
    with pytest.raises(PrefineError, match=r"no config\.json, weights or adapter"):
        model_digest(Model(path=str(tmp_path)))


def test_a_run_that_has_not_finished_training_is_no_model(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(PrefineError, match="has not finished"):
        resolve(str(tmp_path))


def test_the_digest_sees_one_changed_weight(tmp_path, tiny_model_dir):
    before = model_digest(Model(path=str(tiny_model_dir)))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tiny_model_dir.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert model_digest(Model(path=str(copy))) == before
    weights = load_file(copy / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert model_digest(Model(path=str(copy))) != before
    assert model_digest(Model(path=str(tiny_model_dir), dtype="bfloat16")) != before


def test_an_adapter_trains_few_weights_and_starts_at_zero(tiny_model_dir):
    plain = Policy(load_model(Model(path=str(tiny_model_dir))))
    lora = Policy(load_model(Model(path=str(tiny_model_dir), lora_r=4), train=True))
    trainable = [n for n, p in lora.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in n for n in trainable)
    packed = pack(items(seed=1)).to(device())
    assert torch.allclose(lora.logps(packed), plain.logps(packed), atol=1e-5)


def test_bfloat16_compute_is_near_float32():
    model = tiny("llama")
    packed = pack(items())
    exact, rounded = Policy(model).logps(packed), Policy(model, bf16=True).logps(packed)
    assert rounded.dtype == torch.float32
    assert (exact - rounded).abs().max() < 0.03 * exact.abs().max()
    assert not torch.equal(exact, rounded)
    rounded.sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.fixture
def sixteen_cores(monkeypatch, tmp_path):
    """A machine of 16 cores, without a container's limit; torch's threads are as before at the end."""
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(load, "CPU_LIMIT", tmp_path / "cpu.max")
    yield tmp_path / "cpu.max"
    torch.set_num_threads(before)


def test_threads_are_half_of_the_cores_that_are_ours(sixteen_cores, monkeypatch):
    assert set_threads(None) == torch.get_num_threads() == 8
    sixteen_cores.write_text("max 100000\n")
    assert set_threads(None) == 8
    sixteen_cores.write_text("600000 100000\n")
    assert set_threads(None) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert set_threads(None) == 1
    sixteen_cores.unlink()
    assert set_threads(None) == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 7}, raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert set_threads(None) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert set_threads(None) == 3


def test_the_user_decides_on_threads(sixteen_cores, monkeypatch):
    assert set_threads(2) == torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert set_threads(None) == 2
    assert set_threads(3) == 3


def test_an_adapter_of_dora_has_the_numbers_of_plain_forwards():
    """With a length that is no longer that of the start, and with the last layer for the rows alone that are read."""
    policy = Policy(add_lora(tiny("llama"), Model(path="x", lora_r=4, lora_use_dora=True)))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name or "magnitude" in name:
                weight.add_(0.3 * torch.randn_like(weight))
    coefficients = torch.linspace(-1, 1, 11)
    want, want_grads = gradients(policy, items(), coefficients, plain=True)
    got, got_grads = gradients(policy, pack(items(), mode="cascade"), coefficients)
    assert any("magnitude" in name for name in want_grads) and not any(
        "base" in n for n in want_grads if "layer.w" in n
    )
    assert torch.allclose(got, want, rtol=1e-5, atol=1e-5)
    assert got_grads.keys() == want_grads.keys()
    for name, grad in want_grads.items():
        assert (got_grads[name] - grad).norm() <= 1e-5 * grad.norm() + 1e-7, name
    assert choose_layout(policy, items(), gradients=True).mode == "cascade"


def test_an_adapter_remembers_what_is_below_it(tmp_path, tiny_model_dir):
    spec = Model(path=str(tiny_model_dir), lora_r=4)
    model = load_model(spec, train=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    below = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert below == str(tiny_model_dir)
    merged = Policy(load_model(Model(path=str(tmp_path / "adapter"))))
    packed = pack(items(seed=2)).to(device())
    assert torch.allclose(merged.logps(packed), Policy(model).logps(packed), atol=1e-4)


def test_the_digest_of_an_adapter_does_not_see_the_order_of_sets_or_where_folders_are(tmp_path, tiny_model_dir):
    model = add_lora(load_model(Model(path=str(tiny_model_dir))), Model(path=str(tiny_model_dir), lora_r=2))
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    file = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(file.read_text())
    before = model_digest(Model(path=str(tmp_path / "adapter")))

    def digest(**changes):
        file.write_text(json.dumps({**config, **changes}))
        return model_digest(Model(path=str(tmp_path / "adapter")))

    assert len(config["target_modules"]) > 1
    assert digest(target_modules=config["target_modules"][::-1]) == before
    shutil.copytree(tiny_model_dir, tmp_path / "moved")
    assert digest(base_model_name_or_path=str(tmp_path / "moved")) == before
    assert digest(lora_alpha=17) != before
    weights = load_file(tmp_path / "moved" / "model.safetensors")
    first = next(iter(weights))
    save_file({**weights, first: weights[first] + 1}, tmp_path / "moved" / "model.safetensors", {"format": "pt"})
    assert digest(base_model_name_or_path=str(tmp_path / "moved")) != before
