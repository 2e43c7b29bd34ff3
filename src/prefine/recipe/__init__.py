"""The settings of a run: one YAML file, one `Recipe`, checked whole before anything expensive. Imports no torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from prefine import registry

STAGES = ("prompts", "generate", "label", "pair", "train", "evaluate", "report")

Block = dict[str, Any]
"""A component: `{name: ..., setting: value, ...}`, checked against the constructor of the class it names."""

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(pydantic.BaseModel):
    """A part of a recipe: unknown keys are errors, text is never read as a number."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Model(Section):
    """The start model. With `lora_r` an adapter is trained on top of it, otherwise all of its weights."""

    path: str
    """A folder, a hub id, a finished run (its folder), or `tiny-student` / `tiny-teacher`, the embedded models."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Type of the loaded weights; training keeps float32 masters unless this says otherwise."""
    quantization: Literal["nf4"] | None = None
    """`nf4` holds the frozen weights in 4 bits (QLoRA); needs lora_r and the extra `qlora`."""
    attn_implementation: str | None = None
    """One of transformers' names (sdpa, eager, flash_attention_2 ...)."""
    chat_template: str | None = None
    """For tokenizers without a template: `chatml`, `plain`, or a file with a Jinja template."""
    trust_remote_code: bool = False
    """Run code that comes with the model; only for sources you trust."""
    lora_r: Positive | None = None
    """Rank of a LoRA adapter; null trains all weights."""
    lora_alpha: float | None = None
    """LoRA scale times rank; null means 2 x rank."""
    lora_dropout: Fraction = 0.0
    """Dropout on the adapter's input."""
    lora_use_dora: bool = False
    """DoRA: the adapter learns the length of each weight vector apart from its direction; slower than LoRA."""
    lora_target_modules: str | list[str] = "all-linear"
    """Names of the modules that get an adapter; `all-linear` is every linear one but the head."""


class Data(Section):
    """Where prompts (and, if there are any, responses, scores and preferences) come from."""

    path: str | list[str]
    """Files (json, jsonl, csv, parquet, also .gz), a `datasets` folder, a hub id, or `module:function`."""
    format: str | Block | None = None
    """Format name, or a block with its settings, as in `{name: shp, min_score_ratio: 2}`; null detects it from the
    columns (`prefine list formats`)."""
    subset: str | None = None
    """Configuration of a hub dataset."""
    split: str | None = None
    """Split of a hub dataset or a `datasets` folder."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset."""
    plain_text: bool = False
    """Prompts and responses are plain text: no chat template is applied."""
    test_fraction: Fraction = 0.1
    """Share of the prompts held out for evaluation, chosen by a hash of the prompt."""
    split_salt: str = "prefine"
    """Another text gives another split."""
    limit: Positive | None = None
    """Keep only this many groups, the first by hash."""
    max_drop_fraction: Fraction = 0.5
    """Stop when more than this share of the rows had to be dropped."""
    arguments: dict[str, Any] = {}
    """Arguments for a `module:function` source."""
    condition: dict[str, float] | None = None
    """Ratings that every prompt asks for, as the pairers `controllable` and `controllable_sft` spell them."""
    goal: float | None = None
    """Score that every prompt asks for in its system message, as the pairer `reward_augmented` spells it."""
    clean: list[Block] = []
    """Steps that clean and choose prompts after they are read, in this order; see docs/cleaning.md."""


class Prompts(Section):
    """Write new prompts, with the rows of `data` as seeds or examples; what follows takes the new ones."""

    maker: Block
    """Who writes them, and how."""
    include_seeds: bool = False
    """Go on with the seeds, too."""


class Generate(Section):
    """Sample responses to every prompt from the start model, or from another one."""

    generator: Block = {"name": "hf"}
    """Who samples, and how."""
    num_responses: Positive = 4
    """Samples per prompt."""
    keep: Positive | None = None
    """Keep this many of a prompt's samples; null keeps all."""
    select: Literal["maxmin", "first", "random"] = "maxmin"
    """Which: `maxmin` those with the greatest edit distances from each other, from the first sample on."""
    min_unique: Positive | None = None
    """Drop prompts with fewer different samples than this; null drops none."""
    include_held_out: bool = False
    """Also sample for held-out prompts."""


