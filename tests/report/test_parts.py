"""Each part shows its data, and is left out where there is none."""

import copy

import pytest

from prefine.report.collect import collect
from prefine.report.html import Report
from prefine.report.parts import (
    benchmarks,
    calibration,
    comparisons,
    judges,
    length,
    lineage,
    metrics,
    parts,
    tasks,
    tradeoff,
)
from prefine.report.parts.length import by_length, equal_parts
from prefine.report.parts.responses import Answer, best
from prefine.report.results import results
from tests.report.conftest import made_up_run

ESTIMATE = {"value": 31.5, "low": 30.0, "high": 33.0, "n": 120}
SHARE = {"value": 0.25, "low": 0.2, "high": 0.3, "n": 400}


@pytest.fixture
def report(demo_run):
    found = collect(demo_run)
    return Report(found, copy.deepcopy(results(found)), 9)


def test_parts_come_in_order_and_have_names_of_their_own(report):
    found = [p.id for p in parts(report)]
    assert found[0] == "results" and len(set(found)) == len(found)
    assert found.index("comparisons") < found.index("tradeoff") < found.index("responses") < found.index("settings")


def test_parts_without_data_are_left_out(tmp_path):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.05}, prompts=6, metric=False)
    found = collect(run)
    shown = {p.id for p in parts(Report(found, results(found), 9))}
    assert shown == {"results", "tradeoff", "training", "calibration", "responses", "rows", "settings"}


def test_corpus_metrics_stand_with_tests_and_signatures(report):
    assert metrics.part(report) is None
    run = report.runs[0]
    run["corpus"] = {"greedy": {"bleu": ESTIMATE}}
    run["win_rate"]["corpus"] = {
        "bleu": {"value": 2.5, "low": 1, "high": 4, "bootstrap_p": 0.004, "randomization_p": 0.01}
    }
    run["signatures"] = {
        "bleu": {"signature": "nrefs:1|tok:13a", "higher_is_better": True, "scored": 7, "missing": {"no_reference": 2}}
    }
    report.data["start"]["corpus"] = {"greedy": {"bleu": {**ESTIMATE, "value": 29.0}}}
    html = str(metrics.part(report).body)
    for said in (
        "31.5",
        "[30.0, 33.0]",
        "29.0",
        ".004",
        ".010",
        "nrefs:1|tok:13a",
        "2 no_reference",
        "higher is better",
    ):
        assert said in html, said


def test_metrics_against_the_start(report):
    run = report.runs[0]
    run["metrics"]["greedy"]["toxicity"] = {**SHARE}
    gap = {"value": -0.1, "low": -0.2, "high": -0.05, "n": 400, "p_value": 0.001, "adjusted": 0.002, "detectable": 0.07}
    run["differences"] = [{"metric": "toxicity", "mode": "greedy", **gap}]
    run["signatures"] = {"toxicity": {"higher_is_better": False}}
    html = str(metrics.part(report).body)
    assert ".002" in html and "\u22120.100" in html and "0.0700" in html
    # less is better, so a fall is marked as a gain
    assert 'data-v="0.25" class="wins"' in html
    run["differences"][0]["adjusted"] = 0.2
    assert 'data-v="0.25" class="wins"' not in str(metrics.part(report).body)


def test_tasks(report):
    assert tasks.part(report) is None
    entry = {**SHARE, "metric": "acc,none", "shots": 25, "version": 1.0, "unweighted": {"value": 0.5}}
    report.runs[0]["tasks"] = {"mmlu": entry}
    report.data["start"]["tasks"] = {"mmlu": {**entry, "value": 0.275}}
    html = str(tasks.part(report).body)
    for said in ("25.0\u202f%", "\u22122.5", "acc,none", "50.0\u202f% unweighted", ">25<", ">400<"):
        assert said in html, said


def test_judged_benchmarks(report):
    assert benchmarks.part(report) is None
    line = {
        "win_rate": 61.25,
        "low": 55.0,
        "high": 67.0,
        "length_controlled_winrate": 58.5,
        "lc_low": 50.5,
        "lc_high": 66.0,
    }
    facts = {"kind": "alpaca_eval", "questions": 805, "baseline": "gpt", "judge": {"judge": "j-1"}}
    report.runs[0]["benchmarks"] = {
        "ae": {
            **facts,
            "scores": {
                **line,
                "n_parsed": 804,
                "notes": ["two verdicts failed"],
                "bounds": [60.5, 61.5],
                "orders": {"flip_rate": 0.125, "tie_rate": None},
            },
        }
    }
    rows = [{"category": "hard", "score": 12.5}, {"category": "creative", "score": 40.0}]
    report.runs[1]["benchmarks"] = {"hard": {**facts, "scores": {"by_category": rows}}}
    html = str(benchmarks.part(report).body)
    for said in (
        "61.2",
        "[55.0, 67.0]",
        "58.5",
        "[50.5, 66.0]",
        ">804<",
        "judge j-1",
        "two verdicts failed",
        "creative",
        "40.0",
        "[60.5, 61.5]",
        "order decides",
        "12.5\u202f%",
    ):
        assert said in html, said
    assert "level in the end" not in html and html.count(">with the failed ones<") == 1
    assert benchmarks.main_score(line) == ("length-controlled, win rate, %", "58.5 [50.5, 66.0]")
    assert benchmarks.main_score({"score": 3.0}) == ("score", "3.00") and benchmarks.main_score({})[1] == "\u2013"


