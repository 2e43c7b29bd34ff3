"""Models and tokenizers by folder, hub id, finished run or embedded name; LoRA through PEFT."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefine.durable import sha256_file
from prefine.errors import PrefineError, missing_extra, nearest
from prefine.recipe import Model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = {"tiny-student": "student_path", "tiny-teacher": "teacher_path"}
ADAPTER = "adapter_config.json"
WHOLE_FILE = 64 << 20


def resolve(path: str) -> str:
    """The folder or hub id that a recipe's `model.path` means; a run's folder means the model it trained last."""
    if path in EMBEDDED:
        from prefine import tiny_world

        return str(getattr(tiny_world, EMBEDDED[path])())
    folder = Path(path)
    if (folder / "train").is_dir():
        from prefine.rundir import RunDir

        done = RunDir(folder).results("train")
        if not done:
            raise PrefineError(f"model.path: {path} is a run whose training has not finished")
        return str(done[-1].path / "model")
    if (folder / "model" / "config.json").exists() or (folder / "model" / ADAPTER).exists():
        return str(folder / "model")
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1
    if folder.is_dir() or not looks_local:
        return str(folder) if folder.is_dir() else path
    siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
    raise PrefineError(f"model.path: there is no folder {path}{nearest(folder.name, siblings)}")


def model_spec(model: str | dict) -> Model:
    """A model named by its path, or by a block with the same keys as the recipe's `model`."""
    return Model(path=model) if isinstance(model, str) else Model(**model)


def load_tokenizer(spec: Model) -> PreTrainedTokenizerBase:
    """The tokenizer of the model, with the recipe's chat template where it names one."""
    from transformers import AutoTokenizer

    path = resolve(spec.path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=spec.revision, trust_remote_code=spec.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise PrefineError(f"model.path: no tokenizer could be loaded from {path}: {_first_line(error)}") from error
    if spec.chat_template is not None:
        from prefine.data.chat import apply_template

        apply_template(tokenizer, spec.chat_template)
    return tokenizer


def load_model(spec: Model, *, train: bool = False) -> PreTrainedModel:
    """The model in evaluation mode on `device()`; with `train`, the recipe's LoRA adapter is attached.

    A folder that holds an adapter is loaded with everything below it and merged, so that a new adapter, and the
    reference it is compared with, start from what the old one had learned.
    """
    if train and spec.quantization and spec.lora_r is None:
        raise PrefineError("model.quantization: weights in 4 bits cannot be trained; set lora_r, which adds an adapter")
    model = _load(resolve(spec.path), spec)
    for module in model.modules():
        # One forward pass in evaluation mode would repack 4-bit weights for the CPU, and training would then have wrong
        # gradients without saying so (bitsandbytes 0.50).
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if train and spec.lora_r is not None:
        model = add_lora(model, spec)
    return (model if spec.quantization else model.to(device())).eval()  # type: ignore[return-value]


def add_lora(model: PreTrainedModel, spec: Model) -> Any:
    """Wrap the model with a fresh LoRA adapter, whose output is zero before training."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=spec.lora_r or 8,
        lora_alpha=spec.lora_alpha if spec.lora_alpha is not None else 2 * (spec.lora_r or 8),  # type: ignore[arg-type]
        lora_dropout=spec.lora_dropout,
        use_dora=spec.lora_use_dora,
        target_modules=spec.lora_target_modules,
        task_type="CAUSAL_LM",
    )
    with _without_notice():
        return get_peft_model(model, config, autocast_adapter_dtype=False)


@contextlib.contextmanager
def _without_notice() -> Iterator[None]:
    """PEFT asks transformers by a name that is on its way out; there is nothing for the user to mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.*", FutureWarning)
        yield


def _load(path: str, spec: Model) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()

    if (Path(path) / ADAPTER).exists():
        from peft import PeftModel

        below = json.loads((Path(path) / ADAPTER).read_text())["base_model_name_or_path"]
        model = _load(resolve(below), spec.model_copy(update={"revision": None}))
        with _without_notice():
            return PeftModel.from_pretrained(model, path).merge_and_unload()  # type: ignore[operator]
    extra: dict[str, Any] = {"attn_implementation": spec.attn_implementation} if spec.attn_implementation else {}
    if spec.quantization:
        extra |= _four_bits()
    try:
        return AutoModelForCausalLM.from_pretrained(
            path, revision=spec.revision, dtype=spec.dtype, trust_remote_code=spec.trust_remote_code, **extra
        )
    except (OSError, ValueError) as error:
        raise PrefineError(f"model.path: no model could be loaded from {path}: {_first_line(error)}") from error


def _four_bits() -> dict[str, Any]:
    """Settings that load a model's linear layers in NF4 with double quantization."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise missing_extra("bitsandbytes", "qlora")
    import torch
    from transformers import BitsAndBytesConfig

    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return {"quantization_config": quantized, "device_map": {"": str(device())}}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def device() -> torch.device:
    """The accelerator of this process, or the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def set_threads(threads: int | None) -> int:
    """Set torch's CPU threads and return their number.

    What the recipe says counts, then OMP_NUM_THREADS. Else this process takes half of its share of the cores, the other
    half being second threads of the same ones, or other programs: threads of one operation wait for the slowest of
    them, and on a busy machine of two cores two can be ten times as slow as one.
    """
    import torch

    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, own_cores() // 2)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def own_cores() -> int:
    """Cores that this process may use: those it is bound to, within its container's limit, shared with the processes
    of the same training."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_LIMIT.read_text().split()
        bound = min(bound, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        # No limit, or another kind of machine.
        pass
    return max(1, bound // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of all cores together in a period of so many; `max` without a limit."""


def model_digest(spec: Model) -> str:
    """A digest of the weights and of what changes their output, for stage keys. Large files are sampled."""
    path = resolve(spec.path)
    facts = {"dtype": spec.dtype, "revision": spec.revision or "", "weights": _weights_digest(path)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _weights_digest(path: str) -> str:
    folder = Path(path)
    if not folder.is_dir():
        return _hub_commit(path)
    h = hashlib.sha256()
    names = ("*.safetensors", "*.bin", "config.json", ADAPTER, "tokenizer.json", "chat_template.jinja")
    files = sorted({p for pattern in names for p in folder.glob(pattern)})
    if not files:
        raise PrefineError(f"model.path: {path} has no config.json, weights or adapter")
    for file in files:
        h.update(file.name.encode())
        h.update((_adapter_digest(file) if file.name == ADAPTER else _file_digest(file)).encode())
    return h.hexdigest()


def _adapter_digest(file: Path) -> str:
    """Of an adapter's settings and the weights below it: PEFT writes its sets in any order, and folders move."""
    config = json.loads(file.read_text())
    below = _weights_digest(resolve(config.pop("base_model_name_or_path")))
    settings = {k: sorted(v) if isinstance(v, list) else v for k, v in config.items()}
    return hashlib.sha256(json.dumps([settings, below], sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path, blocks: int = 256) -> str:
    size = path.stat().st_size
    if size <= WHOLE_FILE:
        return sha256_file(path)
    h = hashlib.sha256(str(size).encode())
    with path.open("rb") as f:
        for i in range(blocks):
            f.seek(i * (size - (1 << 16)) // (blocks - 1))
            h.update(f.read(1 << 16))
    return h.hexdigest()


def _hub_commit(path: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(path, "config.json")
    return Path(cached).parent.name if isinstance(cached, str) else path
