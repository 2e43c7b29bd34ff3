"""`data.clean` of a recipe, and the commands."""

import json

import pytest
from typer.testing import CliRunner

from prefine.cli.app import app
from prefine.data.decisions import read_decisions
from prefine.pipeline import plan, run_recipe
from prefine.progress import Progress
from prefine.recipe.file import RecipeError, load_recipe
from prefine.rundir import RunDir, StageDir

RECIPE = """
name: cleaned
output_dir: {out}
model: {{path: tiny-student}}
data:
  path: {data}
  test_fraction: 0.2
  clean:
    - {{name: exact_duplicates}}
    - {{name: decontaminate, against: [{{path: bench.jsonl, fields: [q]}}]}}
    - {{name: gap, min: 0.25}}
"""
BENCH = "how many apples does the farmer have after the market closes"


@pytest.fixture
def recipe_file(tmp_path):
    rows = [{"prompt": f"Question {k}", "responses": ["a", "b"], "scores": [k / 20, 0.0]} for k in range(20)]
    rows += [{"prompt": "QUESTION  19", "responses": ["c"], "scores": [0.1]}]
    rows += [
        {"prompt": f"Well, {BENCH}?", "responses": ["a", "b"], "scores": [1.0, 0.0]},
        {"prompt": "", "responses": []},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "bench.jsonl").write_text(json.dumps({"q": BENCH}) + "\n")
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.format(out=tmp_path / "runs", data=tmp_path / "rows.jsonl"))
    return file


def data_key(file, *overrides: str) -> str:
    recipe = load_recipe(file, overrides)
    return plan(recipe, RunDir(recipe.run_path), Progress.silent())[0].folder.key


def test_the_data_stage_applies_the_steps_in_order(recipe_file):
    recipe = load_recipe(recipe_file)
    run = run_recipe(recipe, progress=Progress.silent())
    [folder] = run.results("data")
    manifest = folder.manifest()
    assert manifest["reading"]["rows_in"] == 23 and manifest["reading"]["dropped"] == {"empty_prompt": 1}
    assert [s["step"] for s in manifest["steps"]] == ["exact_duplicates", "decontaminate", "gap"]
    counts = manifest["counts"]
    held_out = {g.id for g in folder.groups() if g.split == "test"}
    assert counts["rows_in"] == 22 == counts["rows_out"] + sum(counts["dropped"].values())
    assert counts["dropped"]["duplicate_prompt"] == 1 and counts["dropped"]["contaminated"] == 1
    for g in folder.groups():
        assert g.id in held_out or max(c.scores[0].value for c in g.candidates) >= 0.25
    assert {d.step for d in read_decisions(folder.path)} == {"exact_duplicates", "decontaminate", "gap"}
    assert not list(folder.path.glob("*tmp*")) and len(folder.parts) == 1
    assert run_recipe(recipe, progress=Progress.silent()).results("data")[0].manifest() == manifest, "done already"


def test_steps_and_the_files_they_read_are_part_of_the_key(recipe_file, tmp_path):
    key = data_key(recipe_file)
    assert data_key(recipe_file) == key
    assert data_key(recipe_file, "data.clean.2.min=0.3") != key
    assert data_key(recipe_file, "data.clean=[]") != key
    (tmp_path / "bench.jsonl").write_text(json.dumps({"q": BENCH + " today"}) + "\n")
    assert data_key(recipe_file) != key


def test_without_steps_the_key_is_what_it_was(recipe_file):
    from prefine.rundir import stage_key

    recipe = load_recipe(recipe_file, ["data.clean=[]"])
    [planned] = plan(recipe, RunDir(recipe.run_path), Progress.silent())
    assert "clean" not in planned.settings
    assert planned.folder.key == stage_key("data", planned.settings, planned.inputs)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.clean=[{name: exact_duplicate}]", "did you mean 'exact_duplicates'"),
        ("data.clean=[{name: gap, mim: 1}]", "did you mean 'min'"),
        ("data.clean=[{name: gap, max: -1}]", "min must not be above max"),
        ("data.clean=[{name: decontaminate, against: [{path: bensh.jsonl}]}]", "did you mean 'bench.jsonl'"),
        ("evaluate={data: {path: rows.jsonl, clean: [{name: exact_duplicates}]}}", "the recipe's own data"),
    ],
)
def test_mistakes_are_told_when_the_recipe_is_read(recipe_file, override, message, monkeypatch):
    monkeypatch.chdir(recipe_file.parent)
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_file, [override])


