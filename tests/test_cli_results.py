"""The table that a run ends with."""

import json

from prefine.cli.results import show_results


def test_one_line_per_model_and_blanks_where_nothing_was_measured(tmp_path, capsys):
    greedy = {"value": 0.5, "low": 0.4, "high": 0.6}
    runs = [
        {
            "name": "dpo",
            "seed": 0,
            "win_rate": {"value": 0.981, "low": 0.97, "high": 0.99},
            "gold": {"greedy": greedy},
            "kl": {"value": 1.234},
            "seconds": 12.7,
            "peak_memory_mb": 700.2,
        },
        {"name": "sft", "seed": 0, "win_rate": None},
    ]
    (tmp_path / "results.json").write_text(json.dumps({"start": {"gold": {"greedy": greedy}}, "runs": runs}))
    show_results(tmp_path)
    head, start, dpo, sft = capsys.readouterr().out.splitlines()
    assert "T = 1" not in head and "held-out" not in head
    assert head.split()[0] == "model" and start.split() == ["start", "0.500"]
    assert dpo.split() == ["dpo", "98.1", "[97.0,", "99.0]", "0.500", "1.23", "13", "700"]
    assert sft.split() == ["sft"]


def test_several_seeds_have_their_spread_and_starts(tmp_path, capsys):
    from prefine.report.stage import build
    from tests.report.conftest import made_up_run

    build(made_up_run(tmp_path / "r", {"dpo": 0.2, "pad": 0.1}, seeds=(0, 1, 2), prompts=20), tmp_path / "report.html")
    data = json.loads((tmp_path / "results.json").read_text())
    duel = data["comparisons"][-1]
    duel["over_seeds"] |= {"low": 0.4, "high": 0.9}
    duel["win_rate"] |= {"adjusted": 0.01}
    (tmp_path / "results.json").write_text(json.dumps(data))
    show_results(tmp_path)
    out = capsys.readouterr().out.splitlines()
    mean = data["methods"][0]["win_rate"]
    (line,) = [x for x in out if x.startswith("dpo  ")]
    assert f"{100 * mean['mean']:.1f}\u202f% ± {100 * mean['sd']:.1f}" in line and line.split()[1] == "3"
    assert any("over seeds" in x for x in out)
    (line,) = [x for x in out if x.startswith(f"{duel['a']} and {duel['b']}")]
    assert "[40.0, 90.0]" in line and line.rstrip().endswith("with these seeds")
