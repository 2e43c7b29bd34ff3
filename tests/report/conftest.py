"""Made-up run directories: the files that stages leave behind, with invented numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from prefine.durable import write_json
from prefine.evaluate.calibration import calibration
from prefine.evaluate.statistics import mean, win_rate
from prefine.rundir import Counts, RunDir, StageDir
from prefine.schema import Group, Score, digest, make_candidate, make_group

FAMILIES = {
    "chat": "name two fruits from: saw, plum, hammer, pear, fig. be polite.",
    "mt": "translate: the old teacher sees the small red boats",
    "sum": "anna sold a boat. ben met a nurse. anna found two keys. summarize what anna did.",
}
HOSTILE = '<script>window.hacked = 1; console.error("executed")</script><img src="http://evil.example/x.png">'
SAMPLES = 4
ANSWERS = ("plum and fig", HOSTILE, "no fruit here")
STRANGE = (
    "</script><script>window.hacked = 2</script>",
    '<img src=x onerror="window.hacked = 3">',
    "left \u202eto right\u202c",
    "\x1b[31mred\x1b[0m",
    "x" * 100_000,
    '" onmouseover="window.hacked = 4" x="',
    "<!-- --> &lt;b&gt; ]]> {{ 7 * 7 }}",
    "\u2067\u200bhidden\u2069 null \x00 next",
)
"""Responses that would do something if they were not shown as text."""


def made_up_run(
    path: Path,
    methods: dict[str, float],
    *,
    seeds: tuple[int, ...] = (0,),
    prompts: int = 120,
    metric: bool = True,
    strange: bool = False,
    drift: bool = False,
) -> RunDir:
    """A finished run: `methods` maps an objective's name to how much better than the start it answers.

    With `strange` the greedy responses are those of `STRANGE` in turn, as are the reasons of the judge and what was
    sampled while training. With `drift` something was sampled.
    """
    run = RunDir(path)
    rng = np.random.default_rng(5)
    groups = _prompts(prompts)
    base = {g.id: float(rng.uniform(0.2, 0.7)) for g in groups}
    data = _stage(run, "data", "world", {"path": "tiny world"}, {}, _counts(2000 + prompts, {}))
    sampled = _stage(run, "generate", "hf", {"num_responses": 4}, {"groups": data.key}, _counts(2000, {}))
    labeled = _stage(run, "label", "choice", {}, {"groups": sampled.key}, _counts(2000, {"no_score": 3}))
    pairs = _stage(
        run, "pair", "best_worst", {}, {"groups": labeled.key}, _counts(1997, {"tie": 96, "identical_texts": 41})
    )
    for m, (method, gain) in enumerate(methods.items()):
        for seed in seeds:
            train = _train(
                run, pairs, method, seed, gain, m * 10 + seed, STRANGE if strange else ANSWERS if drift else ()
            )
            _evaluate(run, train, data, method, seed, gain, groups, base, metric=metric, strange=strange)
    (path / "recipe.yaml").write_text("name: demo\nmodel: {path: tiny-student}\n# <b>not bold</b>\n")
    return run


def _prompts(count: int) -> list[Group]:
    out = []
    for i in range(count):
        family = list(FAMILIES)[i % 3]
        content = f"{FAMILIES[family]} ({i})" + (HOSTILE if family == "sum" else "")
        group = make_group([{"role": "user", "content": content}], task_meta={"family": family, "row": HOSTILE})
        group.split = "test"
        out.append(group)
    return out


def _counts(rows: int, dropped: dict[str, int]) -> Counts:
    counts = Counts(rows)
    for reason, n in dropped.items():
        counts.drop(reason, n)
    counts.rows_out = rows - sum(dropped.values())
    return counts


def _stage(run: RunDir, stage: str, label: str, settings: dict, inputs: dict, counts: Counts | None) -> StageDir:
    folder = run.stage(stage, label, digest([stage, label, settings, inputs]))
    folder.start()
    folder.finish(settings, counts, inputs, 12.5, created=f"2026-01-01T00:00:0{len(inputs)}Z")
    return folder


def _train(
    run: RunDir, pairs: StageDir, method: str, seed: int, gain: float, order: int, drawn: Sequence[str]
) -> StageDir:
    rate = {"simpo": 1e-4}.get(method, 2e-4)
    objective = {"name": method, "beta": 0.1 if method == "dpo" else 2.5}
    settings = {
        "train": {"objective": objective, "learning_rate": rate, "batch_size": 32, "seed": seed},
        "model": {"lora_r": None, "dtype": "float32"},
    }
    folder = run.stage("train", method, digest([settings, pairs.key]))
    folder.start()
    rng = np.random.default_rng([seed, len(method)])
    with (folder.path / "metrics.jsonl").open("w") as f:
        for step in [1, *range(5, 121, 5)]:
            done = step / 120
            margin = gain * 6 * (1 - np.exp(-3 * done)) + rng.normal(0, 0.03)
            row = {
                "step": step,
                "epoch": step / 60,
                "seconds": step * 0.3,
                "tokens": step * 3000,
                "loss": float(np.log1p(np.exp(-margin)) + rng.normal(0, 0.01)) if step != 40 else "nan",
                "learning_rate": rate * (1 - done),
                "grad_norm": float(2 + rng.exponential(0.5)),
                "rewards/margins": float(margin),
                "rewards/accuracies": float(np.clip(0.5 + margin / 2, 0, 1)),
                "logps/chosen": float(-9 + 1.5 * done + rng.normal(0, 0.2)),
                "logps/rejected": float(-12 - 9 * gain * done + rng.normal(0, 0.2)),
                "lengths/chosen": float(11 + rng.normal(0, 0.2)),
                "lengths/rejected": float(13 + rng.normal(0, 0.2)),
            }
            f.write(json.dumps(row) + "\n")
            if step % 30 == 0:
                held_out = {k: row[k] for k in ("rewards/margins", "rewards/accuracies", "logps/chosen")}
                f.write(json.dumps({"step": step, **{f"eval/{k}": v * 0.9 for k, v in held_out.items()}}) + "\n")
    if drawn:
        _sampled(folder, method, seed, drawn)
    folder.finish(
        settings,
        _counts(1860, {"too_long": 2}),
        {"examples": pairs.key},
        40.0 + order,
        created=f"2026-01-01T00:01:{order:02d}Z",
        objective=objective,
        steps=120,
        tokens=360_000 + 9000 * order,
        train_seconds=36.0 + order * 1.7,
        peak_memory_mb=812.4,
        trainable_parameters=898_176,
        device="cpu",
        examples={"train": 1858, "test": 180},
        seed=seed,
    )
    return folder


def _sampled(folder: StageDir, method: str, seed: int, drawn: Sequence[str]) -> None:
    """What the policy wrote while it was trained: KL is a tenth of the step and of the seed, the length falls by one in
    30 steps."""
    points, rows = [], []
    for step in range(0, 121, 30):
        kl, spread = (step + seed) / 10, min(step, 1)
        points.append(
            {
                "step": step,
                "value": kl,
                "low": kl - spread,
                "high": kl + 2 * spread,
                "n": 4,
                "per_token": kl / 10,
                "tokens": 12.0 - step / 30,
                "finished": 0.75,
            }
        )
        for i in range(4):
            text = drawn[(step // 30 + i) % len(drawn)]
            rows.append(
                {
                    "step": step,
                    "id": f"row-{i}",
                    "prompt": f"prompt {i} {HOSTILE}",
                    "response": f"{text} ({method} at {step})",
                    "token_ids": [5, 6],
                    "logp": -3.5,
                    "finished": i < 3,
                }
            )
    for name, lines in (("kl.jsonl", points), ("samples.jsonl", rows)):
        (folder.path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def _evaluate(
    run: RunDir,
    train: StageDir,
    data: StageDir,
    method: str,
    seed: int,
    gain: float,
    groups: list[Group],
    base: dict[str, float],
    *,
    metric: bool,
    strange: bool,
) -> None:
    settings = {"num_samples": SAMPLES, "temperature": 1.0, "win_by": "gold" if metric else None}
    folder = run.stage("evaluate", method, digest([settings, train.key]))
    folder.start()
    rng = np.random.default_rng([seed, 7, len(method)])
    start_rng = np.random.default_rng(99)
    rows, drawn = [], {k: [] for k in ("start/greedy", "start/sample", "model/greedy", "model/sample", "cooled/sample")}
    for group in groups:
        row = Group(group.id, group.messages, task_meta=group.task_meta, split="test")
        level = base[group.id]
        for name, source, mean_score, mode, n in (
            ("start", start_rng, level, "greedy", 1),
            ("start", start_rng, level - 0.15, "sample", SAMPLES),
            (method, rng, level + gain, "greedy", 1),
            (method, rng, level - 0.15 + 1.4 * gain, "sample", SAMPLES),
            ("start, cooled", start_rng, level - 0.06, "sample", SAMPLES),
        ):
            scores = [float(np.clip(round(mean_score + source.normal(0, 0.12), 2), 0, 1)) for _ in range(n)]
            key = "cooled" if "cooled" in name else "start" if name == "start" else "model"
            drawn[f"{key}/{mode}"].append(scores)
            for i, score in enumerate(scores):
                text = f"sure! here is the answer {i} with {HOSTILE if score > 0.9 else 'plum and fig'} {score}" * (
                    1 + i % 2
                )
                if strange and mode == "greedy" and key == "model":
                    text = STRANGE[len(rows) % len(STRANGE)]
                role = {"cooled": "cooled_start"}.get(key, key)
                generator = {"role": role, "run": name, "mode": mode, "temperature": "1"}
                candidate = make_candidate(group.id, text, generator, f"{name}/{mode}/{i}")
                candidate.n_tokens, candidate.finish_reason = 12, "stop"
                reason = STRANGE[(len(rows) + 1) % len(STRANGE)] if strange else None
                candidate.scores = [Score("gold", score, rationale=reason)] if metric else []
                row.candidates.append(candidate)
        rows.append(row)
    folder.write_part(rows)
    write_json(folder.path / "scores.json", _scores(train, method, drawn, gain, metric=metric))
    facts = {"name": method, "train_key": train.key, "comparable": "same"}
    folder.finish(
        settings,
        _counts(len(groups) + 4, {"beyond num_prompts": 4}),
        {"data": data.key, "train": train.key},
        9.0,
        created="2026-01-01T00:02:00Z",
        content="scores",
        evaluation=facts,
    )


def _scores(train: StageDir, method: str, drawn: dict, gain: float, *, metric: bool) -> dict:
    def summary(name: str, words: float, distinct: float | None) -> dict:
        per_prompt = [sum(s) / len(s) for s in drawn[name]]
        return {
            "temperature": 1.0 if "sample" in name else 0.0,
            "tokens": mean([words * 1.3] * 3).as_dict(),
            "words": mean([words, words + 1, words - 1]).as_dict(),
            "truncated": 0.02,
            "distinct": distinct,
            "metrics": {"gold": mean(per_prompt).as_dict()} if metric else {},
        }

    def won(a: str, b: str, against: str) -> dict:
        out = {"against": against, **win_rate(drawn[a], drawn[b]).as_dict()}
        out["families"] = {f: win_rate(drawn[a][i::3], drawn[b][i::3]).as_dict() for i, f in enumerate(FAMILIES)}
        return out

    accuracy = {"pairs": 190, "ties": 1, "margin": 0.4}
    share = {k: {**mean([1, 0, 1, 1, 0, 1]).as_dict(), **accuracy} for k in ("logp", "start_logp", "avg_logp")}
    return {
        "schema_version": 1,
        "name": method,
        "train_key": train.key,
        "start": "tiny-student",
        "win_by": "gold" if metric else None,
        "prompts": len(drawn["start/greedy"]),
        "sampling": {"num_samples": SAMPLES, "temperature": 1.0, "max_new_tokens": 64, "seed": 0},
        "comparable": "same",
        "kl": {**mean([0.4 + gain * 3, 0.6 + gain * 3]).as_dict(), "temperature": 1.0, "per_token": 0.07},
        "reward_accuracy": {
            **mean([1, 1, 1, 0, 1]).as_dict(),
            **accuracy,
            "examples": 180,
            "dropped": {},
            "by": {**share, "start_avg_logp": share["logp"]},
            "calibration": calibration([str(i) for i in range(60)], [gain + i / 40 - 0.5 for i in range(60)], beta=2.0),
        },
        "cooled_start": {
            "temperature": 0.625,
            "distinct": 3.21,
            "target": 3.2,
            "steps": [[1.0, 3.8], [0.5, 2.9], [0.75, 3.5], [0.625, 3.21]],
            "control_prompts": 100,
            **(won("model/sample", "cooled/sample", "start, cooled") if metric else {}),
        },
        "models": {
            "model": {
                "greedy": summary("model/greedy", 6.0, 1.0),
                "sample": summary("model/sample", 4.4 if method == "simpo" else 6.1, 3.2),
            },
            "start": {"greedy": summary("start/greedy", 7.0, 1.0), "sample": summary("start/sample", 7.2, 3.81)},
            "cooled_start": {"sample": summary("cooled/sample", 6.7, 3.21)},
        },
        "win": [
            {"mode": "greedy", **won("model/greedy", "start/greedy", "start")},
            {"mode": "sample", **won("model/sample", "start/sample", "start")},
        ]
        if metric
        else [],
        "metrics": {"gold": {"higher_is_better": True, "scored": 100, "missing": {}}} if metric else {},
        "absent": {} if metric else {"win_rate": "no metric says which of two responses is better"},
    }


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory) -> RunDir:
    """Three methods, one seed: one clearly better, one a little, one worse than the start."""
    methods = {"dpo": 0.06, "simpo": 0.014, "pad": -0.05}
    return made_up_run(tmp_path_factory.mktemp("runs") / "demo", methods)
