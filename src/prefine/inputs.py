"""What a stage reads besides the stage before it, as digests: files, functions, weights. They are part of its key."""

from __future__ import annotations

import importlib
import inspect
import json
import os
from pathlib import Path
from typing import Any

from prefine import registry
from prefine.durable import sha256_file
from prefine.errors import PrefineError
from prefine.recipe import Data, Model
from prefine.rundir import stage_key

ENGINES = ("engine", "user_engine")
"""Settings of components that hold a block of an engine."""
BATCHING = ("max_tokens", "batch_tokens")
"""Settings of components that change speed and memory only."""


def source_digests(data: Data) -> dict[str, str]:
    """What the source's content hashes to: files and folders by their bytes, functions by their module's source."""
    paths = [data.path] if isinstance(data.path, str) else data.path
    out = {}
    for i, name in enumerate(paths):
        path = Path(name)
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
        if (path / "_SUCCESS").is_file():
            # A stage's result: its manifest has the digests, and times that say nothing of its rows.
            out[f"source-{i}"] = stage_key("source", {}, json.loads((path / "manifest.json").read_text())["files"])
        elif files:
            out[f"source-{i}"] = stage_key("source", {}, {str(p.name): sha256_file(p) for p in files})
        elif ":" in name:
            out[f"source-{i}"] = function_digest(name)
        else:
            out[f"source-{i}"] = f"{name}@{data.revision or 'main'}"
    return out


def function_digest(path: str) -> str:
    """A digest of the source file that defines `module:function`."""
    module, _, name = path.partition(":")
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise PrefineError(f"{path}: the module cannot be imported: {error}") from error
    try:
        file = inspect.getsourcefile(getattr(loaded, name, loaded))
    except TypeError:  # a function written in C, or a callable object
        file = None
    file = file or getattr(loaded, "__file__", None)
    return sha256_file(Path(file)) if file else path


def weights(spec: Model) -> str:
    """The digest of a model's weights, remembered while this process runs."""
    from prefine.models.load import model_digest

    key = (os.getcwd(), spec.path, spec.revision, spec.dtype)
    if key not in _digests:
        _digests[key] = model_digest(spec)
    return _digests[key]


_digests: dict[tuple[Any, ...], str] = {}


def that_count(block: dict[str, Any]) -> dict[str, Any]:
    """A component's settings without those that cannot change its result, such as where an engine's server is."""

    def counts(key: str, value: Any) -> Any:
        if key in ENGINES and isinstance(value, dict):
            if isinstance(value.get("engine"), dict):
                return counts("engine", value["engine"])  # how many copies run where does not count
            kept = {"model", *registry.engines.find(value["name"]).attributes.get("counts", ())}
            return {k: v for k, v in value.items() if k in kept}
        if isinstance(value, list):
            return [counts("", v) for v in value]
        return that_count(value) if isinstance(value, dict) else value

    return {k: counts(k, v) for k, v in block.items() if k not in BATCHING}


def component_inputs(block: dict[str, Any], prefix: str) -> dict[str, str]:
    """Digests of what a component reads: the model it names, its function or own class, files such as templates."""
    out: dict[str, str] = {}
    for key, value in block.items():
        if key in ENGINES and isinstance(value, dict):
            inner = value.get("engine")
            value = inner if isinstance(inner, dict) else value
            if registry.engines.find(value["name"]).attributes.get("local_model"):
                out.update(component_inputs(value, f"{prefix}.{key}"))
        elif key == "members" and isinstance(value, list):
            for i, member in enumerate(value):
                out.update(component_inputs(member, f"{prefix}.members.{i}"))
        elif key == "judge" and isinstance(value, dict):
            out.update(component_inputs(value, f"{prefix}.{key}"))
        elif key == "against" and isinstance(value, list):
            for i, entry in enumerate(value):
                digests = source_digests(Data(path=entry["path"]))
                out.update({f"{prefix}.against.{i}.{name}": digest for name, digest in digests.items()})
        elif key in ("model", "teacher", "reference_model", "tokenizer") and value is not None:
            out[f"{prefix}.{key}"] = weights(Model(path=value) if isinstance(value, str) else Model(**value))
        elif key == "baseline" and isinstance(value, str) and Path(value).is_dir():
            out[f"{prefix}.{key}"] = weights(Model(path=value))
        elif key in ("name", "function", "valid") and isinstance(value, str) and ":" in value:
            out[f"{prefix}.{key}"] = function_digest(value)
        elif isinstance(value, str) and key != "name" and Path(value).is_file():
            out[f"{prefix}.{key}"] = sha256_file(Path(value))
        elif isinstance(value, (dict, list)):
            named = value.items() if isinstance(value, dict) else enumerate(value)
            files = {f"{prefix}.{key}.{k}": v for k, v in named if isinstance(v, str) and Path(v).is_file()}
            out.update({name: sha256_file(Path(path)) for name, path in files.items()})
    return out
