"""What has to be quick or run on a laptop imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "accelerate", "peft", "datasets", "tokenizers", "pandas", "scipy"}

QUICK = 1.0
"""Seconds of processor time that help and the list of a kind may take; the list of all reads some 170 components."""


def modules_after(code: str) -> set[str]:
    """Top-level modules loaded in a new process after `code`."""
    text = (
        code + "\nimport sys, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import prefine",
        "import prefine.recipe.file, prefine.recipe.variants, prefine.registry, prefine.rundir, prefine.progress",
        "import prefine.cli.app",
        "import prefine.pipeline",
        "import prefine.data, prefine.models, prefine.objectives, prefine.generate, prefine.pair, prefine.label",
        "import prefine.train, prefine.evaluate, prefine.report, prefine.tiny_world",
        "import prefine.report.stage",
        "import prefine.pair.stage",
        "from prefine.registry import KINDS; [r.entries() for r in KINDS.values()]",
        "from prefine.registry import objectives; objectives.check({'name': 'dpo', 'beta': 0.2})",
    ],
)
def test_it_imports_nothing_heavy(code):
    assert not modules_after(code) & HEAVY


def test_importing_the_package_imports_none_of_its_dependencies():
    assert not modules_after("import prefine") & {"pydantic", "yaml", "pyarrow", "rich", "typer"}


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "objectives"], ["run", "--help"]])
def test_the_command_line_starts_quickly(arguments):
    resource = pytest.importorskip("resource", reason="measures processor time the POSIX way")

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "prefine", *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds(), seconds()) < QUICK * (2 if arguments == ["list"] else 1)
