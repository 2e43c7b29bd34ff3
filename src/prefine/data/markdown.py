"""HTML of question-and-answer sites as Markdown."""

from __future__ import annotations

import re

from prefine.errors import missing_extra

_BLANK = re.compile(r"\n{3,}")


def from_html(html: str) -> str:
    """The Markdown of `html`: code blocks, lists, links, quotes and emphasis stay, letters are not escaped."""
    try:
        from markdownify import markdownify
    except ImportError as error:
        raise missing_extra("markdownify", "data") from error
    text = markdownify(html, heading_style="ATX", bullets="-", escape_asterisks=False, escape_underscores=False)
    return _BLANK.sub("\n\n", text).strip()
