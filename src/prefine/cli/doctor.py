"""`prefine doctor`: what this machine has, and what it lacks."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

LITTLE_DISK_GB = 5
LITTLE_MEMORY_GB = 2
_EXTRA = re.compile(r"""^([A-Za-z0-9._-]+).*;.*\bextra\s*==\s*['"]([^'"]+)['"]""")
_GB = 1 << 30


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Show versions, devices, free memory and disk, threads, and extras that are missing."""
    found = examine()
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))


def examine() -> dict[str, Any]:
    """Everything the command shows; sizes in GiB."""
    from prefine.rundir import versions

    memory_free, memory_total = _memory()
    disk = shutil.disk_usage(Path.cwd())
    found: dict[str, Any] = {
        "versions": versions(),
        "devices": _devices(),
        "memory_gb": {"free": memory_free, "total": memory_total},
        "disk_gb": {"free": round(disk.free / _GB, 1), "total": round(disk.total / _GB, 1), "of": str(Path.cwd())},
        "threads": _threads(),
        "extras": _extras(),
    }
    found["problems"] = _problems(found)
    return found


def _devices() -> list[dict[str, Any]]:
    import torch

    from prefine.models.bfloat16 import cpu_bf16

    out: list[dict[str, Any]] = []
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        name = torch.cuda.get_device_name(i)
        out.append(
            {
                "device": f"cuda:{i}",
                "name": name,
                "free_gb": round(free / _GB, 1),
                "total_gb": round(total / _GB, 1),
                "bf16": torch.cuda.is_bf16_supported(),
            }
        )
    cpu = {"device": "cpu", "name": _cpu_name(), "bf16": cpu_bf16()}
    return [*out, cpu]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    import platform

    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.machine())


def _memory() -> tuple[float | None, float | None]:
    """Free and total memory, within the limit of the container if there is one."""
    try:
        fields = dict(x.split(":", 1) for x in Path("/proc/meminfo").read_text().splitlines())
        free, total = (int(fields[k].split()[0]) * 1024 for k in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError, ValueError):
        return None, None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free, total = min(free, limit - used), min(total, limit)
    except (OSError, ValueError):
        pass
    return round(free / _GB, 1), round(total / _GB, 1)


def _threads() -> dict[str, Any]:
    import torch

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": allowed, "torch": torch.get_num_threads(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}


def _extras() -> dict[str, dict[str, str | None]]:
    """Each extra with its packages and their installed versions, None where one is missing."""
    from importlib import metadata

    out: dict[str, dict[str, str | None]] = {}
    for requirement in metadata.requires("prefine") or []:
        match = _EXTRA.match(requirement)
        if match:
            out.setdefault(match[2], {})[match[1]] = _installed(match[1])
    return out


def _installed(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _problems(found: dict[str, Any]) -> list[str]:
    out = []
    if found["disk_gb"]["free"] < LITTLE_DISK_GB:
        out.append(f"only {found['disk_gb']['free']} GB are free on this disk; checkpoints need room")
    if found["memory_gb"]["free"] is not None and found["memory_gb"]["free"] < LITTLE_MEMORY_GB:
        out.append(f"only {found['memory_gb']['free']} GB of memory are free")
    if not os.access(".", os.W_OK):
        out.append("the current folder cannot be written to; runs go to ./runs unless output_dir says otherwise")
    return out


def _lines(found: dict[str, Any]) -> list[str]:
    def size(part: dict[str, Any]) -> str:
        return "unknown" if part["free"] is None else f"{part['free']} GB free of {part['total']} GB"

    out = ["versions"]
    out += [f"  {name:<14}{version}" for name, version in found["versions"].items() if version]
    out.append("devices")
    for d in found["devices"]:
        memory = f", {d['free_gb']} GB free of {d['total_gb']} GB" if "free_gb" in d else ""
        emulated = ", bfloat16 only emulated and slow" if d["device"] == "cpu" and d["bf16"] is False else ""
        out.append(f"  {d['device']:<14}{d['name']}{memory}{', fast bfloat16' if d['bf16'] else emulated}")
    threads = found["threads"]
    out.append(f"memory          {size(found['memory_gb'])}")
    out.append(f"disk            {size(found['disk_gb'])} ({found['disk_gb']['of']})")
    setting = f" (OMP_NUM_THREADS={threads['OMP_NUM_THREADS']})" if threads["OMP_NUM_THREADS"] else ""
    out.append(f"threads         {threads['torch']} on {threads['cores']} cores{setting}")
    out.append("extras")
    for extra, packages in found["extras"].items():
        missing = [p for p, version in packages.items() if version is None]
        state = f"missing {', '.join(missing)}: pip install 'prefine[{extra}]'" if missing else "installed"
        out.append(f"  {extra:<14}{state}")
    out += [f"problem: {p}" for p in found["problems"]] or ["no problems found"]
    return out
