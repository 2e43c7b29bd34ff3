"""Whether bfloat16 pays here: a CPU without instructions for it emulates every product."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefine.recipe import Recipe

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "avx_ne_convert", "avx10_1", "avx10_2")
"""Of x86, as torch.cpu.get_capabilities() names them."""
X86 = ("x86_64", "amd64")


def slow_bf16(recipe: Recipe) -> str | None:
    """What to tell about a training in bfloat16 on this process's device; None where it is not asked for, fast, or not
    known to be slow.

    On an AVX2 CPU a product of two 1024 x 1024 matrices took 86 times as long as in float32, of 256 x 256 ones 38
    times (torch 2.13, one thread).
    """
    remedies = ["train.bf16: false"] if recipe.train is not None and recipe.train.bf16 else []
    remedies += ["model.dtype: float32"] if recipe.model.dtype == "bfloat16" else []
    if not remedies:
        return None
    from prefine.models.load import device

    if device().type != "cpu" or cpu_bf16() is not False:
        return None
    how = "slower" if _says("_is_avx512_supported") else "many times slower"
    return (
        f"bf16: this CPU has no bfloat16 instructions, so products are emulated and {how} than in float32; set "
        f"{' and '.join(remedies)}"
    )


def cpu_bf16() -> bool | None:
    """Whether the CPU has bfloat16 instructions; None where torch cannot tell, as of other CPUs than x86."""
    import torch

    if platform.machine().lower() not in X86:
        return None
    # New in torch 2.11.
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        found: Mapping[str, Any] = capabilities()
        known = [bool(found[name]) for name in INSTRUCTIONS if name in found]
        return any(known) if INSTRUCTIONS[0] in found else None
    older = [_says("_is_avx512_bf16_supported"), _says("_is_amx_tile_supported")]
    return None if None in older else any(older)


def _says(name: str) -> bool | None:
    """What a private function of torch.cpu says; None where it is gone."""
    import torch

    function = getattr(torch.cpu, name, None)
    return None if function is None else bool(function())
