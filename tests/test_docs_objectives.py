"""docs/objectives.md: its examples give what they show, its objective trains, its table has every objective."""

from __future__ import annotations

import csv
import doctest
import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from prefine.errors import PrefineError
from prefine.pipeline import run_recipe
from prefine.progress import Progress
from prefine.recipe import Recipe, Train
from prefine.registry import objectives
from tests.train.job import make_trainer

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "objectives.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def own_objective() -> str:
    (found,) = [b for b in blocks("python") if "(Objective)" in b]
    return found


def recipe_block() -> dict:
    (found,) = [yaml.safe_load(b) for b in blocks("yaml")]
    return found["train"]["objective"]


@pytest.fixture
def my_losses(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(own_objective())
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("my_losses", None)


def test_an_objective_of_ones_own_is_short():
    assert len(own_objective().splitlines()) <= 20


def test_a_recipe_names_it_by_import_path(my_losses):
    assert objectives.check(recipe_block()) == {"name": "my_losses:MyLoss", "beta": 0.2, "delta": 1.0}
    with pytest.raises(PrefineError, match=r"no setting 'bet'.*beta"):
        objectives.check({"name": "my_losses:MyLoss", "bet": 1.0})
    with pytest.raises(PrefineError, match="beta must be positive"):
        objectives.check({"name": "my_losses:MyLoss", "beta": -1.0})


def test_it_trains(my_losses, tmp_path):
    trainer = make_trainer(tmp_path / "run", recipe_block(), {"max_steps": 2})
    assert trainer.run()["steps"] == 2
    assert "rewards/accuracies" in trainer.evaluate()


def test_it_trains_from_a_recipe(my_losses, tmp_path, tiny_model_dir):
    rows = [{"prompt": f"say {i}", "chosen": f"{i}!", "rejected": f"no {i}"} for i in range(8)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    recipe = Recipe.model_validate(
        {
            "name": "own",
            "output_dir": str(tmp_path),
            "model": {"path": str(tiny_model_dir)},
            "data": {"path": str(tmp_path / "pairs.jsonl"), "test_fraction": 0.0},
            "train": {"objective": recipe_block(), "max_steps": 2, "batch_size": 4, "learning_rate": 1e-3},
        }
    )
    (done,) = run_recipe(recipe, progress=Progress.silent()).results("train")
    assert done.manifest()["steps"] == 2 and done.manifest()["objective"]["name"] == "my_losses:MyLoss"


def test_the_examples_give_what_they_show(my_losses):
    shown = "\n".join(b for b in blocks("python") if ">>>" in b)
    test = doctest.DocTestParser().get_doctest(shown, {}, PAGE.name, str(PAGE), 0)
    assert len(test.examples) >= 7
    output: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=output.append)
    assert not output, "".join(output)


def study() -> str:
    return TEXT.partition("<!-- begin: written by benchmarks/objectives.py -->")[2].partition("<!-- end -->")[0]


def test_the_study_has_every_objective():
    listed = re.findall(r"^\| `(\w+)`", study(), re.MULTILINE)
    refused = re.findall(r"^- `(\w+)` was refused", study(), re.MULTILINE)
    assert sorted({*listed, *refused}) == sorted(objectives.entries())


def test_the_table_is_that_of_the_results():
    with (ROOT / "benchmarks" / "results" / "objectives.csv").open(newline="", encoding="utf-8") as f:
        rows = {r["objective"]: r for r in csv.DictReader(f) if r["seed"] == "0"}
    assert sorted(rows) == sorted(objectives.entries())
    for name, shown in re.findall(r"^\| `(\w+)` \| ([\d.]+) \[", study(), re.MULTILINE):
        assert float(shown) == pytest.approx(100 * float(rows[name]["accuracy"]), abs=0.051)
    assert all(r["commit"] and r["torch"] and r["processor"] for r in rows.values() if not r.get("error"))


def test_what_the_page_names_is_there():
    entries = objectives.entries().values()
    known = {n for e in entries for n in [e.name, *e.aliases, *e.attributes, *(s.name for s in e.settings)]}
    known |= set(Train.model_fields) | {"token_mean", "statistics"}
    named = re.findall(r"`([a-z_]+)`", TEXT.partition("## On plain numbers")[0])
    assert len(named) > 50 and set(named) <= known
