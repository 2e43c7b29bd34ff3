"""Model cards: README.md beside saved weights, from the same facts as the report, with a header that the hub reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from prefine.durable import write_bytes
from prefine.report.collect import Collection, Run
from prefine.report.phrases import duration, interval_text
from prefine.report.results import run_result
from prefine.report.sources import UNKNOWN
from prefine.report.svg import DASH, number
from prefine.report.text import model_name, plain
from prefine.report.trainings import unevaluated

MARK = "<!-- prefine: this card is written anew with every report -->"
"""Stands in the cards that we wrote; a file without it is somebody's own and stays."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HYPERPARAMETERS = ("learning_rate", "lr_scheduler_type", "warmup_ratio", "num_train_epochs", "batch_size", "max_length")
ENDS = (
    ("loss", "loss, in the objective's own unit"),
    ("rewards/accuracies", "share of pairs ranked as labeled"),
    ("rewards/margins", "reward margin, beta times nats"),
    ("logps/chosen", "log-prob of chosen, nats a response"),
    ("logps/rejected", "log-prob of rejected, nats a response"),
    ("perplexity", "perplexity"),
    ("token_accuracy", "share of tokens predicted right"),
)
"""What is told of a training's last steps, of the values that it logged."""


NOT_EVALUATED = (
    "## Results\n\nNot evaluated: its run holds no evaluation of this model. What it answers was neither read nor "
    "scored."
)


def write_cards(found: Collection, data: dict[str, Any]) -> list[Path]:
    """A card in every model's folder; one that cannot be written to, or that has a card of its own, is left alone."""
    pairs = zip(found.runs, data["runs"], strict=True)
    return [path for run, numbers in pairs if (path := _write(run, numbers))]


def write_training_cards(folders: Sequence[Path]) -> list[Path]:
    """The same for the finished trainings in run directories that have no evaluation there."""
    return [path for run in unevaluated(folders) if (path := _write(run, run_result(run)))]


def _write(run: Run, numbers: dict[str, Any]) -> Path | None:
    path = run.model / "README.md" if run.model else None
    if path is None or (path.exists() and MARK not in path.read_text(errors="replace")):
        return None
    try:
        write_bytes(path, card(run, numbers).encode())
    except OSError:
        return None
    return path


def card(run: Run, numbers: dict[str, Any]) -> str:
    """The card of one model."""
    header = yaml.safe_dump(_header(run, numbers), sort_keys=False, allow_unicode=True, width=1000)
    sections = [
        _made(run, numbers),
        _data(run),
        _settings(run),
        _ends(run),
        _results(numbers) if run.evaluated else NOT_EVALUATED,
        _limits(run, numbers),
        _cost(run, numbers),
    ]
    name = plain(run.label)
    return "\n\n".join([f"---\n{header}---", MARK, f"# {name}", *(s for s in sections if s)]) + "\n"


def _header(run: Run, numbers: dict[str, Any]) -> dict[str, Any]:
    """What the hub reads; keys without a fact are left out."""
    start = str(run.scores.get("start") or "")
    adapter = run.settings.get("model.lora_r") is not None
    data = [s["dataset"] for s in run.sources if _HUB_ID.fullmatch(s["dataset"])]
    head: dict[str, Any] = {"library_name": "peft" if adapter else "transformers", "pipeline_tag": "text-generation"}
    if _HUB_ID.fullmatch(start) and not Path(start).exists():
        head["base_model"] = start
        head["base_model_relation"] = "adapter" if adapter else "finetune"
    if data:
        head["datasets"] = list(dict.fromkeys(data))
    head["tags"] = ["prefine", *([run.objective] if run.objective else [])]
    measured = _measured(numbers)
    if measured:
        task = {"type": "text-generation"}
        dataset = {"type": "held-out-prompts", "name": "prompts held out from training"}
        values = [{"type": kind, "name": name, "value": round(value, 6)} for kind, name, value in measured]
        head["model-index"] = [
            {"name": plain(run.label), "results": [{"task": task, "dataset": dataset, "metrics": values}]}
        ]
    return head


def _measured(numbers: dict[str, Any]) -> list[tuple[str, str, float]]:
    names = (
        ("win_rate", "win rate against the start, greedy"),
        ("reward_accuracy", "reward accuracy on held-out pairs"),
    )
    return [(k, name, numbers[k]["value"]) for k, name in names if numbers[k] and numbers[k].get("value") is not None]


def _made(run: Run, numbers: dict[str, Any]) -> str:
    start = f"`{model_name(run.scores['start'])}`" if run.scores.get("start") else "a model that no file of it names"
    what = "An adapter of" if run.settings.get("model.lora_r") is not None else "Trained from"
    how = f" with the objective `{run.objective}`" if run.objective else ""
    seed = f", seed {run.seed}" if run.seed is not None else ""
    trained = f" on {numbers['examples']['train']:,} examples" if (numbers["examples"] or {}).get("train") else ""
    version = run.train.get("versions", {}).get("prefine", "")
    return f"{what} {start}{how}{trained}{seed}, by prefine {version}.".replace(" .", ".")


