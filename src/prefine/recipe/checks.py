"""Mistakes in a recipe that no single key shows: stages, components and settings that do not fit together."""

from __future__ import annotations

import gzip
import json
import os
from typing import Any

from prefine import registry
from prefine.component_source import Entry
from prefine.errors import PrefineError, nearest
from prefine.recipe import Model, Pair
from prefine.recipe.text import Document, at, items
from prefine.type_words import shape, size_words

_NEUTRAL = {"prompt", "id", "task", "source", "split"}
"""Columns of formats with responses that prompts by themselves may have, too."""


def cross_checks(document: Document) -> None:
    """Whether each stage finds what it needs in the stages before it, and no setting is without effect.

    Sections that are wrong themselves are passed by.
    """
    _check_data_sections(document)
    _check_lora(document)
    _check_inputs(document)
    _check_scores(document)
    objective = _entry(registry.objectives, at(document.data, "train", "objective"))
    if objective is not None:
        _check_objective(document, objective)
    _check_metrics(document)


def _check_data_sections(document: Document) -> None:
    for keys in (("data",), ("evaluate", "data"), ("evaluate", "control_data")):
        form = at(document.data, *keys, "format")
        if isinstance(form, str):
            try:
                registry.formats.find(form)
            except PrefineError as error:
                document.add((*keys, "format"), str(error))
        if keys[0] == "evaluate" and at(document.data, *keys, "clean"):
            document.add((*keys, "clean"), "steps that clean are those of the recipe's own data; clean this one before")
        path = at(document.data, *keys, "path")
        if at(document.data, *keys, "arguments") and isinstance(path, str) and ":" not in path:
            document.add(
                (*keys, "arguments"), "only a function (module:function) takes arguments; the data is no function"
            )


def _check_lora(document: Document) -> None:
    """LoRA settings of a model without an adapter would do nothing."""
    model = at(document.data, "model")
    if not isinstance(model, dict) or model.get("lora_r") is not None:
        return
    if model.get("quantization") and isinstance(at(document.data, "train"), dict):
        document.add(
            ("model", "quantization"), "weights in 4 bits cannot be trained; set lora_r, which adds an adapter"
        )
    for key in ("lora_alpha", "lora_dropout", "lora_target_modules"):
        if model.get(key) not in (None, Model.model_fields[key].default):
            document.add(("model", key), "has no effect without lora_r, which says that there is an adapter")


def _check_inputs(document: Document) -> None:
    """A stage needs rows, and scores, that its data or an earlier stage provides."""
    data = document.data
    generates, labels, pairs = (_section(data, s) for s in ("generate", "label", "pair"))
    sampled = at(data, "generate", "num_responses")
    for key in ("keep", "min_unique"):
        number = at(data, "generate", key)
        if isinstance(number, int) and number > (sampled if isinstance(sampled, int) else 4):
            document.add(("generate", key), f"must be at most num_responses ({sampled or 4}), not {number}")
    if labels and not generates and _gives(data, "responses") is False:
        document.add(("label",), f"{_format(data)} has no responses to score; add a generate section")
    if pairs and not labels and _needs_scores(_pairer(data)):
        if generates:
            document.add(("pair",), "nothing scores the generated responses; add a label section")
        elif _gives(data, "scores") is False:
            document.add(("pair",), f"{_format(data)} has no scores to pair by; add a label section")
    if _section(data, "report") and not _section(data, "evaluate") and document.earlier is None:
        document.add(("report",), "there is nothing to report without an evaluation; add an evaluate section")


def _check_scores(document: Document) -> None:
    """Names of scores: each labeler has its own, and `pair.score` is one of them."""
    data = document.data
    names = _names(registry.labelers, items(data, "label", "labelers"))
    for i, name in enumerate(names):
        if name in names[:i]:
            text = f"two labelers give the score '{name}'; set as_name on one of them"
            document.add(("label", "labelers", i), text)
    if not names or not _section(data, "pair"):
        return
    score = at(data, "pair", "score")
    if score is None and len(set(names)) > 1 and _needs_scores(_pairer(data)) and not _reads_ratings(_pairer(data)):
        example = f"score: {names[0]}"
        document.add(("pair",), f"there are several scorers ({', '.join(names)}); say which decides, as in {example}")
    if _gives(data, "scores"):
        return
    for name in [score] if isinstance(score, str) else score if isinstance(score, dict) else []:
        # The aspect of a score stands behind a dot: `choice.p`.
        if name not in names and str(name).partition(".")[0] not in names:
            keys = ("pair", "score") if isinstance(score, str) else ("pair", "score", name)
            document.add(keys, f"no labeler gives the score '{name}'{nearest(str(name), names)}")


