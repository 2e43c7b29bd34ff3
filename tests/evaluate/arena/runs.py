"""Made-up evaluated runs: the rows and manifests that the evaluate stage leaves behind."""

from __future__ import annotations

from pathlib import Path

from prefine.durable import write_json
from prefine.rundir import Counts, RunDir
from prefine.schema import Candidate, Group, Message, Score, candidate_id, digest, make_group


def prompt(i: int) -> Group:
    group = make_group([{"role": "system", "content": "be brief"}, {"role": "user", "content": f"question {i}"}])
    group.split = "test"
    return group


def evaluated(
    path: Path,
    name: str,
    texts: dict[int, str],
    *,
    start: dict[int, str] | None = None,
    scores: dict[int, float] | None = None,
    created: str = "2026-01-01T00:00:00Z",
    groups: dict[int, Group] | None = None,
    cut: bool = False,
) -> RunDir:
    """A run with an evaluation of the model `name`, whose greedy response to prompt i is `texts[i]`.

    `scores` are those of the metric `gold`; the metric `bad`, for which less is better, is their negative.
    """
    run = RunDir(path)
    train = run.stage("train", name, digest(["train", str(path), name]))
    train.start()
    (train.path / "model").mkdir()
    (train.path / "model" / "weights").write_text(name)
    train.finish({}, None, {}, 1.0)
    folder = run.stage("evaluate", name, digest(["evaluate", train.key, created]))
    folder.start()
    rows = []
    for i, text in texts.items():
        group = (groups or {}).get(i) or prompt(i)
        row = Group(group.id, group.messages, task_meta=dict(group.task_meta), split="test")
        row.candidates.append(_candidate(group.id, text, "model", name, "length" if cut else "stop"))
        if scores:
            row.candidates[0].scores = [Score("gold", scores[i]), Score("bad", -scores[i])]
        if start:
            row.candidates.append(_candidate(group.id, start[i], "start", "start", "stop"))
        rows.append(row)
    folder.write_part(rows)
    metrics = {"gold": {"higher_is_better": True}, "bad": {"higher_is_better": False}} if scores else {}
    write_json(folder.path / "scores.json", {"metrics": metrics})
    counts = Counts(len(rows))
    counts.rows_out = len(rows)
    facts = {"name": name, "train_key": train.key, "comparable": "same"}
    inputs = {"train": train.key, "model": "start-digest"}
    folder.finish({}, counts, inputs, 1.0, created=created, content="scores", evaluation=facts)
    return run


def _candidate(group: str, text: str, role: str, run: str, finish: str) -> Candidate:
    completion: list[Message] = [{"role": "assistant", "content": text}]
    generator = {"role": role, "run": run, "mode": "greedy", "temperature": "0"}
    return Candidate(candidate_id(group, completion, f"{role}/greedy/0"), completion, generator, finish, 5)