class Label(Section):
    """Score every response with each of the labelers."""

    labelers: list[Block] = Field(min_length=1)
    """Each gives every response a score under its own name."""


class Pair(Section):
    """Turn scored groups into pairs or ranked lists."""

    pairer: Block = {"name": "best_worst"}
    """How scored responses become pairs or lists."""
    score: str | dict[str, float] | None = None
    """A scorer's name, or weights of several (`{likelihood: 0.7, choice: 0.3}`); null if there is only one."""


class Train(Section):
    """Train the start model with an objective."""

    objective: Block
    """What is learned from pairs, lists or single responses."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-7
    """Peak of the schedule."""
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "cosine"
    """What follows the warm-up; linear and cosine end at 0."""
    warmup_ratio: Fraction = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    num_train_epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the examples; may be a fraction."""
    max_steps: Positive | None = None
    """Stop after this many optimizer steps, whatever `num_train_epochs` says."""
    batch_size: Positive = 32
    """Examples per optimizer step, over all processes and micro-batches."""
    max_tokens: Positive | Literal["auto"] = "auto"
    """Tokens of a micro-batch: more is faster up to a point and needs more memory; auto measures what fits."""
    max_length: Positive = 2048
    """Tokens of a prompt with its longest response."""
    overlong: Literal["drop", "truncate"] = "drop"
    """What happens to examples beyond `max_length`; both are counted."""
    layout: Literal["auto", "tree", "separate"] = "auto"
    """`tree` shares a prompt among its responses, `separate` gives each response a row; auto checks the model."""
    reference: Literal["store", "step"] = "store"
    """`store` computes reference log-probs once and keeps them with the run; `step` computes them at each step, beside
    the policy's and with the adapter off: nothing is written, and of one epoch the cost is the same."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decoupled weight decay."""
    adam_beta1: Fraction = 0.9
    """Decay of the first moment."""
    adam_beta2: Fraction = 0.999
    """Decay of the second moment."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the denominator of the update."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are scaled down to this norm."""
    bf16: bool = False
    """Compute in bfloat16; weights and gradients stay as loaded."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    seed: int | None = None
    """Order of the examples; null takes the recipe's seed."""
    logging_steps: Positive = 10
    """A line of metrics.jsonl every so many steps."""
    eval_steps: Positive | None = None
    """Evaluate on held-out examples every so many steps; null means four times in a run."""
    eval_samples: Annotated[int, Field(ge=0)] = 16
    """Held-out prompts that the policy answers at temperature 1 before training and at each evaluation, for the curves
    of KL from the start and of length; 0 for none."""
    save_steps: Positive | None = None
    """Write a resumable checkpoint every so many steps; null means only when it is stopped."""
    save_total_limit: Annotated[int, Field(ge=2)] = 2
    """Checkpoints kept; the latest is never deleted before the next is on disk."""
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = []
    """Trackers besides metrics.jsonl."""


class Tasks(Section):
    """Task benchmarks through lm-evaluation-harness, which comes with the extra `eval`."""

    names: list[str] = Field(min_length=1)
    """Presets (`arc`, `hellaswag`, `mmlu`, `truthfulqa`, `winogrande`, `gsm8k`, `bbh`; `open_llm_v1` is the first six),
    or any name that the harness knows."""
    include_path: str | None = None
    """Folder with task files (YAML) of your own."""
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    """Examples before each question; null takes the preset's, or the task's own number."""
    limit: Positive | None = None
    """Only the first questions of each task, to try things out."""
    batch_size: Positive = 8
    """Questions at a time."""
    apply_chat_template: bool = False
    """Ask in the model's chat template; leaderboards did not, and the numbers are others."""