def _check_objective(document: Document, objective: Entry) -> None:
    """Examples must have the size that the objective takes, with scores if it reads them."""
    data, wanted = document.data, shape(objective.attributes)
    generates, labels = _section(data, "generate"), _section(data, "label")
    if _section(data, "pair"):
        _check_pairer(document, objective.name, wanted)
    elif wanted == "labels" and generates:
        text = "nothing says which of the generated responses are desirable; add a pair section"
        document.add(("train",), text)
    elif wanted == 2 and generates:
        more = "makes pairs of the generated responses; add a pair section"
        document.add(("train",), f"nothing {more}" if labels else f"nothing scores and {more} and a label section")
    elif objective.attributes.get("needs_scores") and not labels and _gives(data, "scores") is False:
        text = f"the objective '{objective.name}' needs scores and {_format(data)} has none; add a label section"
        document.add(("train", "objective", "name"), text)
    soft = at(document.data, "pair", "pairer", "ties") == "keep_soft"
    if soft and not objective.attributes.get("needs_scores"):
        text = (
            f"the objective '{objective.name}' makes no labels of scores, so that tied pairs would train one way round"
        )
        document.add(("pair", "pairer", "ties"), f"{text}; take ties: drop, or an objective such as mpo")
    most = objective.attributes.get("max_group_size")
    sampled = at(data, "generate", "keep") or at(data, "generate", "num_responses")
    if wanted is None and isinstance(most, int) and isinstance(sampled, int) and sampled > most:
        text = f"the objective '{objective.name}' takes at most {most} responses of a prompt, not {sampled}"
        document.add(("generate", "num_responses"), text)
    if _gives(data, "responses") is False and not generates:
        document.add(("train",), f"{_format(data)} has no responses to train on; add generate, label and pair sections")


def _check_pairer(document: Document, objective: str, wanted: int | str | None) -> None:
    pairer = _pairer(document.data)
    # Of a pair, the chosen response is the desirable one.
    fits = {"labels", 2} if wanted == "labels" else {wanted}
    if pairer is None or "group_size" not in pairer.attributes or shape(pairer.attributes) in fits:
        return
    fitting = [e.name for e in registry.pairers.entries().values() if shape(e.attributes) in fits]
    text = (
        f"the objective '{objective}' takes {size_words(wanted)}, but the pairer '{pairer.name}' gives "
        f"{size_words(shape(pairer.attributes))}; pairers that fit: {', '.join(fitting) or 'none'}"
    )
    written = isinstance(at(document.data, "pair", "pairer"), dict)
    document.add(("pair", "pairer", "name") if written else ("pair",), text)


def _check_metrics(document: Document) -> None:
    """Each metric has a name of its own, and `win_by` is one of them."""
    wanted = at(document.data, "evaluate", "win_by")
    names = _names(registry.metrics, items(document.data, "evaluate", "metrics"))
    for i, name in enumerate(names):
        if name in names[:i]:
            text = f"two metrics give the score '{name}'; set as_name on one of them"
            document.add(("evaluate", "metrics", i), text)
    if isinstance(wanted, str) and wanted not in names:
        hint = nearest(wanted, names) if names else "; there are no metrics"
        document.add(("evaluate", "win_by"), f"there is no metric '{wanted}'{hint}")


def _names(kind: registry.Registry, blocks: list[Any]) -> list[str]:
    """The names under which components give their values: `as_name`, or their own."""
    out = []
    for block in blocks:
        if isinstance(block, dict) and _entry(kind, block) is not None:
            settings, _ = kind.inspect(block)
            out.append(str(settings.get("as_name") or settings["name"]))
    return out


def _section(data: Any, name: str) -> bool:
    return isinstance(at(data, name), dict)


def _entry(kind: registry.Registry, block: Any) -> Entry | None:
    """The component that a block names, or None where the name is wrong (which is reported elsewhere)."""
    name = block.get("name") if isinstance(block, dict) else None
    try:
        return kind.find(name) if isinstance(name, str) else None
    except PrefineError:
        return None


def _pairer(data: Any) -> Entry | None:
    given = at(data, "pair", "pairer")
    return _entry(registry.pairers, Pair().pairer if given is None else given)


def _needs_scores(pairer: Entry | None) -> bool:
    """Whether a pairer reads scores: those that `pair.score` chooses, or ratings that it names itself."""
    if pairer is None:
        return False
    return bool(pairer.attributes.get("needs_scores", True)) or _reads_ratings(pairer)


def _reads_ratings(pairer: Entry | None) -> bool:
    return pairer is not None and any(s.name == "ratings" for s in pairer.settings)


def _format_name(data: Any) -> Any:
    """The format that the data is said to have; it is named, or a block with its settings."""
    form = at(data, "data", "format")
    return form.get("name") if isinstance(form, dict) else form


def _format(data: Any) -> str:
    name = _format_name(data)
    return f"data of the format '{name}'" if name else f"the data ({at(data, 'data', 'path')})"


def _gives(data: Any, what: str) -> bool | None:
    """Whether the data gives `responses`, or may give `scores`; None where only reading it whole can tell."""
    if _section(data, "prompts"):
        return None
    entry = _entry(registry.formats, {"name": _format_name(data)})
    if entry is not None:
        tells = entry.attributes.get("tells")
    else:
        tells = "prompts" if _only_prompts(at(data, "data", "path")) else None
    without = ("prompts",) if what == "responses" else ("prompts", "responses")
    return None if tells is None else tells not in without


def _only_prompts(path: Any) -> bool:
    """Whether the first row of a local JSON Lines file has a prompt and nothing that a format reads as a response."""
    if not isinstance(path, str) or not path.endswith((".jsonl", ".jsonl.gz")) or not os.path.isfile(path):
        return False
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as lines:
            row = json.loads(next(lines))
    except (OSError, ValueError, StopIteration):
        return False
    if not isinstance(row, dict) or any(isinstance(v, (dict, list)) for k, v in row.items() if k != "prompt"):
        return False
    formats = registry.formats.entries().values()
    answers = {c for e in formats if e.attributes.get("tells") != "prompts" for c in e.attributes.get("columns", ())}
    return "prompt" in row and not answers & (set(row) - _NEUTRAL)
