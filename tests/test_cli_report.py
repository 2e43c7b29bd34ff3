"""`prefine report`: any finished runs side by side, or the stage of a recipe."""

import json
import shutil

import pytest

from prefine.cli.report import runs_of
from prefine.errors import PrefineError
from tests.report.conftest import made_up_run
from tests.test_cli import prefine  # noqa: F401


@pytest.fixture
def runs(tmp_path):
    for name, method in (("first", "dpo"), ("second", "pad")):
        made_up_run(tmp_path / "runs" / name, {method: 0.1}, prompts=12)
    return tmp_path / "runs"


def test_a_run_keeps_its_report(prefine, runs):  # noqa: F811
    code, out, _ = prefine("report", str(runs / "first"), "--title", "A title", "--examples", "3")
    assert code == 0 and "dpo cannot be told from the start" in out.replace("\n", " ") and "p (Holm)" in out
    assert json.loads((runs / "first" / "results.json").read_text())["title"] == "A title"
    assert (runs / "first" / "report.html").read_text().count('class="card"') == 3
    assert (runs / "first" / "results.md").read_text().startswith("# A title")


def test_several_runs_make_one_report(prefine, runs, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    code, out, _ = prefine("report", "runs/first", "runs/second", "--out", "both")
    assert code == 0 and "done: both/report.html" in out
    data = json.loads((tmp_path / "both" / "results.json").read_text())
    assert data["run"] == "first + second" and [r["name"] for r in data["runs"]] == ["dpo", "pad"]
    assert {(c["a"], c["b"]) for c in data["comparisons"]} >= {("dpo", "start"), ("pad", "start")}
    assert prefine("report", "runs")[0] == 0 and (tmp_path / "report" / "report.html").exists()


def test_a_run_without_an_evaluation_gets_a_card(prefine, runs, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(runs / "second" / "evaluate")
    (place,) = (runs / "second" / "train").iterdir()
    (place / "model").mkdir()
    code, out, err = prefine("report", "runs/second")
    assert code == 1 and "runs/second has no finished evaluation to show" in err
    card = place / "model" / "README.md"
    assert "card of a model that was not evaluated" in out and "Not evaluated" in card.read_text()
    card.unlink()
    assert prefine("report", "runs")[0] == 0 and card.exists()
    assert json.loads((runs / "first" / "results.json").read_text())["run"] == "first"


def test_mistakes_are_named(prefine, runs, tmp_path):  # noqa: F811
    code, _, err = prefine("report", str(runs / "first"), str(runs / "secnd"))
    assert code == 1 and "did you mean 'second'" in err
    code, _, err = prefine("report", str(runs / "frist"), str(runs / "second"))
    assert code == 1 and "no such run directory" in err
    (tmp_path / "empty").mkdir()
    with pytest.raises(PrefineError, match="prefine evaluate"):
        runs_of(str(tmp_path / "empty"))
    code, _, err = prefine("report", "recipe.yaml", "--out", "there")
    assert code == 1 and "--out is for run directories" in err
