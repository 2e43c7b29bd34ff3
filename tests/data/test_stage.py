"""The data stage: parts, counts and facts."""

from __future__ import annotations

import json

from prefine.data import stage
from prefine.progress import Progress
from prefine.recipe import Data, Model, Recipe
from prefine.rundir import RunDir, run_stage


def make_recipe(tmp_path, n: int = 30) -> Recipe:
    rows = [{"prompt": f"Question {i}", "chosen": "yes", "rejected": "no"} for i in range(n)]
    rows.append({"prompt": "Empty", "chosen": "", "rejected": "no"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return Recipe(
        name="test", model=Model(path="none"), data=Data(path=str(tmp_path / "rows.jsonl"), test_fraction=0.3)
    )


def test_groups_are_written_with_balanced_counts(tmp_path):
    recipe = make_recipe(tmp_path)
    with RunDir(tmp_path / "run") as run:
        folder = run.stage("data", "rows", "k" * 64)
        assert run_stage(folder, {}, {}, lambda f: stage.run(recipe, f, Progress.silent()))
        groups = list(folder.groups())
        manifest = folder.manifest()
    assert len(groups) == 30 and {g.split for g in groups} == {"train", "test"}
    assert groups[0].comparisons[0].outcome == "a" and groups[0].source["row"] == "rows.jsonl#0"
    counts = manifest["counts"]
    assert (counts["rows_in"], counts["rows_out"], counts["dropped"]) == (31, 30, {"empty_response": 1})
    assert counts["extra"]["groups_train"] + counts["extra"]["groups_test"] == 30
    assert manifest["format"] == "trl_preference" and manifest["dropped_rows"] == {"empty_response": ["rows.jsonl#30"]}


def test_a_killed_stage_starts_afresh(tmp_path, monkeypatch):
    recipe = make_recipe(tmp_path)
    monkeypatch.setattr(stage, "ROWS_PER_PART", 10)
    with RunDir(tmp_path / "run") as run:
        folder = run.stage("data", "rows", "k" * 64)
        folder.start()
        stage.run(recipe, folder, Progress.silent())
        folder.parts[-1].unlink()
        stage.run(recipe, folder, Progress.silent())
        assert len(folder.parts) == 3 and len({g.id for g in folder.groups()}) == 30
