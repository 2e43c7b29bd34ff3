"""The train stage: examples in, a trained model, its metrics and its checkpoints out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from prefine.data.chat import Dropped, encode
from prefine.durable import publishing
from prefine.errors import PrefineError
from prefine.models.bfloat16 import slow_bf16
from prefine.models.layouts import Layout, choose_layout
from prefine.models.load import EMBEDDED, load_model, load_tokenizer, model_digest, resolve, set_threads
from prefine.models.masters import Masters
from prefine.models.policy import Policy
from prefine.models.reference import ReferenceStore, response_keys
from prefine.objectives.base import Objective
from prefine.recipe import Model, Recipe
from prefine.registry import objectives
from prefine.rundir import Counts, StageDir
from prefine.schema import Example, digest
from prefine.train import companions, drift
from prefine.train.batches import Item
from prefine.train.budget import Budget, find_budget
from prefine.train.trainer import Trainer

if TYPE_CHECKING:
    from prefine.progress import Progress

UNSEEN = ("max_tokens", "logging_steps", "eval_steps", "eval_samples", "save_steps", "save_total_limit", "report_to")
"""Training settings that do not change the result, so that neither a stage's key nor a checkpoint depends on them."""


def settings_that_count(recipe: Recipe) -> dict[str, Any]:
    """The train section without what only changes logging and saving, its objective completed with its defaults."""
    assert recipe.train is not None
    settings = recipe.train.model_dump(exclude=set(UNSEEN))
    settings["objective"] = objectives.check(recipe.train.objective)
    settings["seed"] = seed_of(recipe)
    return settings


def seed_of(recipe: Recipe) -> int:
    assert recipe.train is not None
    return recipe.seed if recipe.train.seed is None else recipe.train.seed


@dataclass
class Prepared:
    """What training starts from: the policy, its masters, and the examples with their reference log-probs."""

    policy: Policy
    masters: Masters
    objective: Objective
    tokenizer: Any
    items: dict[str, list[Item]]
    counts: Counts
    layout: Layout
    budget: Budget

    @property
    def everything(self) -> list[Item]:
        return self.items["train"] + self.items["test"]


def prepare(recipe: Recipe, run: Path, source: StageDir, progress: Progress) -> Prepared:
    """Load the model, encode the examples, choose layout and budget, and give the items their reference log-probs."""
    assert recipe.train is not None
    train = recipe.train
    if train.reference == "step" and recipe.model.lora_r is None:
        raise PrefineError(
            "train.reference: 'step' needs an adapter (model.lora_r): all weights are trained, and the start is gone "
            "after the first step. Take 'store'"
        )
    objective: Objective = objectives.build(train.objective)
    tokenizer = load_tokenizer(recipe.model)
    counts = Counts()
    items = {s: encode_examples(source.examples(), s, tokenizer, recipe, objective, counts) for s in ("train", "test")}
    if not items["train"]:
        raise PrefineError(f"no training example is left; dropped: {counts.dropped}")
    # A fresh adapter is random.
    torch.manual_seed(seed_of(recipe))
    policy = Policy(load_model(recipe.model, train=True))
    if slow := slow_bf16(recipe):
        progress.line(slow)
    masters = Masters(policy.model, bf16=train.bf16)
    if train.gradient_checkpointing:
        checkpoint_activations(policy)
    everything = items["train"] + items["test"]
    layout = choose_layout(policy, [item.encoded for item in everything], train.layout, gradients=True)
    progress.line(f"layout: {layout.reason}")
    if objective.needs_mismatched:
        # A few held-out examples may share one prompt; those of the training part help out, with their own responses.
        borrowed = [replace(item) for item in items["train"]]
        add_mismatched(items["train"])
        add_mismatched(items["test"], borrowed)
    companions.load(recipe, policy, objective, tokenizer, layout.mode, everything)
    budget = find_budget(policy, masters, everything, layout.mode, train.max_tokens)
    progress.line(budget.line)
    if objective.needs_reference and train.reference == "store":
        add_reference(recipe, run, policy, layout, budget.max_tokens, everything, progress)
    return Prepared(policy, masters, objective, tokenizer, items, counts, layout, budget)


