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