def command(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["data", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_the_commands_from_a_file_to_pairs(recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("import", "rows.jsonl", "--out", "a")
    assert "duplicate_prompt" in command("dedup", "a", "--exact-only", "--out", "b")
    rehearsal = command("decontaminate", "b", "--against", "bench.jsonl:q", "--dry-run")
    assert "dropped: 1 contaminated" in rehearsal and "the farmer have after the market" in rehearsal
    command("decontaminate", "b", "--against", "bench.jsonl:q", "--out", "c")
    assert "moved" in command("split", "c", "--test-fraction", "0.5", "--out", "d")
    assert "selected" in command("select", "d", "random", "size=0.5", "--out", "e")
    told = command("mix", "{path: e, fraction_of_source: 2}", "{path: rows.jsonl, count: 3, name: more}", "--out", "f")
    assert "more: 3 training rows" in told and "(2 epochs)" in told
    command("pair", "d", "--pairer", "all_pairs", "min_gap=0.1", "--out", "g")
    manifest = StageDir(tmp_path / "g", "pair", "", tmp_path).manifest()
    assert manifest["lineage"][0]["path"] == str(tmp_path / "d") and manifest["settings"]["pairer"]["min_gap"] == 0.1
    assert "already done" in command("pair", "d", "--pairer", "all_pairs", "min_gap=0.1", "--out", "g")
    assert "leak" in command("leakage", "d")
    assert json.loads(command("leakage", "f", "--json"))["held_out_leaked"] == 0


def failure(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["data", *arguments])
    assert done.exit_code != 0
    return str(done.exception)


def test_commands_refuse_what_would_mix_or_lose_rows(recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("import", "rows.jsonl", "--out", "a")
    command("dedup", "a", "--out", "b")
    assert "other settings or rows" in failure("dedup", "a", "--threshold", "0.9", "--out", "b")
    assert "is the folder that is read" in failure("dedup", "a", "--out", "a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "part-00000.parquet").write_bytes(b"")
    assert "holds other files" in failure("dedup", "a", "--out", "mine")
    assert "prefine data import" in failure("dedup", "rows.jsonl", "--out", "x")
    assert "did you mean 'a'" in failure("dedup", "A", "--out", "x") or "valid names" in failure(
        "dedup", "A", "--out", "x"
    )
    assert "either a new folder" in failure("dedup", "a")
    assert "KEY=VALUE" in failure("select", "a", "gap", "0.5", "--out", "x")
    assert "did you mean 'gap'" in failure("select", "a", "gpa", "--out", "x")
    assert "mix before" in _mixed_kinds()


def _mixed_kinds() -> str:
    command("pair", "a", "--out", "pairs")
    return failure("mix", "{path: a, count: 1}", "{path: pairs, count: 1}", "--out", "x")


def test_an_interrupted_command_starts_afresh(recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("import", "rows.jsonl", "--out", "a")
    command("dedup", "a", "--out", "b")
    whole = [g.id for g in StageDir(tmp_path / "b", "clean", "", tmp_path).groups()]
    for name in ("_SUCCESS", "manifest.json"):
        (tmp_path / "b" / name).unlink()
    (tmp_path / "b" / "steps.tmp-dead").mkdir()
    assert "was not finished" in failure("pair", "b", "--out", "x")
    command("dedup", "a", "--out", "b")
    assert [g.id for g in StageDir(tmp_path / "b", "clean", "", tmp_path).groups()] == whole
    assert not (tmp_path / "b" / "steps.tmp-dead").exists()
