"""A line about bfloat16 where the CPU has no instructions for it, and silence where that is not known."""

import platform
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from prefine.models.bfloat16 import INSTRUCTIONS, cpu_bf16, slow_bf16
from prefine.recipe import Recipe


def asking(bf16=True, dtype="float32"):
    """A recipe of a training in bfloat16."""
    train = {"objective": {"name": "dpo"}, "bf16": bf16}
    return Recipe.model_validate(
        {"name": "r", "model": {"path": "m", "dtype": dtype}, "data": {"path": "d"}, "train": train}
    )


@pytest.fixture
def cpu(monkeypatch):
    """`cpu(avx512=..., machine=..., NAME=True, ...)` makes a CPU that torch tells of by the public function."""

    def make(avx512=False, machine="x86_64", told=INSTRUCTIONS, **instructions):
        found = {name: instructions.get(name, False) for name in told}
        one = SimpleNamespace(get_capabilities=lambda: found, _is_avx512_supported=lambda: avx512)
        monkeypatch.setattr(torch, "cpu", one)
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        return one

    return make


def test_a_cpu_without_the_instructions(cpu):
    cpu()
    assert cpu_bf16() is False
    assert slow_bf16(asking()) == (
        "bf16: this CPU has no bfloat16 instructions, so products are emulated and many times slower than in float32; "
        "set train.bf16: false"
    )
    cpu(avx512=True, machine="AMD64")
    assert "emulated and slower than in float32" in str(slow_bf16(asking()))


def test_the_setting_that_asks_for_it_is_named(cpu):
    cpu()
    assert str(slow_bf16(asking(False, "bfloat16"))).endswith("set model.dtype: float32")
    assert str(slow_bf16(asking(True, "bfloat16"))).endswith("set train.bf16: false and model.dtype: float32")
    assert slow_bf16(asking(False)) is None and slow_bf16(asking(False, "auto")) is None


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_any_of_the_instructions_is_enough(cpu, name):
    cpu(**{name: True})
    assert cpu_bf16() is True and slow_bf16(asking()) is None


def test_what_is_not_known_is_not_told(cpu, monkeypatch):
    cpu(machine="aarch64")
    assert cpu_bf16() is None and slow_bf16(asking()) is None
    cpu(told=())
    assert cpu_bf16() is None and slow_bf16(asking()) is None
    monkeypatch.setattr(torch, "cpu", SimpleNamespace())
    assert cpu_bf16() is None and slow_bf16(asking()) is None


@pytest.mark.parametrize(("avx512_bf16", "amx", "has"), [(0, 0, False), (1, 0, True), (0, 1, True), (0, None, None)])
def test_an_older_torch_is_asked_by_its_own_names(cpu, avx512_bf16, amx, has):
    one = cpu()
    del one.get_capabilities
    one._is_avx512_bf16_supported = lambda: avx512_bf16
    if amx is not None:
        one._is_amx_tile_supported = lambda: amx
    assert cpu_bf16() is has and (slow_bf16(asking()) is None) == (has is not False)


def test_an_accelerator_is_not_the_cpu(cpu, monkeypatch):
    cpu()
    monkeypatch.setattr("prefine.models.load.device", lambda: torch.device("cuda", 0))
    assert slow_bf16(asking()) is None


def test_torch_and_the_system_say_the_same():
    """The kernel names the same instructions in its own words."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), None)
    if flags is None:
        pytest.skip("no flags in /proc/cpuinfo")
    assert cpu_bf16() in (bool(flags & set(INSTRUCTIONS)), None)
