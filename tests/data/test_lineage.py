"""A row's history over folders, from a pair back to the reply of a judge and the row of a file."""

import json

import pytest
from typer.testing import CliRunner

from prefine.cli.app import app
from prefine.data.lineage import history
from prefine.errors import PrefineError
from prefine.ledger import Ledger, Result
from prefine.rundir import StageDir
from prefine.schema import Score

runner = CliRunner()


def command(*arguments: str, code: int = 0) -> str:
    done = runner.invoke(app, ["data", *arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


@pytest.fixture
def folders(tmp_path):
    """A file that was imported, cleaned in two steps and paired."""
    rows = [{"prompt": f"Question {k}?", "responses": ["good", "bad"], "scores": [k / 10, 0.0]} for k in range(10)]
    rows.append({"prompt": "question 9?", "responses": ["other"], "scores": [0.5]})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows) + json.dumps({"prompt": ""}) + "\n")
    a, b, c, d = (str(tmp_path / name) for name in ("imported", "unique", "apart", "pairs"))
    command("import", str(file), "--out", a)
    command("dedup", a, "--out", b)
    command("select", b, "gap", "min=0.5", "--out", c)
    command("pair", c, "--pairer", "best_worst", "--out", d)
    return tmp_path


def rows_of(path, prompt: str):
    return next(g for g in StageDir(path, "data", "", path.parent).groups() if g.prompt == prompt)


def test_a_pair_is_followed_back_to_the_row_of_the_file(folders):
    group = rows_of(folders / "apart", "Question 7?")
    pair = next(e for e in StageDir(folders / "pairs", "pair", "", folders).examples() if e.group_id == group.id)
    found = history(pair.id, folders / "pairs")
    assert [v.folder.name for v in found.visits] == ["imported", "unique", "apart", "pairs"]
    assert [[d.step for d in v.decisions] for v in found.visits] == [
        [],
        ["exact_duplicates", "near_duplicates"],
        ["gap"],
        [],
    ]
    assert all(d.keep for v in found.visits for d in v.decisions)
    assert found.visits[0].rows[0].source["row"] == "rows.jsonl#7"
    assert [r.id for r in found.visits[3].rows] == [pair.id]
    for wanted in (group.id, group.id[:12], group.candidates[0].id, "rows.jsonl#7"):
        same = history(wanted, folders / "pairs")
        assert [[r.id for r in v.rows] for v in same.visits] == [[r.id for r in v.rows] for v in found.visits]


def test_a_dropped_row_is_found_where_it_was_dropped(folders):
    group = rows_of(folders / "imported", "Question 2?")
    found = history(group.id, folders / "pairs")
    assert [bool(v.rows) for v in found.visits] == [True, True, False, False]
    [last] = found.visits[2].decisions
    assert (last.step, last.keep, last.reason, last.facts["gap"]) == ("gap", False, "gap_too_small", 0.2)


def test_a_row_that_was_merged_goes_on_in_another(folders):
    first, second = rows_of(folders / "imported", "Question 9?"), rows_of(folders / "imported", "question 9?")
    gone, stays = sorted((first, second), key=lambda g: g.id, reverse=True)
    found = history(gone.id, folders / "pairs")
    assert {d.id: d.keep for d in found.visits[1].decisions if d.step == "exact_duplicates"} == {
        gone.id: False,
        stays.id: True,
    }
    assert [r.id for r in found.visits[2].rows] == [stays.id] and len(found.visits[2].rows[0].candidates) == 3


def test_what_was_dropped_while_reading_is_known_by_its_place(folders):
    found = history("rows.jsonl#11", folders / "pairs")
    assert [len(v.dropped) for v in found.visits] == [1, 0, 0, 0] and "empty_prompt" in found.visits[0].dropped[0]


