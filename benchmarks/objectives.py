"""Trains every objective on the tiny world and measures what it did to the start model.

python benchmarks/objectives.py            -> results/objectives.csv and the table of docs/objectives.md

One run directory: the start model answers, the embedded teacher labels, and every objective trains from the same start
on the same labels. What is finished is not done again, so an interrupted study goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prefine import tiny_world
from prefine.data.chat import Encoded, encode
from prefine.errors import PrefineError
from prefine.evaluate.divergence import TIE, kl
from prefine.evaluate.samples import Answers, Models, Sampling
from prefine.evaluate.statistics import Estimate, mean, share, win_rate
from prefine.models.logps import response_logps
from prefine.pipeline import plan, run_recipe
from prefine.progress import Progress
from prefine.recipe import Model, Recipe
from prefine.recipe.variants import load_variants
from prefine.registry import objectives
from prefine.rundir import StageDir, versions
from prefine.schema import Group, digest

HERE = Path(__file__).parent
CSV = HERE / "results" / "objectives.csv"
MARKS = ("<!-- begin: written by benchmarks/objectives.py -->", "<!-- end -->")

RATE = 1.5e-4
"""For all objectives. Chosen on the `tune` prompts (`--split tune --prompts 300 --rate ...`)."""
SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "kd": ({"teacher": "tiny-teacher"}, "it has no default teacher"),
    "gkd": ({"teacher": "tiny-teacher", "max_new_tokens": 40}, "as for `kd`, and no answer is longer"),
}
"""Settings other than the defaults, and why."""
WATCHED: dict[str, tuple[str, ...]] = {
    "discopop": ("discopop/uphill", "rewards/margins"),
}
"""Held-out metrics that say why an objective does what it does."""
SAMPLES = 4
NEW_TOKENS = 40


def recipe_of(names: Sequence[str], seeds: Sequence[int], arguments: argparse.Namespace) -> dict[str, Any]:
    """One recipe whose variants are the objectives, each with examples of the kind it takes."""
    variants = {}
    for name in names:
        settings = SETTINGS.get(name, ({}, ""))[0]
        for seed in seeds:
            variants[name if seed == 0 else f"{name}.{seed}"] = {
                "pair.pairer": pairer_of(name),
                "train.objective": {"name": name, **settings},
                "train.learning_rate": arguments.rate or RATE,
                "train.seed": seed,
            }
    return {
        "name": arguments.output.name,
        "output_dir": str(arguments.output.parent),
        "model": {"path": "tiny-student"},
        "data": {
            "path": "prefine.tiny_world:prompts",
            "arguments": {"split": arguments.split, "n": arguments.prompts},
            "test_fraction": 0.15,
        },
        "generate": {
            "generator": {"name": "hf", "temperature": 1.0, "max_new_tokens": NEW_TOKENS},
            "num_responses": 4,
            "include_held_out": True,
        },
        "label": {
            "labelers": [
                {"name": "likelihood", "model": "tiny-teacher"},
                {"name": "choice", "model": "tiny-teacher", "template": "tiny_world"},
            ]
        },
        "pair": {"pairer": {"name": "best_worst"}, "score": {"likelihood": 0.5, "choice": 0.5}},
        "train": {
            "objective": {"name": "dpo"},
            "batch_size": 16,
            "max_steps": arguments.steps,
            "adam_beta2": 0.95,
            "eval_steps": arguments.steps,
            "eval_samples": 0,
        },
        "variants": variants,
    }


def pairer_of(name: str) -> dict[str, Any]:
    """Pairs where the objective takes them, also as two labeled responses; else the whole list, or the best response.

    The four responses of a prompt are the same in all cases.
    """
    wanted = objectives.find(name).attributes
    if wanted["group_size"] == 1:
        return {"name": "responses", "which": "best"}
    pairs = wanted["group_size"] == 2 or wanted["needs_labels"]
    return {"name": "best_worst"} if pairs else {"name": "ranked"}


@dataclass
class Measured:
    """A model on the held-out pairs and prompts."""

    pairs: list[list[tuple[float, int]]]
    answers: Answers
    gold: Sequence[Sequence[float | None]]
    tokens: list[float] = field(default_factory=list)


class Study:
    """The held-out pairs and prompts, the start model measured on them, and the comparison with it."""

    def __init__(self, recipe: Recipe, progress: Progress) -> None:
        assert recipe.pair is not None
        pair = recipe.pair.model_copy(update={"pairer": {"name": "best_worst"}})
        recipe = recipe.model_copy(update={"pair": pair, "train": None, "variant": "held-out-pairs"})
        self.run, self.start, self.models = run_recipe(recipe, progress=progress), recipe.model, Models(recipe.model)
        self.sampling = Sampling(self.run, self.models, NEW_TOKENS, recipe.seed, False, progress)
        stages = {p.stage: p.folder for p in plan(recipe, self.run, progress)}
        self.groups = sorted((g for g in stages["data"].groups() if g.split == "test"), key=lambda g: g.id)
        self.encoded = self._held_out_pairs(stages["pair"])
        self.begin = self._measure("start", self.start)

    def _held_out_pairs(self, folder: StageDir) -> list[Encoded]:
        """Best against worst, one pair for a prompt, so that prompts and pairs are resampled alike."""
        examples = sorted((e for e in folder.examples() if e.split == "test"), key=lambda e: e.id)
        assert len({e.group_id for e in examples}) == len(examples)
        return [
            encode(
                self.models.tokenizer(),
                e.prompt,
                e.responses,
                max_length=2048,
                overlong="drop",
                plain_text=False,
                finished=e.finished or None,
            )
            for e in examples
        ]

    def _measure(self, name: str, spec: Model) -> Measured:
        pairs = response_logps(self.models.get(spec), self.encoded)
        answers = self.sampling.answers(name, spec, self.groups, SAMPLES, 1.0)
        gold = [[_gold(g, c.text) for c in answers.responses[g.id]] for g in self.groups]
        tokens = [_mean([float(c.n_tokens or 0) for c in answers.responses[g.id]]) for g in self.groups]
        return Measured(pairs, answers, gold, tokens)

    def compare(self, name: str, folder: StageDir) -> dict[str, Any]:
        """One row: what training changed, each number with its 95 % interval over prompts."""
        spec = Model(path=str(folder.path / "model"))
        ours, start = self._measure(name, spec), self.begin
        row: dict[str, Any] = {}
        for key, power in {"accuracy": 1, "sum_accuracy": 0}.items():
            right, before = _ranked(ours.pairs, power), _ranked(start.pairs, power)
            _put(row, key, share(right))
            row[f"start_{key}"] = _mean(before)
            _put(row, f"{key}_gain", mean([a - b for a, b in zip(right, before, strict=True)]))
        moved = [[a[0] - b[0] for a, b in zip(x, y, strict=True)] for x, y in zip(ours.pairs, start.pairs, strict=True)]
        _put(row, "reward_accuracy", share([_step(c - r) for c, r in moved]))
        _put(row, "drift", mean([c for c, _ in moved]))
        _put(row, "drift_per_token", mean([m[0] / x[0][1] for m, x in zip(moved, ours.pairs, strict=True)]))
        _put(row, "rejected_drift", mean([r for _, r in moved]))
        found = kl(self.models, spec, self.start, self.groups, ours.answers, False, Progress.silent())
        row.update({"kl": found["value"], "kl_low": found["low"], "kl_high": found["high"]})
        row["kl_per_token"] = found["per_token"]
        _put(row, "tokens", mean(ours.tokens))
        row["start_tokens"] = _mean(start.tokens)
        _put(row, "gold", mean([_mean(g) for g in ours.gold]))
        row["start_gold"] = _mean([_mean(g) for g in start.gold])
        _put(row, "win_rate", win_rate(ours.gold, start.gold))
        return {**row, "pairs": len(self.encoded), "prompts": len(self.groups)}


def _put(row: dict[str, Any], key: str, found: Estimate) -> None:
    row.update({key: found.value, f"{key}_low": found.low, f"{key}_high": found.high})


def _gold(group: Group, text: str) -> float:
    return tiny_world.gold(group.prompt, text, group.task_meta)


def _mean(values: Sequence[Any]) -> float:
    return sum(values) / len(values)


def _step(gap: float) -> float:
    """1 for the chosen response ahead, 0 behind, one half for a tie."""
    return 0.5 if abs(gap) <= TIE else float(gap > 0)


def _ranked(pairs: list[list[tuple[float, int]]], power: int) -> list[float]:
    """Whether each chosen response has the higher log-prob over length**power: in sum (0) or per token (1)."""
    return [_step(c[0] / c[1] ** power - r[0] / r[1] ** power) for c, r in pairs]


def watched(name: str, folder: StageDir) -> dict[str, list[float]]:
    """Held-out metrics of a training at its end, and the same on the first batch, for those that are watched."""
    rows = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    first = next(r for r in rows if "loss" in r)
    last = next(r for r in reversed(rows) if "eval/loss" in r)
    return {m: [first[m], last[f"eval/{m}"]] for m in ("loss", *WATCHED.get(name, ())) if f"eval/{m}" in last}


def study(recipes: list[Recipe], arguments: argparse.Namespace, progress: Progress) -> list[dict[str, Any]]:
    """Train and measure every variant; a training that was refused is a row with its message."""
    rows, measured = [], None
    facts = {k: v for k, v in versions().items() if k in ("commit", "python", "torch", "transformers")}
    for i, recipe in enumerate(recipes):
        assert recipe.train is not None and recipe.variant is not None
        name = recipe.train.objective["name"]
        row: dict[str, Any] = {
            "objective": name,
            "seed": recipe.train.seed,
            "settings": json.dumps(SETTINGS.get(name, ({}, ""))[0]),
            "learning_rate": recipe.train.learning_rate,
            "examples": recipe.pair.pairer["name"] if recipe.pair else "",
            "steps": arguments.steps,
        }
        rows.append(row)
        try:
            run = run_recipe(recipe, progress=progress)
        except PrefineError as error:
            row["error"] = str(error)
            progress.line(f"{name}: {error}")
            continue
        measured = measured or Study(recipe, progress)
        folder = plan(recipe, run, progress)[-1].folder
        kept = run.path / "measured" / f"{recipe.variant}-{digest([folder.key, SAMPLES, NEW_TOKENS, 1])[:10]}.json"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps({**measured.compare(recipe.variant, folder), **facts, **hardware()}))
        manifest = folder.manifest()
        row.update(json.loads(kept.read_text()))
        row.update({"seconds": manifest["train_seconds"], "threads": manifest["threads"], "device": manifest["device"]})
        row["metrics"] = json.dumps(watched(name, folder))
        progress.line(f"{i + 1}/{len(recipes)} {_line(row)}")
    return rows


def hardware() -> dict[str, str]:
    """The processor's name and the number of its cores that this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        name = found[1]
    return {"processor": name, "cores": str(os.cpu_count())}


