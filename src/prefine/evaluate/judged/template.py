"""The texts that ask a judge of a benchmark: our own, or the official ones as their projects store them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prefine.errors import PrefineError, nearest
from prefine.label.templates import read_template, unforgeable
from prefine.schema import Message, digest

PROMPTS = Path(__file__).parent / "prompts"

_PART = re.compile(r"<\|im_start\|>\s*(system|user|assistant)\s*\n(.*?)<\|im_end\|>", re.DOTALL)

ALIASES = {
    "instruction": "question",
    "QUESTION": "question",
    "output_1": "a",
    "answer_a": "a",
    "ANSWER_A": "a",
    "output_2": "b",
    "answer_b": "b",
    "ANSWER_B": "b",
}
"""What official templates call a slot, and what it is here."""


@dataclass(frozen=True)
class Template:
    """A system text (may be empty) and a user text with slots in braces.

    Texts are filled in literally and in one go: what is filled in is never searched for slots. {mark} becomes digits
    that are in none of the texts shown, so that none of them can end its own section.
    """

    system: str
    user: str
    slots: tuple[str, ...]
    aliases: Mapping[str, str]

    def filled(self, texts: Mapping[str, str]) -> tuple[Message, ...]:
        """The messages to send; slots that the template does not have are ignored."""
        mark = unforgeable([self.system, self.user, *texts.values()], "mark")

        def value(found: re.Match[str]) -> str:
            name = self.aliases.get(found[1], found[1])
            return {**texts, "mark": mark}.get(name, found[0])

        parts = [("system", self.system), ("user", self.user)]
        return tuple({"role": r, "content": re.sub(r"\{(\w+)\}", value, text)} for r, text in parts if text)

    @property
    def hash(self) -> str:
        """12 hex characters that change with the text."""
        return digest([self.system, self.user])[:12]


def load(path: str | None, default: str, slots: Sequence[str], aliases: Mapping[str, str] | None = None) -> Template:
    """The template of a file; None is `default`, one of ours. A slot that is missing in it is an error.

    A file is plain text (the user's message), text with `<|im_start|>role` sections (AlpacaEval), or YAML with
    `prompt_template` and maybe `system_prompt` (Arena-Hard).
    """
    place = PROMPTS / default if path is None else Path(path)
    text = read_template(place)
    if place.suffix in (".yaml", ".yml"):
        system, user = _from_yaml(text, place)
    else:
        parts = {role: body.strip("\n") for role, body in _PART.findall(text)}
        system, user = parts.get("system", ""), parts.get("user", "") if parts else text
    return made(system, user, str(place), slots, aliases)


def made(system: str, user: str, where: str, slots: Sequence[str], aliases: Mapping[str, str] | None) -> Template:
    """A template of these texts, checked to have all slots."""
    known = {**ALIASES, **(aliases or {})}
    names: list[str] = re.findall(r"\{(\w+)\}", system + user)
    found = {known.get(name, name) for name in names}
    missing = [s for s in slots if s not in found]
    if missing:
        wanted = ", ".join(f"{{{s}}}" for s in missing)
        raise PrefineError(f"{where}: this template has no {wanted}; it has: {', '.join(sorted(found)) or 'no slots'}")
    return Template(system, user, tuple(slots), known)


def _from_yaml(text: str, place: Path) -> tuple[str, str]:
    try:
        values: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PrefineError(f"{place}: not YAML ({error})") from error
    user = values.get("prompt_template") if isinstance(values, dict) else None
    user = user[0] if isinstance(user, list) and user else user
    if not isinstance(user, str):
        raise PrefineError(f"{place}: no text under 'prompt_template'")
    return str(values.get("system_prompt") or ""), user


def fastchat(path: str) -> dict[str, tuple[str, str]]:
    """The system and user texts of FastChat's judge_prompts.jsonl, by name."""
    place = Path(path)
    out = {}
    for number, line in enumerate(read_template(place).splitlines(), 1):
        try:
            row = json.loads(line)
            out[str(row["name"])] = str(row.get("system_prompt") or ""), str(row["prompt_template"])
        except (ValueError, KeyError, TypeError) as error:
            raise PrefineError(f"{place}:{number}: 'name' and 'prompt_template' are wanted in a JSON object") from error
    return out


def named(found: Mapping[str, tuple[str, str]], name: str, path: str) -> tuple[str, str]:
    """One of them, or an error with the nearest name."""
    if name not in found:
        raise PrefineError(f"{path}: no prompt '{name}'{nearest(name, found)}")
    return found[name]