class Evaluate(Section):
    """Compare the trained model with its start, and with other runs, on held-out prompts and pairs."""

    data: Data | None = None
    """Prompts to evaluate on; null takes the held-out part of the recipe's data."""
    metrics: list[Block] = []
    """Metrics beyond length, KL and reward accuracy, for example `{name: programmatic, function: module:function}`."""
    benchmarks: list[Block] = []
    """Judged benchmarks, answered by the trained model and the runs of `against`, for example
    `{name: alpaca_eval, questions: alpaca_eval.json, engine: {name: openai, model: ...}}`."""
    tasks: Tasks | None = None
    """Task benchmarks, asked of the trained model, the start and the runs of `against`."""
    win_by: str | None = None
    """The metric that decides win rates; null takes the first."""
    num_prompts: Positive | None = None
    """Evaluate on this many prompts, the first by hash; null takes all."""
    num_samples: Annotated[int, Field(ge=0)] = 4
    """Samples per prompt at `temperature`, beside the greedy response; 0 for greedy only."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the samples; the greedy response has none."""
    max_new_tokens: Positive = 256
    """Longest response."""
    against: list[str] = []
    """Finished runs (folders) to compare with, besides the start model."""
    cooled_start: bool = False
    """Also compare with the start model at the temperature whose samples are as diverse as the trained model's."""
    control_data: Data | None = None
    """Prompts on which the temperature of `cooled_start` is found; null uses the evaluation prompts."""


class Report(Section):
    """The page that a reader gets."""

    title: str | None = None
    """Heading of the page; null takes the run's name."""
    num_examples: Positive = 24
    """Prompts shown side by side."""


class Recipe(Section):
    """A run: where prompts come from, the stages it goes through, and the model it starts from."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The run is the folder `output_dir/name`."""
    model: Model
    """The model to train."""
    data: Data
    """Prompts, and responses if there are any."""
    seed: int = 0
    """Of everything random: samples, the order of examples, ties. The same seed repeats a run."""
    output_dir: str = "runs"
    """Where runs are kept."""
    threads: Positive | None = None
    """CPU threads of torch; null lets prefine choose."""
    prompts: Prompts | None = None
    generate: Generate | None = None
    label: Label | None = None
    pair: Pair | None = None
    train: Train | None = None
    evaluate: Evaluate | None = None
    report: Report | None = None
    variants: dict[str, dict[str, Any]] = {}
    """Trainings to compare in one run: for each name the keys that differ, as in `lora: {model.lora_r: 8}`."""
    variant: str | None = None
    """Which of the variants this is; filled in when they are read, not by hand."""

    @property
    def run_path(self) -> Path:
        return Path(self.output_dir) / self.name

    def stages(self) -> list[str]:
        """The stages that this recipe has, in order."""
        return [s for s in STAGES if getattr(self, s) is not None]


COMPONENTS: dict[tuple[str, ...], registry.Registry] = {
    ("data", "format"): registry.formats,
    ("data", "clean", "*"): registry.cleaners,
    ("prompts", "maker"): registry.makers,
    ("prompts", "maker", "engine", "engine"): registry.engines,
    ("prompts", "maker", "engine"): registry.engines,
    ("prompts", "maker", "user_engine"): registry.engines,
    ("generate", "generator", "engine", "engine"): registry.engines,
    ("generate", "generator", "engine"): registry.engines,
    ("generate", "generator", "members", "*", "engine"): registry.engines,
    ("generate", "generator", "judge", "engine", "engine"): registry.engines,
    ("generate", "generator", "judge", "engine"): registry.engines,
    ("generate", "generator", "judge"): registry.labelers,
    ("label", "labelers", "*", "engine", "engine"): registry.engines,
    ("label", "labelers", "*", "engine"): registry.engines,
    ("generate", "generator"): registry.generators,
    ("label", "labelers", "*"): registry.labelers,
    ("pair", "pairer"): registry.pairers,
    ("train", "objective"): registry.objectives,
    ("evaluate", "data", "format"): registry.formats,
    ("evaluate", "control_data", "format"): registry.formats,
    ("evaluate", "metrics", "*", "engine", "engine"): registry.engines,
    ("evaluate", "metrics", "*", "engine"): registry.engines,
    ("evaluate", "metrics", "*"): registry.metrics,
    ("evaluate", "benchmarks", "*", "engine", "engine"): registry.engines,
    ("evaluate", "benchmarks", "*", "engine"): registry.engines,
    ("evaluate", "benchmarks", "*", "judge", "engine", "engine"): registry.engines,
    ("evaluate", "benchmarks", "*", "judge", "engine"): registry.engines,
    ("evaluate", "benchmarks", "*", "judge"): registry.labelers,
    ("evaluate", "benchmarks", "*"): registry.benchmarks,
}
"""Where component blocks stand in a recipe, and the registry that checks each."""


def finite(value: float) -> bool:
    """False for NaN and infinities, which YAML can write but no setting accepts."""
    return math.isfinite(value)
