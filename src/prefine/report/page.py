"""One self-contained HTML page from collected runs. Everything that came from data is escaped; nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from prefine.report.answer import answer
from prefine.report.cautions import warnings
from prefine.report.collect import Collection
from prefine.report.findings import summary
from prefine.report.html import Report
from prefine.report.parts import parts
from prefine.report.text import plain, shown

HERE = Path(__file__).parent


def page(found: Collection, data: dict[str, Any], *, num_examples: int = 24) -> str:
    """The report as HTML text: the answer, what to be careful about, and every part that has data."""
    script = (HERE / "page.js").read_text()
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(shown=shown, plain=plain)
    return environment.get_template("page.html.jinja").render(
        data=data,
        answer=answer(data),
        who=summary(data)[0],
        warnings=warnings(data),
        parts=parts(Report(found, data, num_examples)),
        style=Markup((HERE / "page.css").read_text()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
