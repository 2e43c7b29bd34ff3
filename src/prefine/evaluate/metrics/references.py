"""The right answers that came with a prompt, and the languages of a translation."""

from __future__ import annotations

import json
from collections.abc import Sequence

from prefine.data.tasks import LANGUAGES
from prefine.errors import PrefineError, nearest
from prefine.evaluate.metrics.base import Asked, Metric
from prefine.progress import Step
from prefine.schema import Group, Score

RESPONSES = "responses"
"""As the name of a reference: the responses that the prompt has in the data."""

_CODES = {name.casefold(): code for code, name in LANGUAGES.items()}


def references_of(group: Group, key: str) -> list[str]:
    """The references of a prompt, in order, without empty ones.

    They are its `task_meta` under `key`, `key_1`, `key_2` ..., and the JSON list under `key` with an s; with the key
    `responses` those that it has in the data.
    """
    if key == RESPONSES:
        return [c.text for c in group.candidates if c.text.strip()]
    meta = group.task_meta
    names = [name for name in meta if name.startswith(f"{key}_") and name[len(key) + 1 :].isdecimal()]
    found = [meta[name] for name in (key, *sorted(names, key=lambda n: int(n[len(key) + 1 :]))) if name in meta]
    return [text for text in (*found, *_listed(group, f"{key}s")) if text.strip()]


def _listed(group: Group, name: str) -> list[str]:
    if name not in group.task_meta:
        return []
    try:
        value = json.loads(group.task_meta[name])
    except ValueError:
        value = None
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise PrefineError(f"the prompt {group.id[:12]}: task_meta '{name}' must be a JSON list of texts")
    return value


def require(metric: str, groups: Sequence[Group], key: str) -> None:
    """Refuse an evaluation in which no prompt has a reference."""
    if not groups or any(references_of(g, key) for g in groups):
        return
    if key == RESPONSES:
        raise PrefineError(f"{metric}: none of the {len(groups)} prompts came with a response, which is its reference")
    known = sorted({name for g in groups for name in g.task_meta})
    hint = nearest(key, known) or "; their task_meta is empty"
    raise PrefineError(f"{metric}: none of the {len(groups)} prompts has a reference, task_meta '{key}'{hint}")


class ReferenceMetric(Metric):
    """A metric that compares each response with the references of its prompt."""

    higher_is_better = True
    reference: str

    def check(self, groups: Sequence[Group]) -> None:
        require(self.name, groups, self.reference)

    def against(self, group: Group, references: list[str], response: str) -> float:
        """The value of a response, given one reference or more."""
        raise TypeError(f"{type(self).__name__} has no method against(group, references, response)")

    def score(self, group: Group, response: str) -> float | None:
        references = references_of(group, self.reference)
        return self.against(group, references, response) if references else None

    def scores(self, asked: Sequence[Asked], step: Step) -> list[Score]:
        out = super().scores(asked, step)
        for score in out:
            score.status = "ok" if score.value is not None else "no_reference"
        return out


def language_code(name: str) -> str:
    """The two-letter code of a language: `zh` for `zh_CN` and `Chinese`; other words stay, in lower case."""
    plain = name.strip().casefold()
    return _CODES.get(plain) or plain.replace("-", "_").split("_")[0]


def languages_of(group: Group) -> tuple[str, str]:
    """Source and target language of a translation's prompt, empty where its `task_meta` does not tell."""
    meta = group.task_meta
    return language_code(meta.get("src_lang", "")), language_code(meta.get("tgt_lang", ""))
