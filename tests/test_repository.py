"""The chores of the repository work anywhere: no place of one machine in any file, every pin there, whole scripts."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [ROOT / "scripts" / "setup_env.sh", ROOT / "scripts" / "lock.sh", ROOT / ".ci" / "run"]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split(";")[0].strip().split("==") for line in lines)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned_within_its_range():
    from packaging.requirements import Requirement

    wanted = [Requirement(r) for r in project()["dependencies"]]
    extras = project()["optional-dependencies"]
    # vLLM brings a torch and a transformers of its own, so it is not pinned with the rest.
    wanted += [Requirement(r) for name, extra in extras.items() if name != "vllm" for r in extra]
    for requirement in wanted:
        if requirement.name == "prefine":
            continue
        version = pins()[normal(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} against {version}"


def test_constraints_hold_pins_and_nothing_else():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.!]+( ; .+)?", line), line
        assert "+" not in line.split(";")[0], "a local version is to be had on one machine only"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_scripts_parse_and_can_be_started(script):
    subprocess.run(["bash", "-n", script], check=True, timeout=20)
    assert os.access(script, os.X_OK)


def test_no_set_up_file_names_an_index_host():
    for path in [*SCRIPTS, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "constraints.txt"]:
        assert not re.search(r"https?://|--(extra-)?index-url", path.read_text()), path


def test_make_knows_the_chores():
    text = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=20
    ).stdout
    for target in ("setup", "demo", "test", "check", "lock", "clean"):
        assert f"make {target}" in text
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_hooks_need_no_network():
    import yaml

    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [r["repo"] for r in hooks["repos"]] == ["local"]
    assert all(h["language"] == "system" for r in hooks["repos"] for h in r["hooks"])


def test_the_license():
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License") and "The prefine authors" in text and project()["license"] == "MIT"