def run(
    recipe: Recipe, folder: StageDir, source: StageDir, progress: Progress, *, resume: bool = True
) -> tuple[Counts, dict[str, Any]]:
    """Train on the source's `train` examples, evaluate on its `test` ones.

    Leaves `model/`, metrics.jsonl and, of what the policy wrote on the way, samples.jsonl and kl.jsonl.
    """
    counts, facts, held_out, start = _trained(recipe, folder, source, progress, resume)
    if start is not None:
        drift.measure(folder.path, start, held_out, progress.line)
    return counts, facts


def _trained(
    recipe: Recipe, folder: StageDir, source: StageDir, progress: Progress, resume: bool
) -> tuple[Counts, dict[str, Any], list[Item], Callable[[], Policy] | None]:
    """Train and save; the counts, the facts, the held-out items and, in the first process, what gives the start.

    When this has returned, what training needed is gone from memory.
    """
    assert recipe.train is not None
    train = recipe.train
    threads = set_threads(recipe.threads)
    made = prepare(recipe, folder.run, source, progress)
    mode, tokens = made.layout.mode, made.budget.max_tokens
    before_step = companions.prepare(
        recipe, folder, made.policy, made.objective, made.tokenizer, mode, tokens, made.everything, progress
    )
    held_out = made.items["test"]
    samples = drift.Samples(
        folder.path / drift.SAMPLES,
        held_out,
        made.tokenizer,
        count=train.eval_samples,
        max_new_tokens=drift.max_new_tokens(recipe, held_out),
        seed=seed_of(recipe),
        say=progress.line,
    )
    trainer = Trainer(
        made.policy,
        made.objective,
        train,
        made.items["train"],
        held_out,
        folder=folder.path,
        seed=seed_of(recipe),
        mode=mode,
        fingerprint=fingerprint(recipe, made.items["train"], made.layout),
        progress=progress,
        masters=made.masters,
        max_tokens=tokens,
        before_step=before_step,
        samples=samples,
    )
    facts = trainer.run(resume=resume)
    predicted = made.budget.predicted_mb
    progress.line(f"memory: {facts['peak_memory_mb']:,.0f} MB at most, {predicted:,.0f} MB were expected")
    first = trainer.accelerator.is_main_process
    if first:
        save_model(trainer, made.tokenizer, folder, base_of(recipe.model))
    trainer.accelerator.wait_for_everyone()
    facts = {
        **facts,
        "start": recipe.model.path,
        "objective": objectives.check(train.objective),
        "examples": {k: len(v) for k, v in made.items.items()},
        "layout": made.layout.reason,
        "predicted_memory_mb": round(predicted, 1),
        "threads": threads,
        "seed": seed_of(recipe),
    }
    return made.counts, facts, held_out, drift.start_of(made.policy, recipe) if first else None


def encode_examples(
    examples: Iterable[Example], split: str, tokenizer: Any, recipe: Recipe, objective: Objective, counts: Counts
) -> list[Item]:
    """Tokens and masks of a split's examples; each that cannot be used is counted with its reason."""
    assert recipe.train is not None
    out = []
    for example in examples:
        if example.split != split:
            continue
        counts.rows_in += 1
        wrong = _misfit(example, objective)
        if wrong:
            counts.drop(wrong)
            continue
        try:
            encoded = encode(
                tokenizer,
                example.prompt,
                example.responses,
                max_length=recipe.train.max_length,
                overlong=recipe.train.overlong,
                plain_text=recipe.data.plain_text,
                finished=example.finished or None,
            )
        except Dropped as dropped:
            counts.drop(dropped.reason)
            continue
        for flag, n in encoded.flags.items():
            if n:
                counts.note(flag, n)
        counts.rows_out += 1
        item = Item(example.id, encoded)
        item.scores = list(example.scores) if objective.needs_scores else []
        item.labels = list(example.labels) if objective.needs_labels else []
        item.teacher_logps = list(example.teacher_logps) if objective.needs_teacher_logps else []
        out.append(item)
    return sorted(out, key=lambda item: item.id)