def _line(row: dict[str, Any]) -> str:
    keys = ("accuracy", "accuracy_gain", "sum_accuracy", "reward_accuracy", "kl", "tokens", "drift", "gold", "seconds")
    return f"{row['objective']}: " + ", ".join(f"{k} {row[k]:.3f}" for k in keys)


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """All numbers, a row per training."""
    names = list(dict.fromkeys(k for row in rows for k in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def page(rows: list[dict[str, Any]]) -> str:
    """The generated part of docs/objectives.md."""
    done = [r for r in rows if "error" not in r]
    first = done[0]
    rate = f"{RATE:.1e}".replace("e-0", "e-")
    head = (
        f"{len({r['objective'] for r in rows})} objectives, {first['steps']} steps of 16 examples each, AdamW with "
        f"a peak rate of {rate}; measured on {first['prompts']} held-out prompts with {SAMPLES} samples each and "
        f"{first['pairs']} held-out pairs. The start ranks {100 * first['start_accuracy']:.1f} % of the pairs right by "
        f"log-prob per token and {100 * first['start_sum_accuracy']:.1f} % by summed log-prob; its samples have "
        f"{first['start_tokens']:.1f} tokens and a gold score of {first['start_gold']:.3f}. {first['processor']}, "
        f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}, Python {first['python']}, torch "
        f"{first['torch']}, transformers {first['transformers']}, commit {first['commit']}. Settings are the defaults, "
        f"but for {'; '.join(f'`{n}` {_settings(s)} ({why})' for n, (s, why) in SETTINGS.items())}."
    )
    table = [
        "| objective | per token, % | gain | in sum, % | reward, % | KL | tokens | drift | per token | gold | s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in sorted(done, key=lambda r: (r["objective"], r["seed"])):
        cells = [
            _cell(r, "accuracy", 100, ".1f"),
            f"{100 * r['accuracy_gain']:+.1f} [{100 * r['accuracy_gain_low']:+.1f}, "
            f"{100 * r['accuracy_gain_high']:+.1f}]",
            f"{100 * r['sum_accuracy']:.1f}",
            _cell(r, "reward_accuracy", 100, ".1f"),
            _cell(r, "kl", 1, ".2f"),
            f"{r['tokens']:.1f}",
            _cell(r, "drift", 1, "+.2f"),
            f"{r['drift_per_token']:+.3f}",
            _cell(r, "gold", 1, ".3f"),
            f"{r['seconds']:.0f}",
        ]
        table.append(f"| {_name(r)} | " + " | ".join(cells) + " |")
    return "\n\n".join([head, "\n".join(table), drifts(done), exceptions(rows)])


def _name(row: dict[str, Any]) -> str:
    return f"`{row['objective']}`" + (f", seed {row['seed']}" if row["seed"] else "")


def _settings(block: dict[str, Any]) -> str:
    return ", ".join(f"`{k}: {v}`" for k, v in block.items())


def _cell(row: dict[str, Any], key: str, factor: float, form: str) -> str:
    value, low, high = (factor * row[key + end] for end in ("", "_low", "_high"))
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def drifts(done: list[dict[str, Any]]) -> str:
    """For which objectives the chosen response became more likely."""
    up = [_name(r) for r in done if r["drift_low"] > 0]
    open_ = [_name(r) for r in done if r["drift_low"] <= 0 <= r["drift_high"]]
    return (
        f"The chosen response became more likely with {', '.join(up) or 'none'}; the interval includes no change with "
        f"{', '.join(open_) or 'none'}; it became less likely with the other {len(done) - len(up) - len(open_)}."
    )


def exceptions(rows: list[dict[str, Any]]) -> str:
    """Objectives that are not above the start, or not surely so, with what was measured beside them."""
    lines = [f"- {_name(r)} was refused: {r['error']}" for r in rows if "error" in r]
    done = [r for r in rows if "error" not in r]
    for r in (r for r in done if r["accuracy_gain"] <= 0):
        lines.append(f"- {_name(r)} is not above the start: {_evidence(r)}.")
    for r in (r for r in done if r["accuracy_gain"] > 0 >= r["accuracy_gain_low"]):
        lines.append(f"- {_name(r)} is above the start, but the interval includes no gain: {_evidence(r)}.")
    surely = sum(r["accuracy_gain_low"] > 0 for r in done)
    text = f"Of {len(rows)} trainings, {surely} rank held-out pairs better than the start by log-prob per token, with "
    return text + "the whole interval of the paired gain above 0." + ("\n\n" + "\n".join(lines) if lines else "")


def _evidence(row: dict[str, Any]) -> str:
    parts = [
        f"gain {100 * row['accuracy_gain']:+.1f} points per token and {100 * row['sum_accuracy_gain']:+.1f} in sum",
        f"reward accuracy {100 * row['reward_accuracy']:.1f} %",
        f"drift {row['drift']:+.2f} nats chosen, {row['rejected_drift']:+.2f} rejected",
    ]
    for name, (first, last) in json.loads(row["metrics"]).items():
        parts.append(f"`{name}` {first:.4g} on the first batch, {last:.4g} on held-out examples at the end")
    return "; ".join(parts)


def write_page(text: str, path: Path) -> None:
    """Put the text between the page's marks."""
    old = path.read_text(encoding="utf-8")
    before, _, rest = old.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    if not after:
        raise SystemExit(f"{path} lacks the marks '{MARKS[0]}' and '{MARKS[1]}'")
    path.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of each training")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these objectives; docs and CSV stay as they are")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the order of the examples")
    parser.add_argument("--output", type=Path, default=Path("runs/objectives"), help="the run directory")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs" / "objectives.md", help="page with the table")
    parser.add_argument("--split", default="pref", help="prompts of the tiny world; `tune` to choose settings")
    parser.add_argument("--prompts", type=int, default=1200, help="prompts, of which 15 %% are held out")
    parser.add_argument("--rate", type=float, help="one learning rate for all, instead of the script's")
    arguments = parser.parse_args()
    started, progress = time.monotonic(), Progress()
    names = arguments.only or list(objectives.entries())
    arguments.output.mkdir(parents=True, exist_ok=True)
    written = arguments.output / "study.yaml"
    written.write_text(yaml.safe_dump(recipe_of(names, arguments.seeds, arguments), sort_keys=False))
    rows = study(load_variants(written), arguments, progress)
    write_csv(rows, arguments.output / "objectives.csv")
    if set(names) == set(objectives.entries()) and arguments.split == "pref" and not arguments.rate:
        write_csv(rows, CSV)
        write_page(page(rows), arguments.docs)
    progress.line(f"{len(rows)} trainings, {time.monotonic() - started:.0f} s; {arguments.output / 'objectives.csv'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