def test_judges(report):
    agreement = {"pairs": 300, "prompts": 60, "accuracy": 0.8, "accuracy_interval": [0.7, 0.9], "kappa": 0.61}
    report.data["judges"] = {
        "labelers": [{"name": "choice", "model": "teacher", "responses": 200, "scored": 150, "flip_rate": 0.19}],
        "reports": [
            {
                "judge": "choice",
                "gold": {"scorer": "gold", **agreement, "kappa_interval": [0.5, 0.7]},
                "pairs": {"judged": 300, "tie_rate": 0.1},
                "position": {"flip_rate": 0.2},
                "length": {"judge": {"correlation": 0.4, "longer_wins": 0.7}},
                "canaries": {"empty": {"fell": 0.6}},
                "warnings": ["it falls for 60% of the canaries", "longer responses win"],
            }
        ],
        "between": [{"judges": ["choice", "likelihood"], **agreement, "kappa_interval": None}],
    }
    html = str(judges.part(report).body)
    for said in (
        "choice and gold (gold)",
        "choice and likelihood",
        "kappa 0.61",
        "[0.500, 0.700]",
        "75.0\u202f%",
        "60\u202f%",
    ):
        assert said in html, said
    assert "it falls for 60% of the canaries; longer responses win." in html
    report.data["judges"] = {"labelers": [], "reports": [], "between": []}
    assert judges.part(report) is None


def test_calibration_has_a_curve_and_an_error_for_each_model(report):
    html = str(calibration.part(report).body)
    assert html.count("<polyline") == 3 and html.count('class="reference"') == 1 and "calibration error" in html
    for run in report.runs:
        run["calibration"] = None
    assert calibration.part(report) is None


def test_quality_is_the_score_where_methods_began_with_different_models(report):
    assert "Win rate, greedy, by CPU seconds" in str(tradeoff.part(report).body)
    report.runs[0]["start"] = "another"
    html = str(tradeoff.part(report).body)
    assert "Gold, greedy, by CPU seconds" in html and "Win rate" not in html
    assert "what it took to make these is not counted" in html


def test_quality_stands_against_how_far_a_model_moved(report):
    report.runs[0]["kl"] = {"value": -0.25}
    html = str(tradeoff.part(report).body)
    assert "Win rate, greedy, by KL from the start" in html and "-0.25" not in html
    for run in report.runs:
        run["kl"] = None
    assert "by KL" not in str(tradeoff.part(report).body)


def test_lineage_tells_steps_sources_and_licenses(report):
    step = {"step": "dedup", "rows_in": 100, "rows_out": 90, "dropped": {"exact duplicate": 10}}
    report.data["counts"][0]["steps"] = [step]
    report.data["sources"] = [
        {"dataset": "org/x", "license": "cc-by-4.0", "revision": "abc", "url": "https://x", "prompts": 1200}
    ]
    html = str(lineage.part(report).body)
    for said in ("dedup", "10 exact duplicate", "90.0\u202f%", "org/x", "cc-by-4.0", "1,200", "96 tie"):
        assert said in html, said
    assert "A license is unknown" not in html


def test_comparisons_name_the_outcome(report):
    html = str(comparisons.part(report).body)
    assert "not certain" in html or "better" in html
    for c in report.data["comparisons"]:
        c["win_rate"] |= {"value": 0.3, "adjusted": 0.01}
    html = str(comparisons.part(report).body)
    assert "not certain" not in html and html.count('class="left loses"') == 6 and "better" not in html


def test_win_rate_by_length_keeps_every_prompt(report):
    run = report.found.runs[0]
    bins = by_length(run)
    assert sum(b["n"] for b in bins) in (0, 120) and [b["words"] for b in bins] == sorted(b["words"] for b in bins)
    assert length.part(report) is not None


def test_prompts_with_one_difference_stay_together():
    ids = [f"{i:02d}" for i in range(60)]
    value = {i: int(i) // 25 for i in ids}
    cut = equal_parts(ids, value, 5)
    assert [len(c) for c in cut] == [25, 25, 10] and [i for c in cut for i in c] == ids
    assert equal_parts(ids, dict.fromkeys(ids, 3), 5) == []
    # the last value has fewer prompts than a part may have
    assert [len(c) for c in equal_parts(ids[:54], value, 5)] == [25, 29]


def test_the_best_answer():
    def answers(*scores):
        return [Answer(str(i), None if i == 0 else "m", "", False, s) for i, s in enumerate(scores)]

    assert best(answers(0.1, 0.5, 0.2)) == "0" and best(answers(0.1, 0.2, 0.5)) == "1"
    assert best(answers(0.6, 0.5)) == "start" and best(answers(0.5, 0.5)) == "tie" and best(answers(None, None)) == ""