def _misfit(example: Example, objective: Objective) -> str | None:
    """Why this objective cannot use the example, or None."""
    k = len(example.responses)
    if objective.group_size is not None and k != objective.group_size:
        return f"needs_{objective.group_size}_responses"
    if objective.needs_labels and not (example.labels or k == 2):
        return "needs_labels"
    if objective.group_size is None and k < 2 and not objective.needs_labels:
        return "needs_several_responses"
    if objective.max_group_size is not None and k > objective.max_group_size:
        return f"more_than_{objective.max_group_size}_responses"
    if objective.needs_scores and len(example.scores) != k:
        return "needs_scores"
    if objective.needs_teacher_logps and len(example.teacher_logps) != k:
        return "needs_likelihood_scores"
    return None


def add_mismatched(items: list[Item], more: Sequence[Item] = ()) -> None:
    """Give every item one more response: that of the next item, or of `more`, whose prompt is another one.

    Items stand in the order of their ids, which are hashes, so the next one is a random one.
    """
    borrowed = []
    for i, item in enumerate(items):
        others = chain((items[(i + j) % len(items)] for j in range(1, len(items))), more)
        other = next((o for o in others if o.encoded.prompt_ids != item.encoded.prompt_ids), None)
        if other is None:
            raise PrefineError("the objective compares responses with those to other prompts, but there is one prompt")
        borrowed.append((other.encoded.responses[0], other.encoded.masks[0]))
    for item, (tokens, mask) in zip(items, borrowed, strict=True):
        item.encoded = replace(
            item.encoded, responses=[*item.encoded.responses, tokens], masks=[*item.encoded.masks, mask]
        )
        item.mismatched = True


def add_reference(
    recipe: Recipe,
    run: Path,
    policy: Policy,
    layout: Layout,
    max_tokens: int,
    items: list[Item],
    progress: Progress,
) -> None:
    """Give every item its reference log-probs, from the run's store or computed now."""
    assert recipe.train is not None
    key = digest([model_digest(recipe.model), recipe.model.dtype, recipe.model.quantization, recipe.train.bf16])[:16]
    store = ReferenceStore(run / "reference" / key)
    found = store.token_logps(
        policy,
        [item.encoded for item in items],
        max_tokens=max_tokens,
        mode=layout.mode,
        progress=progress,
    )
    for item, tokens in zip(items, found, strict=True):
        item.ref_token_logps = tokens
        item.ref_logps = [math.fsum(t) for t in tokens]


def fingerprint(recipe: Recipe, items: list[Item], layout: Layout) -> dict[str, Any]:
    """What a checkpoint must agree with to be resumed: settings, start weights, the tokens trained on."""
    return {
        "train": settings_that_count(recipe),
        "model": recipe.model.model_dump(exclude={"path", "revision"}),
        "start_weights": model_digest(recipe.model),
        "data": digest([_content(item) for item in items]),
        "layout": layout.mode,
    }


def _content(item: Item) -> list[Any]:
    more = [values for values in (item.labels, item.teacher_logps) if values]
    return [item.id, response_keys(item.encoded), item.scores, *more]


def checkpoint_activations(policy: Policy) -> None:
    """Recompute activations in the backward pass; adapters need the inputs to carry gradients for it."""
    causal = policy.causal
    # Older versions of transformers know the older name alone.
    enable = getattr(causal, "activation_checkpointing_enable", None) or causal.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    policy.checkpointed = True
    if hasattr(policy.model, "peft_config"):
        policy.causal.enable_input_require_grads()


def base_of(spec: Model) -> str:
    """Where an adapter finds the weights below it again: an embedded name, an absolute folder, or a hub id."""
    found = resolve(spec.path)
    return spec.path if spec.path in EMBEDDED or not Path(found).is_dir() else str(Path(found).resolve())


def save_model(trainer: Trainer, tokenizer: Any, folder: StageDir, base: str) -> None:
    """Write the trained weights (or adapter) with the tokenizer to `model/`, whole or not at all."""
    model = trainer.policy.model
    trainer.masters.restore()
    trainer.policy.forget_rows()
    extra = {}
    if hasattr(model, "peft_config"):
        # The vocabulary is never resized here, so an adapter needs no copy of the embeddings.
        extra = {"save_embedding_layers": False}
        for config in model.peft_config.values():
            config.base_model_name_or_path = base
    with publishing(folder.path / "model") as tmp:
        model.save_pretrained(tmp, **extra)
        tokenizer.save_pretrained(tmp)
