"""What an objective compares the policy with besides stored log-probs: a frozen reference, a teacher, fresh samples."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from prefine.data.chat import Encoded
from prefine.errors import PrefineError
from prefine.models.decoding import Decoding
from prefine.models.layouts import choose_layout
from prefine.models.load import load_model, load_tokenizer, model_digest
from prefine.models.policy import Policy
from prefine.models.reference import ResponseStore, Values
from prefine.models.sampling import sample_ids
from prefine.models.trees import Mode, micro_batches, pack
from prefine.models.vocabulary import shared_vocabulary
from prefine.objectives.base import Objective
from prefine.recipe import Model, Recipe
from prefine.rundir import StageDir
from prefine.schema import digest
from prefine.train.batches import Item

if TYPE_CHECKING:
    from prefine.progress import Progress, Step

BeforeStep = Callable[[list[Item], int], list[Item]]


def load(
    recipe: Recipe, policy: Policy, objective: Objective, tokenizer: Any, mode: Mode, items: Sequence[Item]
) -> None:
    """Give the policy, before it is trained, the frozen model that the objective's statistics compare it with.

    It is there before anybody asks how much memory is left, and what is wrong with it is said before the first pass.
    """
    if "seq_kl" in objective.statistics:
        policy.compare_with(frozen(policy))
    if "divergence" not in objective.statistics:
        return
    assert recipe.train is not None
    teacher, size = load_teacher(str(objective.teacher), tokenizer, policy, recipe.train.bf16)
    layout = choose_layout(teacher, [item.encoded for item in items], "separate" if mode == "separate" else "auto")
    if layout.mode != mode:
        raise PrefineError(
            f"{objective.teacher}: the teacher cannot be given the trees that the policy is trained on "
            f"({layout.reason}); set train.layout: separate"
        )
    measure: Any = objective.token_divergence_top_k if stores(objective) else objective.token_divergence
    policy.compare_with(teacher, vocab_size=size, divergence=measure)


def stores(objective: Objective) -> bool:
    """Whether the teacher's most likely tokens are written down once, and its weights are not needed afterwards."""
    return getattr(objective, "source", "online") == "stored"


def prepare(
    recipe: Recipe,
    folder: StageDir,
    policy: Policy,
    objective: Objective,
    tokenizer: Any,
    mode: Mode,
    max_tokens: int,
    items: Sequence[Item],
    progress: Progress,
) -> BeforeStep | None:
    """Give the items what a teacher says of them, where it is stored.

    Returns what replaces a step's examples by the policy's own responses, for objectives that ask for it.
    """
    if "divergence" not in objective.statistics:
        return None
    if not stores(objective):
        return sampler(recipe, policy, objective, tokenizer) if getattr(objective, "on_policy", 0.0) else None
    teacher = policy.let_go()
    assert teacher is not None and policy.vocab_size is not None
    add_targets(recipe, folder, teacher, policy.vocab_size, objective, mode, max_tokens, items, progress)
    return None


def frozen(policy: Policy) -> Policy:
    """The policy as it is now: itself with the adapter off, or a copy where all weights are trained."""
    if hasattr(policy.model, "disable_adapter"):
        return policy
    other = Policy(copy.deepcopy(policy.model), bf16=policy.bf16, fused=policy.fused)
    other.prunes, other.alone = policy.prunes, policy.alone
    return other.requires_grad_(False).eval()


def load_teacher(path: str, tokenizer: Any, policy: Policy, bf16: bool) -> tuple[Policy, int]:
    """The teacher of token-level distillation, and the number of token ids that it shares with the policy."""
    spec = Model(path=path)
    size = shared_vocabulary(tokenizer, load_tokenizer(spec))
    teacher = Policy(load_model(spec), bf16=bf16).requires_grad_(False).eval()
    rows = [m.causal.get_output_embeddings().weight.shape[0] for m in (policy, teacher)]
    if size > min(rows):
        raise PrefineError(f"{path}: the tokenizers have {size} tokens, but a model has {min(rows)} logits")
    if not (policy.fused and teacher.fused):
        policy.fused = teacher.fused = False
    return teacher, size


@torch.no_grad()
def add_targets(
    recipe: Recipe,
    folder: StageDir,
    teacher: Policy,
    vocab_size: int,
    objective: Any,
    mode: Mode,
    max_tokens: int,
    items: Sequence[Item],
    progress: Progress,
) -> None:
    """Give every item the teacher's most likely tokens, from the run's store or computed now."""
    assert recipe.train is not None
    device = next(teacher.parameters()).device
    spec = Model(path=objective.teacher)
    key = digest([model_digest(spec), objective.top_k, objective.temperature, vocab_size, recipe.train.bf16])[:16]
    store = ResponseStore(folder.run / "teacher" / key, {"ids": "int32", "logps": "float32"})

    def compute(part: Sequence[Encoded], step: Step) -> list[list[Values]]:
        out: list[list[Values]] = [[] for _ in part]
        for batch in micro_batches(part, max_tokens, mode=mode):
            packed = pack([part[i] for i in batch], mode=mode).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=teacher.bf16):
                ids, logps = teacher.rows_of(packed, lambda z: objective.teacher_top_k(z[:, :vocab_size]))
            table = [(ids[packed.response == r], logps[packed.response == r]) for r in range(packed.num_responses)]
            found = iter([(i.flatten().cpu().numpy(), p.flatten().cpu().numpy()) for i, p in table])
            for i in batch:
                out[i] = [next(found) for _ in part[i].responses]
            step(len(batch))
        return out

    rows = store.get([i.encoded for i in items], compute, title="teacher log-probs", progress=progress)
    for item, values in zip(items, rows, strict=True):
        k = min(objective.top_k, vocab_size)
        item.targets = [(np.reshape(ids, (-1, k)), np.reshape(logps, (-1, k))) for ids, logps in values]


def sampler(recipe: Recipe, policy: Policy, objective: Any, tokenizer: Any) -> BeforeStep:
    """Replaces the responses of a share of each step's examples by what the policy samples at that step.

    Which ones, and their random numbers, depend on the seed, the step and the example alone.
    """
    assert recipe.train is not None
    seed = recipe.seed if recipe.train.seed is None else recipe.train.seed
    decoding = Decoding(objective.sampling_temperature, max_new_tokens=objective.max_new_tokens, seed=seed)

    def before_step(batch: list[Item], step: int) -> list[Item]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        drawn = (torch.rand(len(batch), generator=generator) < objective.on_policy).tolist()
        chosen = [item for item, own in zip(batch, drawn, strict=True) if own]
        if not chosen:
            return batch
        policy.eval()
        policy.forget_rows()
        keys = [f"{item.id}/{step}" for item in chosen]
        prompts = [item.encoded.prompt_ids for item in chosen]
        with torch.no_grad():
            found = sample_ids(policy.model, tokenizer, prompts, keys, decoding)
        policy.train()
        fresh = {}
        for item, responses in zip(chosen, found, strict=True):
            if responses and responses[0].token_ids:
                ids = list(responses[0].token_ids)
                encoded = replace(item.encoded, responses=[ids], masks=[[True] * len(ids)])
                fresh[item.id] = replace(item, encoded=encoded)
        return [fresh.get(item.id, item) for item in batch]

    return before_step
