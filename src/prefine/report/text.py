"""Text out of data as text: escaped, and with nothing in it that acts on the page without being seen."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

LONGEST = 4_000
"""Characters of one response that are shown; what is beyond is counted."""

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Control characters but tab and line feed, and what turns, joins or hides text around it."""


def shown(text: object, longest: int = LONGEST) -> Markup:
    """`text` as HTML: unseen characters by their names, cut after `longest` characters."""
    whole = str(text)
    kept = whole[:longest]
    out, last = [], 0
    for found in _UNSEEN.finditer(kept):
        out += [escape(kept[last : found.start()]), _named(found.group())]
        last = found.end()
    out.append(escape(kept[last:]))
    if len(whole) > longest:
        out.append(Markup(' <span class="hint">[{} more characters]</span>').format(f"{len(whole) - longest:,}"))
    return Markup("").join(out)


def _named(character: str) -> Markup:
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "control character").lower()
    return Markup('<span class="unseen" title="{}">{}</span>').format(name, code)


def plain(text: object, longest: int = 200) -> str:
    """`text` for an attribute, a cell of Markdown or a terminal: one line without unseen characters."""
    line = _UNSEEN.sub("\ufffd", str(text)[: longest + 1].replace("\n", " ").replace("\t", " "))
    return line if len(line) <= longest else line[: longest - 1] + "\u2026"


def model_name(path: object) -> str:
    """A model as a reader knows it: a hub's or an embedded name as it is, of a folder the part that tells it apart."""
    text = str(path)
    if not text.startswith(("/", "~", ".")) and "\\" not in text:
        return plain(text)
    parts = [p for p in text.replace("\\", "/").split("/") if p not in ("", ".", "..", "~")]
    return plain(parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1] if parts else text)