def test_unknown_and_ambiguous_ids_are_errors(folders):
    with pytest.raises(PrefineError, match="know a row 'nothing-like-it'"):
        history("nothing-like-it", folders / "pairs")
    with pytest.raises(PrefineError, match="pair is no folder of rows"):
        history("rows.jsonl#1", folders / "pair")
    groups = list(StageDir(folders / "imported", "data", "", folders).groups())
    for g in groups:
        g.id = "same-start-" + g.id[:8]
    target = StageDir(folders / "alike", "data", "", folders)
    target.start()
    target.write_part(groups)
    with pytest.raises(PrefineError, match="several rows begin with 'same-start'"):
        history("same-start", folders / "alike")


def test_replies_behind_scores_come_from_the_ledger_of_the_run(tmp_path):
    from .clean.folders import folder_of, group_of

    group = group_of("Question", "a", "b")
    key = "k" * 64
    group.candidates[0].scores = [Score("judge", 4.0, "judge_single", refs=[key])]
    group.candidates[1].generator = {"model": "m", "ledger_key": "g" * 64}
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        for name, reply in ((key, "I rate it 4."), ("g" * 64, "b, said the model")):
            ledger.take({name: {"purpose": "test"}}, "openai", {"model": "m"})
            ledger.record(name, Result("ok", raw=reply))
    folder_of(tmp_path / "run" / "label" / "judge-0123456789", [group])
    found = history(group.id, tmp_path / "run" / "label" / "judge-0123456789")
    assert found.replies == {key: "I rate it 4.", "g" * 64: "b, said the model"}
    text = command("why", group.id, str(tmp_path / "run" / "label" / "judge-0123456789"))
    assert "I rate it 4." in text and "score judge 4" in text


def test_the_command_tells_it_in_words_and_as_json(folders):
    text = command("why", "rows.jsonl#2", str(folders / "pairs"))
    assert "gap: prompt" in text and "dropped (gap_too_small); gap: 0.2" in text and "it is not there" in text
    assert "from dataset rows.jsonl, row rows.jsonl#2" in text
    found = json.loads(command("why", "rows.jsonl#2", str(folders / "pairs"), "--json"))
    assert [v["stage"] for v in found["visits"]] == ["import", "clean", "clean", "pair"]
    assert found["visits"][2]["decisions"][0]["evidence"]["gap"] == 0.2


def test_a_folder_that_changed_is_told(folders):
    part = next((folders / "unique").glob("part-*.parquet"))
    (folders / "unique" / "_SUCCESS").unlink()
    (folders / "unique" / ".lock").unlink()
    groups = list(StageDir(folders / "unique", "data", "", folders).groups())
    part.unlink()
    StageDir(folders / "unique", "data", "", folders).write_part(groups[1:])
    notes = {v.folder.name: v.note for v in history(groups[1].id, folders / "pairs").visits}
    assert notes["unique"] == "its rows have changed since" and notes["imported"] == ""


def test_a_run_that_reads_a_cleaned_folder_is_followed_through_its_stages(folders):
    from prefine.pipeline import run_recipe
    from prefine.progress import Progress
    from prefine.recipe import Data, Model, Pair, Recipe

    clean = [{"name": "gap", "min": 0.65}]
    recipe = Recipe(
        name="run",
        output_dir=str(folders),
        model=Model(path="tiny-student"),
        data=Data(path=str(folders / "unique"), test_fraction=0.0, clean=clean),
        pair=Pair(pairer={"name": "best_worst"}),
    )
    run_recipe(recipe, progress=Progress.silent())
    kept, dropped = rows_of(folders / "unique", "Question 8?"), rows_of(folders / "unique", "Question 6?")
    found = history(kept.id, folders / "run")
    assert [v.stage for v in found.visits] == ["import", "clean", "data", "pair"]
    assert all(v.rows for v in found.visits) and found.visits[3].rows[0].group_id == kept.id
    found = history(dropped.id[:10], folders / "run")
    assert [bool(v.rows) for v in found.visits] == [True, True, False, False]
    assert found.visits[2].decisions[-1].reason == "gap_too_small"
