"""results.json has the documented shape, and its numbers are those of the runs."""

import json
from pathlib import Path

import pytest

from prefine.errors import PrefineError
from prefine.report.collect import collect
from prefine.report.results import results
from prefine.report.stage import build
from prefine.rundir import RunDir
from tests.report.conftest import made_up_run

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "results_schema.md"
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}


def check(value, schema, definitions, where="results"):
    """The few keywords of JSON Schema that the document uses."""
    schema = definitions[schema["$ref"]] if "$ref" in schema else schema
    if "const" in schema:
        assert value == schema["const"], where
    names = schema.get("type")
    if names:
        wanted = tuple(TYPES[n] for n in ([names] if isinstance(names, str) else names))
        flat = tuple(t for w in wanted for t in (w if isinstance(w, tuple) else (w,)))
        assert isinstance(value, flat) and not isinstance(value, bool), f"{where}: {type(value)}"
    if isinstance(value, dict):
        for key in schema.get("required", []):
            assert key in value, f"{where}.{key} is missing"
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                check(value[key], inner, definitions, f"{where}.{key}")
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            check(item, schema["items"], definitions, f"{where}[{i}]")


def documented() -> dict:
    text = DOCUMENT.read_text()
    return json.loads(text[text.index("```json") + 7 : text.rindex("```")])


@pytest.mark.parametrize("metric", [True, False])
def test_results_have_the_documented_shape(tmp_path, metric):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.05, "pad": -0.02}, seeds=(0, 1), prompts=30, metric=metric)
    build(run, tmp_path / "out" / "report.html")
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    schema = documented()
    check(data, schema, schema["definitions"])
    table = {line.split("|")[1] for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")}
    named = {name.strip(" `") for cell in table for name in cell.split(",")}
    assert set(data) <= named and set(data["runs"][0]) <= named
    assert set(data) == set(schema["required"]) and set(data["methods"][0]) == set(
        schema["properties"]["methods"]["items"]["required"]
    )
    assert set(data["runs"][0]) == set(schema["properties"]["runs"]["items"]["required"])


def test_numbers_are_those_of_the_evaluation(demo_run):
    data = results(collect(demo_run))
    dpo = data["runs"][0]
    folder = next(r for r in demo_run.results("evaluate") if r.path.name.startswith("dpo"))
    scores = json.loads((folder.path / "scores.json").read_text())
    assert dpo["name"] == "dpo" and dpo["objective"] == "dpo" and dpo["seed"] == 0
    assert dpo["win_rate"]["value"] == scores["win"][0]["value"] and dpo["win_rate"]["against"] == "start"
    assert dpo["win_rate_t1"]["comparisons"] == 120 * 16
    assert dpo["cooled_start"]["temperature"] == 0.625
    assert dpo["length"]["t1"]["words_ratio"] == pytest.approx(6.1 / 7.2)
    assert dpo["seconds"] == 36.0 and dpo["peak_memory_mb"] == 812.4 and dpo["tokens"] == 360_000
    assert dpo["settings"]["train.learning_rate"] == 2e-4 and dpo["settings"]["evaluate.num_samples"] == 4
    assert [r["name"] for r in data["runs"]] == ["dpo", "simpo", "pad"]


def test_rows_balance_and_only_the_ancestors_count(demo_run):
    stray = demo_run.stage("pair", "unrelated", "z" * 64)
    if not stray.done:
        from prefine.rundir import Counts

        stray.start()
        stray.finish({}, Counts(0), {}, 0.0, created="2026-01-01T00:00:00Z")
    counts = collect(demo_run).counts
    assert [c["stage"] for c in counts][:4] == ["data", "generate", "label", "pair"]
    assert all(c["rows_in"] == c["rows_out"] + sum(c["dropped"].values()) for c in counts)
    assert not any("unrelated" in c["label"] for c in counts)


def test_seeds_of_a_method_are_summed_up(tmp_path):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.05}, seeds=(0, 1, 2), prompts=30)
    found = collect(run)
    data = results(found)
    assert list(found.methods) == ["dpo"]
    assert [r["name"] for r in data["runs"]] == ["dpo, seed 0", "dpo, seed 1", "dpo, seed 2"]
    values = [r["win_rate"]["value"] for r in data["runs"]]
    method = data["methods"][0]
    assert method["win_rate"]["mean"] == pytest.approx(sum(values) / 3) and method["win_rate"]["n"] == 3


def test_several_directories_make_one_page(tmp_path):
    runs = [made_up_run(tmp_path / name, {"dpo": 0.05}, seeds=(i,), prompts=15) for i, name in enumerate("ab")]
    found = collect([r.path for r in runs])
    assert [r.label for r in found.runs] == ["dpo, seed 0", "dpo, seed 1"]
    again = made_up_run(tmp_path / "c", {"dpo": 0.05}, seeds=(0,), prompts=15)
    assert {r.label for r in collect([runs[0], again]).runs} == {"a/dpo", "c/dpo"}


def test_a_run_without_evaluations_is_refused(tmp_path):
    with pytest.raises(PrefineError, match="no run directory"):
        collect(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PrefineError, match="prefine evaluate"):
        collect(RunDir(tmp_path / "empty"))


def test_a_setting_that_is_null_in_one_run_and_absent_in_another_differs():
    from types import SimpleNamespace

    from prefine.report.naming import differing

    runs = [SimpleNamespace(settings={"a": None, "b": 1}), SimpleNamespace(settings={"b": 1})]
    assert differing(runs) == ["a"]
