"""The stage `evaluate`: what a trained model gained, and at what price, on prompts and pairs it was not trained on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from prefine.durable import write_json
from prefine.errors import PrefineError, nearest
from prefine.evaluate.comparison import MODES, adjust, compare, differences, siblings
from prefine.evaluate.cooled import match_diversity
from prefine.evaluate.divergence import kl, reward_accuracy
from prefine.evaluate.judged import stage as judged
from prefine.evaluate.metrics.base import Rows
from prefine.evaluate.prompts import asked_ids, held_out, load
from prefine.evaluate.rows import write_rows
from prefine.evaluate.samples import Answers, Models, Sampling, distinct, unused_name
from prefine.evaluate.scoring import build, corpus_differences, corpus_values, score
from prefine.evaluate.tasks import harness
from prefine.evaluate.tasks.stage import task_results
from prefine.progress import Progress
from prefine.recipe import Evaluate, Model, Recipe
from prefine.registry import metrics, objectives
from prefine.rundir import Counts, RunDir, StageDir
from prefine.schema import Group, digest

SCORES = "scores.json"


def run(
    recipe: Recipe,
    folder: StageDir,
    *,
    train: StageDir | None,
    data: StageDir,
    pairs: StageDir | None,
    run: RunDir,
    progress: Progress,
) -> tuple[Counts, dict[str, Any]]:
    """Measure the result of `train` (None: the start model itself) and write scores.json and the scored responses.

    Prompts are the held-out part of `data`, or the recipe's `evaluate.data`; pairs those of `pairs` that are held out.
    What cannot be measured is named in `absent` with the reason.
    """
    if recipe.evaluate is None:
        raise PrefineError("the recipe has no section 'evaluate'")
    groups, counts = held_out(recipe, data, folder, progress)
    work = Evaluation(recipe, recipe.evaluate, folder, train, pairs, run, progress, groups)
    scores = work.measure()
    if lost := len(groups) - len(work.groups):
        counts.rows_out -= lost
        counts.drop("prompt leaves no room for a response", lost)
    write_rows(folder, work.groups, work.answers)
    write_json(folder.path / SCORES, scores)
    facts = {
        "name": work.name,
        "train_key": scores["train_key"],
        "comparable": scores["comparable"],
    }
    return counts, {"content": "scores", "evaluation": facts}


@dataclass
class Evaluation:
    """One evaluation: the models, the prompts they answer, and the metrics that score the answers.

    `answers` holds them by model (`model`, `start`, `cooled_start`, or a run's name) and mode (`greedy`, `sample`).
    """

    recipe: Recipe
    section: Evaluate
    folder: StageDir
    train: StageDir | None
    pairs: StageDir | None
    run: RunDir
    progress: Progress
    groups: list[Group]
    answers: dict[str, dict[str, Answers]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = self.recipe.model.model_copy(update={"lora_r": None})
        self.trained = self._model(str(self.train.path / "model")) if self.train else self.start
        self.name = self.train.path.name.rsplit("-", 1)[0] if self.train else "start"
        self.ours = "model" if self.train else "start"
        self.models = Models(self.start)
        self.sampling = Sampling(
            self.run,
            self.models,
            self.section.max_new_tokens,
            self.recipe.seed,
            self.plain_text,
            self.progress,
        )
        self.metrics = build(self.section.metrics, self.groups)
        self.win_by = self._win_by()
        self.benchmarks = judged.build(self.section.benchmarks)
        self.task_manager = harness.check(self.section.tasks) if self.section.tasks else None

    @property
    def plain_text(self) -> bool:
        return (self.section.data or self.recipe.data).plain_text

    def measure(self) -> dict[str, Any]:
        """Everything that the recipe asks for and that can be measured; see docs/evaluation.md for the keys."""
        self._answer()
        out: dict[str, Any] = {
            "schema_version": 1,
            "name": self.name,
            "train_key": self.train.key if self.train else None,
            "start": self.start.path,
            "win_by": self.win_by,
            "prompts": len(self.groups),
            "sampling": self._sampling_settings(),
            "comparable": self._comparable(),
            "kl": self._kl(),
            "reward_accuracy": self._reward_accuracy(),
            "cooled_start": self._cooled_start(),
        }
        out["metrics"] = self._score()
        out["models"] = {
            name: {mode: self._summary(a) for mode, a in modes.items()} for name, modes in self.answers.items()
        }
        out["win"] = self._wins()
        out["differences"] = self._differences()
        if out["cooled_start"] and self.win_by:
            out["cooled_start"] |= self._compare(self.answers["cooled_start"]["sample"], "sample")
        out["tasks"] = self._tasks()
        out["benchmarks"] = self._benchmarks()
        out["absent"] = self.absent
        return out

    def _model(self, path: str) -> Model:
        """Another model that is loaded and prompted as the start is."""
        return self.start.model_copy(update={"path": path, "revision": None})

    def _win_by(self) -> str | None:
        """The metric that decides win rates: the recipe's, or the first for which higher is better."""
        able = [m.name for m in self.metrics if m.higher_is_better]
        wanted = self.section.win_by
        if wanted is not None and wanted not in able:
            raise PrefineError(f"evaluate.win_by: no metric '{wanted}' can decide a win rate{nearest(wanted, able)}")
        return wanted or next(iter(able), None)

    def _sampling_settings(self) -> dict[str, Any]:
        s = self.section
        return {
            "num_samples": s.num_samples,
            "temperature": s.temperature,
            "max_new_tokens": s.max_new_tokens,
            "seed": self.recipe.seed,
        }

    def _comparable(self) -> str:
        """Two evaluations with the same digest may be compared: same prompts, sampling and metrics."""
        sampling = {k: v for k, v in self._sampling_settings().items() if k != "seed"}
        blocks = [metrics.check(b) for b in self.section.metrics]
        return digest([asked_ids(self.groups), sampling, blocks])[:16]

    def _answer(self) -> None:
        """Greedy responses and samples of the trained model, the start, and the runs to compare with."""
        if not self.groups:
            self.absent["responses"] = "there are no held-out prompts"
            return
        if self.train:
            self.answers["model"] = self._modes(self.name, self.trained)
        self.answers["start"] = self._modes("start", self.start)
        for path in self.section.against:
            name = unused_name(path, {"model", "start", "cooled_start", self.name, *self.answers})
            self.answers[name] = self._modes(name, self._model(path))
        drawn = [a.responses for modes in self.answers.values() for a in modes.values()]
        self.groups = [g for g in self.groups if all(responses[g.id] for responses in drawn)]

    def _modes(self, name: str, spec: Model) -> dict[str, Answers]:
        modes = {"greedy": self.sampling.answers(name, spec, self.groups, 1, 0.0)}
        if n := self.section.num_samples:
            modes["sample"] = self.sampling.answers(name, spec, self.groups, n, self.section.temperature)
        return modes

    def _kl(self) -> dict[str, Any] | None:
        samples = self.answers.get("model", {}).get("sample")
        if samples is None:
            self.absent["kl"] = "needs samples of a trained model (num_samples)"
            return None
        return kl(
            self.models,
            self.trained,
            self.start,
            self.groups,
            samples,
            self.plain_text,
            self.progress,
        )

    def _reward_accuracy(self) -> dict[str, Any] | None:
        if self.train is None or self.pairs is None:
            self.absent["reward_accuracy"] = "needs a trained model and pairs"
            return None
        found = reward_accuracy(
            self.models,
            self.trained,
            self.start,
            [e for e in self.pairs.examples() if e.split == "test"],
            max_length=self.recipe.train.max_length if self.recipe.train else None,
            overlong=self.recipe.train.overlong if self.recipe.train else "drop",
            plain_text=self.recipe.data.plain_text,
            progress=self.progress,
            beta=self._beta(),
        )
        if found is None:
            self.absent["reward_accuracy"] = "there are no held-out pairs"
        return found

    def _beta(self) -> float | None:
        """What turns log-ratios into implicit rewards; None for objectives whose reward is none."""
        block = objectives.check(self.recipe.train.objective) if self.recipe.train else {}
        beta = block.get("beta")
        needs_reference = block and objectives.find(str(block["name"])).attributes.get("needs_reference")
        return float(beta) if needs_reference and isinstance(beta, (int, float)) else None

    def _cooled_start(self) -> dict[str, Any] | None:
        """The temperature that matches the trained model's diversity; the start's answers at it join `answers`."""
        section, n = self.section, self.section.num_samples
        if not section.cooled_start:
            return None
        if "sample" not in self.answers.get("model", {}) or n < 2:
            self.absent["cooled_start"] = "needs at least two samples of a trained model"
            return None
        control = self.groups
        if section.control_data:
            control = load(self.recipe, section.control_data, self.folder, "control", self.progress)

        def drawn(name: str, spec: Model, groups: list[Group], temperature: float) -> Answers:
            return self.sampling.answers(name, spec, groups, n, temperature)

        target = distinct(drawn(self.name, self.trained, control, section.temperature)) or 0.0
        match = match_diversity(
            lambda t: distinct(drawn("start", self.start, control, t)) or 0.0,
            target,
            section.temperature,
        )
        cooled = drawn("start, cooled", self.start, self.groups, match.temperature)
        self.answers["cooled_start"] = {"sample": cooled}
        return {**asdict(match), "control_prompts": len(control)}

    def _score(self) -> dict[str, Any]:
        drawn = [a.responses for modes in self.answers.values() for a in modes.values()]
        return score(
            self.metrics, [(g, c) for d in drawn for g in self.groups for c in d[g.id]], self.recipe, self.progress
        )

    def _summary(self, answers: Answers) -> dict[str, Any]:
        """The means of a model's responses in one mode, and under `corpus` the metrics of all of them together."""
        names = [m.name for m in self.metrics]
        of_all = corpus_values(self.metrics, self._rows(answers))
        return {**answers.summary(names, seed=self.recipe.seed), "corpus": of_all}

    def _rows(self, answers: Answers) -> Rows:
        return [(g, [c.text for c in answers.responses[g.id]]) for g in self.groups]

    def _tasks(self) -> dict[str, Any] | None:
        """Task benchmarks by model, under the names of `models`."""
        section = self.section.tasks
        if section is None:
            return None
        return {
            role: task_results(self.run, self.models, name, spec, section, self.task_manager, self.progress)
            for role, (name, spec) in self._asked().items()
        }

    def _benchmarks(self) -> dict[str, Any] | None:
        """Judged benchmarks by name, and in each the models but the start, unless it is the one that is evaluated."""
        if not self.benchmarks:
            return None
        models = {role: m for role, m in self._asked().items() if role != "start" or not self.train}
        return judged.benchmark_results(
            self.benchmarks, models, self.start, self.sampling, self.recipe, self.folder.path, self.progress
        )

    def _asked(self) -> dict[str, tuple[str, Model]]:
        """By role, as in `models`, the name of each model and where it is."""
        asked = {"model": (self.name, self.trained)} if self.train else {}
        asked["start"] = ("start", self.start)
        taken = {"model", "start", "cooled_start", self.name}
        for path in self.section.against:
            name = unused_name(path, taken)
            taken.add(name)
            asked[name] = (name, self._model(path))
        return asked

    def _wins(self) -> list[dict[str, Any]]:
        """Our model against the start, the runs of `against`, and the models of this directory evaluated before."""
        if not self.answers or self.win_by is None:
            self.absent["win_rate"] = "no metric says which of two responses is better"
            return []
        wins = []
        for name, modes in self.answers.items():
            if name not in (self.ours, "cooled_start"):
                wins += [{"mode": m, **self._compare(modes[m], m)} for m in MODES if m in modes]
        for key, modes in siblings(self.run, self._comparable(), self.train.key if self.train else None).items():
            found = [m for m in MODES if m in self.answers[self.ours]]
            wins += [{"mode": m, "train_key": key, **self._compare(modes[m], m)} for m in found]
        adjust(wins)
        return wins

    def _differences(self) -> list[dict[str, Any]]:
        """Every model but the cooled start against the start, by each metric."""
        models = {name: modes for name, modes in self.answers.items() if name != "cooled_start"}
        if len(models) < 2:
            return []
        names = [m.name for m in self.metrics]
        return differences(models, "start", self.groups, names, seed=self.recipe.seed)

    def _compare(self, theirs: Answers, mode: str) -> dict[str, Any]:
        ours = self.answers[self.ours][mode]
        out = compare(ours, theirs, self.groups, str(self.win_by), seed=self.recipe.seed)
        found = corpus_differences(self.metrics, self._rows(ours), self._rows(theirs))
        return out | ({"corpus": found} if found else {})
