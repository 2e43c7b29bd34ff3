"""Memory of this process: what it holds, held at most, and could still have; and errors that say that it ran out."""

from __future__ import annotations

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
SHORT = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What errors of memory say that have no type of their own."""


def held_mb(device: torch.device) -> float:
    """Memory in MB that is held now: allocated on the GPU, or resident of this process."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    return _status("VmRSS") or peak_memory_mb()


def reset_peak_memory() -> None:
    """Start measuring anew, so that a run's peak is not that of the run before it. Needs Linux or a GPU."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Most memory held since the reset: on the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    if (found := _status("VmHWM")) is not None:
        return found
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _status(field: str) -> float | None:
    """A size in MB that Linux tells of this process."""
    with suppress(OSError):
        if found := re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text()):
            return int(found[1]) / 2**10
    return None


def free_bytes(device: torch.device) -> int | None:
    """Memory that this process could still have: on its GPU, or its share of this machine's (or its container's)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found: list[int] = []
    with suppress(OSError):
        match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        found += [int(match[1]) << 10] if match else []
    with suppress(OSError, ValueError):
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        found += [int(limit) - used] if limit != "max" else []
    return min(found) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if found else None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORT)
