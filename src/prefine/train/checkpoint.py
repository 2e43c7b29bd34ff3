"""Checkpoints: safetensors and JSON, published whole or not at all, verified when read, refused by name when they
differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from prefine.durable import publishing, sha256_file, sweep, write_bytes, write_json
from prefine.errors import PrefineError

SCHEMA = 1
DAMAGED = ".damaged"


def save(
    folder: Path, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any], fingerprint: dict[str, Any]
) -> Path:
    """Write `folder/step-NNNNNN`, durably, then point LATEST at it.

    tensors: file name -> tensors by name. The manifest holds the size and sha256 of every file and is written last,
    before
    the directory takes its final name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:06d}"
    with publishing(path) as tmp:
        for name, values in tensors.items():
            save_file({k: v.detach().cpu().contiguous() for k, v in values.items()}, tmp / f"{name}.safetensors")
        write_json(tmp / "state.json", state)
        files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256_file(p)} for p in sorted(tmp.iterdir())}
        write_json(tmp / "MANIFEST.json", {"schema": SCHEMA, "step": step, "fingerprint": fingerprint, "files": files})
    write_bytes(folder / "LATEST", (path.name + "\n").encode())
    return path


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints, by the step in their names; the newest is never deleted.

    Those that were set aside as damaged do not count, and stay.
    """
    for old in sorted(_whole(folder), key=_step)[: -max(1, keep)]:
        shutil.rmtree(old)


def newest(folder: Path, report: Any = print) -> Path | None:
    """The newest checkpoint whose every file is as its manifest says; damaged ones are set aside and named."""
    if not folder.is_dir():
        return None
    sweep(folder)
    for path in sorted(_whole(folder), key=_step, reverse=True):
        fault = damage(path)
        if fault is None:
            return path
        report(f"checkpoint {path.name} is damaged ({fault}); set aside as {path.name}{DAMAGED}, trying the one before")
        aside = path.with_name(path.name + DAMAGED)
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    return None


def _whole(folder: Path) -> list[Path]:
    """Checkpoints that are published and not set aside."""
    return [p for p in folder.glob("step-[0-9]*") if ".tmp-" not in p.name and not p.name.endswith(DAMAGED)]


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_text())
    except (OSError, json.JSONDecodeError):
        return "MANIFEST.json is missing or unreadable"
    for name, facts in manifest["files"].items():
        file = path / name
        if not file.exists():
            return f"{name} is missing"
        if file.stat().st_size != facts["bytes"] or sha256_file(file) != facts["sha256"]:
            return f"{name} is not as it was written"
    return None


def load(path: Path, fingerprint: dict[str, Any]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Tensors by file and the state. Other settings or data than those of `fingerprint` are refused, each by name."""
    manifest = json.loads((path / "MANIFEST.json").read_text())
    if manifest["schema"] != SCHEMA:
        raise PrefineError(f"{path} has checkpoint schema {manifest['schema']}; this version reads {SCHEMA}")
    changed = differences(manifest["fingerprint"], fingerprint)
    if changed:
        raise PrefineError(
            f"{path} was made with other settings, so resuming would not be the same run: {'; '.join(changed)}. "
            "Restore them, or start anew with --resume never"
        )
    tensors = {p.stem: load_file(p) for p in sorted(path.glob("*.safetensors"))}
    return tensors, json.loads((path / "state.json").read_text())


def latest_fingerprint(folder: Path) -> dict[str, Any]:
    """The fingerprint of the checkpoint that LATEST names."""
    name = (folder / "LATEST").read_text().strip()
    return json.loads((folder / name / "MANIFEST.json").read_text())["fingerprint"]


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """`name: old -> new` for every value that differs, nested names joined by dots."""
    out = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        name = f"{prefix}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            out += differences(a, b, f"{name}.")
        elif a != b:
            out.append(f"{name}: {_short(a)} -> {_short(b)}")
    return out


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:12] + "..."


def _step(path: Path) -> int:
    return int(path.name.split("-")[1].split(".")[0])