def _data(run: Run) -> str:
    """Data sets with the licenses that their rows name."""
    if not run.sources:
        return ""
    lines = ["## Training data", "", "| data set | license | prompts |", "| --- | --- | ---: |"]
    lines += [f"| {_cell(s['dataset'])} | {_cell(s['license'])} | {s['prompts']:,} |" for s in run.sources]
    if any(s["license"] == UNKNOWN for s in run.sources):
        lines += ["", "Where a license is unknown, neither the rows nor their format name one."]
    labelers = run.settings.get("label.labelers")
    if isinstance(labelers, list) and labelers:
        names = ", ".join(f"`{b.get('name')}`" for b in labelers if isinstance(b, dict))
        lines += ["", f"Labels: {names}."]
    return "\n".join(lines)


def _settings(run: Run) -> str:
    """The objective with its settings, and the optimizer's."""
    own = {k.removeprefix("train.objective."): v for k, v in run.settings.items() if k.startswith("train.objective.")}
    rest = {k: run.settings[f"train.{k}"] for k in HYPERPARAMETERS if f"train.{k}" in run.settings}
    rest |= {k: v for k, v in run.settings.items() if k.startswith("model.lora") and run.settings.get("model.lora_r")}
    told = {**{f"objective.{k}": v for k, v in own.items() if v is not None}, **rest}
    if not told:
        return ""
    lines = ["## Training", "", "| setting | value |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {_cell(k)} | {_cell(v)} |" for k, v in told.items())])


def _ends(run: Run) -> str:
    """The last value of what was logged in training, on its batches and on held-out examples."""

    def last(key: str) -> tuple[str, int | None]:
        row = next((r for r in reversed(run.log) if key in r and "step" in r), None)
        return (DASH, None) if row is None else (number(row[key]), int(row["step"]))

    rows = [(name, last(key), last(f"eval/{key}")) for key, name in ENDS]
    rows = [r for r in rows if r[1][1] is not None or r[2][1] is not None]
    if not rows:
        return ""
    at = [max((r[i][1] or 0 for r in rows), default=0) for i in (1, 2)]
    heads = [f"{name}, step {step}" if step else name for name, step in zip(("training", "held out"), at, strict=True)]
    lines = ["## At the end of training", "", f"| as logged | {heads[0]} | {heads[1]} |", "| --- | ---: | ---: |"]
    return "\n".join([*lines, *(f"| {name} | {ours[0]} | {held[0]} |" for name, ours, held in rows)])


def _results(numbers: dict[str, Any]) -> str:
    """What was measured, with intervals."""
    rows: list[tuple[str, dict[str, Any] | None, bool]] = [
        ("win rate against the start, greedy", numbers["win_rate"], True),
        ("win rate against the start, samples", numbers["win_rate_t1"], True),
        ("samples against the start cooled to the same diversity", numbers["cooled_start"], True),
        ("reward accuracy on held-out pairs", numbers["reward_accuracy"], True),
        ("KL from the start, nats a response", numbers["kl"], False),
    ]
    rows += [(f"{name}, greedy", found, False) for name, found in (numbers["metrics"].get("greedy") or {}).items()]
    rows += [(f"{name}, all greedy responses", f, False) for name, f in (numbers["corpus"].get("greedy") or {}).items()]
    rows += [(f"{name} ({f['metric']}, {f['shots']} shots)", f, True) for name, f in (numbers["tasks"] or {}).items()]
    rows = [r for r in rows if r[1] and r[1].get("value") is not None]
    if not rows:
        return ""
    lines = ["## Results", "", "| measure | value [95 %] | n |", "| --- | ---: | ---: |"]
    for name, found, as_percent in rows:
        n = (found or {}).get("n")
        lines.append(f"| {_cell(name)} | {interval_text(found, as_percent=as_percent)} | {'' if n is None else n} |")
    return "\n".join(lines)


def _limits(run: Run, numbers: dict[str, Any]) -> str:
    """What follows from the facts, and nothing else."""
    said = []
    if numbers["prompts"]:
        said.append(
            f"Measured on {numbers['prompts']:,} prompts held out from training; nothing is known of other uses."
        )
    said.append("One training seed; other seeds may give other numbers.")
    if (numbers["truncated"] or 0) > 0:
        said.append(f"{100 * numbers['truncated']:.1f} % of its greedy responses were cut off at the token limit.")
    ratio = (numbers["length"]["greedy"] or {}).get("words_ratio")
    if ratio:
        said.append(f"Its greedy responses have {number(ratio)} times the words of its start's.")
    said += [f"Not measured: {why}." for why in sorted(f"{k} ({v})" for k, v in numbers["absent"].items())]
    if any("nc" in re.split(r"[^a-z]+", s["license"].lower()) for s in run.sources):
        said.append("Some of the training data is under a license that forbids commercial use.")
    if not any(name in numbers["signatures"] for name in ("toxicity", "attack_success")):
        said.append("Its safety was not measured.")
    return "\n".join(["## Intended use and limits", "", *(f"- {s}" for s in said)])


def _cost(run: Run, numbers: dict[str, Any]) -> str:
    if numbers["seconds"] is None:
        return ""
    value, unit = duration(numbers["seconds"])
    said = f"{number(value)} {unit} on {numbers['device'] or 'a device that is not known'}"
    if numbers["processes"] and numbers["processes"] > 1:
        said += f" times {numbers['processes']}"
    if numbers["peak_memory_mb"]:
        said += f", at most {number(numbers['peak_memory_mb'])} MB"
    whole = "The whole report: `report.html` of" if run.evaluated else "It was made in"
    return f"## Cost of the training\n\n{said}. {whole} the run `{plain(run.folder)}`."


def _cell(value: Any) -> str:
    return plain(value).replace("|", "\\|")
