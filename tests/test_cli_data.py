"""`prefine data`: taking files in, writing them for other tools, and looking at both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefine.cli.app import app, guarded
from prefine.rundir import StageDir


@pytest.fixture
def prefine(capfd):
    """Runs a command in this process; gives its exit code, what it printed, and what it said on standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = guarded(lambda: app([str(a) for a in arguments], standalone_mode=False))
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def rows(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [{"prompt": f"q{i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(20)]
    lines.append({"prompt": "q", "chosen": "same", "rejected": "same"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    return tmp_path / "rows.jsonl"


def test_import_tells_formats_counts_and_licenses(prefine, rows):
    code, out, _ = prefine("data", "import", rows, "--out", "groups", "--license", "mit", "--test-fraction", "0.4")
    assert code == 0 and "rows.jsonl: format trl_preference" in out
    assert "21 rows in, 20 used, 1 dropped; 20 prompts (" in out and "40 responses, 20 comparisons" in out
    assert "dropped 1: identical_responses (rows.jsonl#20)" in out and "licenses: mit (20 prompts)" in out
    folder = StageDir(Path("groups"), "import", "", Path("."))
    assert folder.done and len(list(folder.groups())) == 20 and folder.manifest()["settings"]["license"] == "mit"
    code, out, _ = prefine("data", "import", rows, "--out", "groups", "--license", "mit", "--test-fraction", "0.4")
    assert code == 0 and "groups holds this import already" in out
    code, _, err = prefine("data", "import", rows, "--out", "groups", "--license", "cc-by-4.0")
    assert code == 1 and "holds a result of other settings or rows" in err


def test_an_import_is_data_for_a_recipe_and_for_check(prefine, rows):
    prefine("data", "import", rows, "--out", "groups")
    code, out, _ = prefine("data", "check", "groups")
    assert code == 0 and "format canonical" in out and "20 prompts, 20 pairs" in out


def test_settings_of_a_format(prefine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_text(json.dumps({"translation": {"de": "Ja", "en": "Yes"}}) + "\n")
    both = ("--format", "alma_parallel", "--set", "both_directions=true")
    assert prefine("data", "import", "p.jsonl", "--out", "both", *both)[0] == 0
    assert len(list(StageDir(Path("both"), "import", "", Path(".")).groups())) == 2
    for wrong, message in [
        (("--set", "both_directions=true"), "--set gives a setting of the format that --format names"),
        (
            ("--format", "alma_parallel", "--set", "both_direction=true"),
            "no setting 'both_direction'; did you mean 'both_directions'",
        ),
        (("--format", "alma_parallel", "--set", "both"), "a setting is written KEY=VALUE"),
        (("--format", "alma_paralel"), "unknown format 'alma_paralel'; did you mean 'alma_parallel'"),
    ]:
        code, _, err = prefine("data", "import", "p.jsonl", "--out", "other", *wrong)
        assert code == 1 and message in err and not Path("other").exists()


def test_export_writes_files_and_tells_how_many_rows(prefine, rows):
    prefine("data", "import", rows, "--out", "groups", "--license", "mit", "--test-fraction", "0.4")
    code, out, _ = prefine("data", "export", "groups", "--to", "trl", "--out", "trl")
    assert code == 0 and "written to trl" in out and "licenses: mit" in out
    assert sorted(p.name for p in Path("trl").iterdir()) == ["test.parquet", "train.parquet"]
    code, _, err = prefine("data", "export", "groups", "--to", "trl", "--out", "trl")
    assert code == 1 and "trl is there already" in err
    code, _, err = prefine("data", "export", "rows.jsonl", "--to", "trl", "--out", "x")
    assert code == 1 and "first `prefine data import` it" in err


def test_show_prints_rows_of_folders_and_files(prefine, rows):
    prefine("data", "import", rows, "--out", "groups")
    code, out, _ = prefine("data", "show", "groups", "--n", "2")
    assert code == 0 and out.count("\nprompt ") == 2 and "user: q0" in out and "rows.jsonl prefers 1 over 2" in out
    wanted = next(StageDir(Path("groups"), "import", "", Path(".")).groups()).id
    code, out, _ = prefine("data", "show", "groups", wanted[:10], "--json")
    assert code == 0 and json.loads(out)["id"] == wanted
    assert prefine("data", "show", "rows.jsonl", "-n", "1")[0] == 0
    code, _, err = prefine("data", "show", "groups", "nothing")
    assert code == 1 and "no row has an id that begins with 'nothing'" in err


def test_a_file_that_fits_no_format_names_the_nearest(prefine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.jsonl").write_text(json.dumps({"instruction": "Hi", "outptu": "a"}) + "\n")
    code, _, err = prefine("data", "import", "r.jsonl", "--out", "groups")
    assert code == 1 and "r.jsonl: no known format" in err and "'outptu' may be meant as 'output'" in err
