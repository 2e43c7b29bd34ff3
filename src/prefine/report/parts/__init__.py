"""The parts of the page, one file each. A file with `ORDER` and `part` is a part; the page takes those with something
to show, by their order.

    ORDER = 55
    def part(report: Report) -> Part | None: ...
"""

from __future__ import annotations

import importlib
import pkgutil

from prefine.report.html import Part, Report


def parts(report: Report) -> list[Part]:
    """All parts that have data, in their order."""
    found = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    made = (module.part(report) for module in sorted(found, key=lambda m: m.ORDER))
    return [part for part in made if part is not None]
