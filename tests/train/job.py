"""A small training job on made-up trees, as a library for tests and as a process that they can kill.

python job.py FOLDER OBJECTIVE_JSON SETTINGS_JSON -> trains to the end, resuming, and leaves FOLDER/final.safetensors
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from prefine.data.chat import Encoded
from prefine.models.policy import Policy
from prefine.models.trees import tree_size
from prefine.progress import Progress
from prefine.recipe import Train
from prefine.registry import objectives
from prefine.train.batches import Item
from prefine.train.drift import SAMPLES, Samples
from prefine.train.trainer import Trainer


def make_items(objective, n: int, seed: int = 0) -> list[Item]:
    """Ragged random trees with as many responses as the objective takes, with scores and reference log-probs."""
    g = torch.Generator().manual_seed(seed)

    def number(low, high):
        return int(torch.randint(low, high, (1,), generator=g))

    out = []
    for i in range(n):
        k = objective.group_size or 2 + i % 3
        if objective.needs_labels:
            k = 1
        total = k + objective.needs_mismatched
        responses = [torch.randint(3, 48, (number(1, 9),), generator=g).tolist() for _ in range(total)]
        prompt = torch.randint(3, 48, (number(2, 12),), generator=g).tolist()
        item = Item(f"row-{i:03d}", Encoded(prompt, responses, [[True] * len(r) for r in responses], {}))
        scores = torch.randn(k, generator=g).sort(descending=True).values.tolist()
        item.scores = scores if objective.needs_scores else []
        if objective.needs_reference:
            item.ref_token_logps = [(-4.0 + 0.5 * torch.randn(len(r), generator=g)).tolist() for r in responses]
            item.ref_logps = [sum(tokens) for tokens in item.ref_token_logps]
        item.labels = [float(i % 3 > 0)] if objective.needs_labels else []
        item.teacher_logps = [-2.0 - 0.3 * j for j in range(k)] if objective.needs_teacher_logps else []
        item.mismatched = bool(objective.needs_mismatched)
        out.append(item)
    return out


def block_of(name: str, **settings) -> dict:
    """A recipe block of an objective, with the settings that it cannot do without.

    With beta 10 the divergence of PAD is saturated on the answers of a random model: its gradient is a small difference
    of large ones, which shows the rounding of float32 in the model more than anything else.
    """
    needed = {"kd": {"teacher": "made-up"}, "gkd": {"teacher": "made-up"}, "pad": {"beta": 2.0}}
    return {"name": name, **needed.get(name, {}), **settings}


def make_policy(lora: bool = False, dropout: float = 0.0, seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=48,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    if lora:
        from prefine.models.load import add_lora
        from prefine.recipe import Model

        model = add_lora(model, Model(path="x", lora_r=4, lora_dropout=dropout))
    return Policy(model)


class Numbers:
    """A tokenizer whose texts are the ids; 2 ends a response."""

    chat_template = None
    eos_token_id = 2

    def decode(self, ids, **_) -> str:
        return " ".join(map(str, ids))


def make_trainer(
    folder: Path, block: dict, settings: dict, *, n: int = 24, policy: Policy | None = None, **fingerprint
):
    lora, dropout = settings.pop("lora", False), settings.pop("dropout", 0.0)
    mode, short = settings.pop("mode", "cascade"), settings.pop("short_of_memory", None)
    found, count = settings.pop("found", None), settings.pop("eval_samples", 0)
    train = Train(**{"objective": block, "learning_rate": 1e-2, "batch_size": 8, **settings})
    objective = objectives.build(block)
    objective.start_loss = lambda: None  # the reference numbers are made up
    folder.mkdir(parents=True, exist_ok=True)
    policy = policy or make_policy(lora, dropout)
    if objective.statistics & {"seq_kl", "divergence"}:
        other = make_policy(seed=1).to(policy.causal.dtype).requires_grad_(False).eval()
        policy.compare_with(other, divergence=getattr(objective, "token_divergence", None))
    held_out = make_items(objective, 5, seed=1)
    drawn = {"count": count, "max_new_tokens": 6, "seed": 3, "say": print}
    trainer = Trainer(
        policy,
        objective,
        train,
        make_items(objective, n),
        held_out,
        folder=folder,
        seed=3,
        mode=mode,
        fingerprint={"objective": block, **fingerprint},
        progress=Progress.silent(),
        max_tokens=found and found[int(os.environ.get("RANK", 0))],
        samples=Samples(folder / SAMPLES, held_out, Numbers(), **drawn),
    )
    if short:
        run_short(trainer, *short)
    return trainer


def run_short(trainer, rank: int, tokens: int) -> None:
    """Let one process run out of memory on micro-batches of more than so many tokens."""
    laid_out = trainer.passes._laid_out

    def limited(part, *more):
        if trainer.rank == rank and sum(tree_size(item.encoded) for item in part.items) > tokens:
            raise torch.OutOfMemoryError("made up")
        return laid_out(part, *more)

    trainer.passes._laid_out = limited


def weights(trainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone().contiguous() for n, p in trainer._trainable().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    job = make_trainer(target, json.loads(sys.argv[2]), json.loads(sys.argv[3]))
    print("ready", flush=True)
    job.run()
    print(f"micro-batches of {job.passes.max_tokens}", flush=True)
    if job.accelerator.is_main_process:
        save_file({k: v for k, v in weights(job).items()}, target / "final.safetensors")
