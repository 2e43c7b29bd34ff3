"""`prefine evaluate`: a recipe's stage, and judgments that exist already."""

from __future__ import annotations

import json

import pytest

from prefine.cli.app import app, guarded


@pytest.fixture
def prefine(capfd):
    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = guarded(lambda: app(list(arguments), standalone_mode=False))
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head = "model,index,preference,len_1,len_2,std_delta_len,not_gamed_baseline,instruction_difficulty"
    gamed = [f"base_verbose,{i},0.{i + 1},1,2,-0.{i},False,{i / 4 - 1}" for i in range(9)]
    (tmp_path / "df_gamed.csv").write_text("\n".join([head, *gamed]) + "\n")
    rows = [{"index": i, "preference": 1 + (i % 3) / 2, "len_1": 50, "len_2": 20 * (i + 1)} for i in range(9)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_a_recipe_needs_no_name_of_a_command(prefine, folder):
    for arguments in (
        ["evaluate", "nothing.yaml"],
        ["evaluate", "recipe", "nothing.yaml"],
        ["evaluate", "--debug", "nothing.yaml"],
    ):
        code, _, err = prefine(*arguments)
        assert code == 1 and "there is no recipe nothing.yaml" in err
    code, _, err = prefine("evaluate")
    assert code == 1 and "missing argument 'RECIPE'" in err
    (folder / "r.yaml").write_text("name: r\nmodel: {path: m}\ndata: {path: d.jsonl}\n")
    code, _, err = prefine("evaluate", "r.yaml", "evaluate.num_sample=3")
    assert code == 1 and "r.yaml (override): evaluate.num_sample: unknown key" in err


def test_the_help_names_both(prefine):
    for flag in ("--help", "-h"):
        code, out, _ = prefine("evaluate", flag)
        assert code == 0 and "RECIPE [KEY=VALUE]..." in out and "judgments" in out
    assert "RECIPE" in prefine("evaluate", "recipe", "--help")[1]


def test_judgments_as_a_table_and_as_json(prefine, folder):
    pytest.importorskip("sklearn")
    arguments = ("evaluate", "judgments", "mine.jsonl", "--benchmark", "alpaca_eval", "--C", "2.5", "--resamples", "30")
    code, out, _ = prefine(*arguments)
    lines = out.splitlines()
    assert code == 0 and lines[0] == "alpaca_eval"
    assert lines[1].split() == [
        "model",
        "win",
        "rate",
        "SE",
        "length-controlled",
        "LC",
        "SE",
        "C",
        "discrete",
        "n",
        "length",
    ]
    found = json.loads(prefine(*arguments, "--json")[1])
    (line,) = found["models"]
    # preferences 1, 1.5, 2 three times each
    assert line["win_rate"] == 50 and line["C"] == 2.5
    cells = lines[2].split()
    assert cells[:2] == ["mine", "50.0000"] and f"{line['length_controlled_winrate']:.4f}" in cells
    assert f"[{line['lc_low']:.2f}," in cells and cells[-2:] == ["9", "100"]


def test_notes_follow_the_table(prefine, folder):
    rows = [json.loads(r) for r in (folder / "mine.jsonl").read_text().splitlines()]
    (folder / "mine.jsonl").write_text("\n".join(json.dumps(r | {"preference": None}) for r in rows))
    code, out, _ = prefine("evaluate", "judgments", "mine.jsonl", "--benchmark", "alpaca_eval")
    assert code == 0
    assert "- no length-controlled win rate: no verdict could be read" in out
    assert "- mine: 9 of 9 verdicts failed" in out


def test_tables_of_the_other_benchmarks(prefine, folder):
    game = {"question_id": "1", "model": "m\x1b[2J", "judge": "j", "games": [{"score": "B>>A"}, {"score": "A=B"}]}
    (folder / "arena.jsonl").write_text(json.dumps(game))
    code, out, _ = prefine("evaluate", "judgments", "arena.jsonl", "--benchmark", "arena_hard", "--resamples", "0")
    assert code == 0 and "arena_hard v0.1" in out and "87.50" in out and "gpt-4-0314" in out and "\x1b" not in out
    rating = {"question_id": 81, "turn": 1, "model": "m", "judge": ["gpt-4", "single-v1"], "score": 7}
    (folder / "mt.jsonl").write_text(json.dumps(rating))
    code, out, _ = prefine("evaluate", "judgments", "mt.jsonl", "--benchmark", "mt_bench")
    assert code == 0 and "mt_bench single" in out and "7.0000" in out and "writing" in out
    pair = {
        "question_id": 81,
        "turn": 1,
        "model_1": "m",
        "model_2": "base",
        "g1_winner": "model_1",
        "g2_winner": "model_1",
        "judge": "j",
    }
    vote = {"question_id": 81, "turn": 1, "model_a": "m", "model_b": "base", "winner": "model_a", "judge": "expert_1"}
    (folder / "pair.jsonl").write_text(json.dumps(pair))
    (folder / "human.json").write_text(json.dumps([vote]))
    code, out, _ = prefine("evaluate", "judgments", "pair.jsonl", "--benchmark", "mt_bench", "--human", "human.json")
    assert (
        code == 0 and "mt_bench pairwise" in out and "- j, turn 1: agrees with people in 1 of 1 (100.0 %) votes" in out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["mine.json", "--benchmark", "alpaca_eval"],
            "there is no file or folder mine.json; did you mean 'mine.jsonl'?",
        ),
        (["mine.jsonl", "--benchmark", "alpaca"], "'alpaca' is not one of 'alpaca_eval', 'arena_hard', 'mt_bench'"),
        (["mine.jsonl"], "missing option '--benchmark'"),
        (["mine.jsonl", "--benchmark", "alpaca_eval", "--C", "0"], "--C"),
        (["mine.jsonl", "--benchmark", "arena_hard"], "mine.jsonl: row 1: no key 'games'"),
        (["mine.jsonl", "--benchmark", "mt_bench"], "mine.jsonl: row 1: no key 'score' or 'judgment'"),
    ],
)
def test_mistakes_are_one_message(prefine, folder, arguments, message):
    code, out, err = prefine("evaluate", "judgments", *arguments)
    assert code == 1 and message in " ".join(err.split()) and out == "" and "Traceback" not in err
