import pytest

from prefine.errors import PrefineError
from prefine.evaluate.tasks.presets import PRESETS, Benchmark, benchmarks, files_digest
from prefine.evaluate.tasks.results import entry


def test_presets_are_those_of_the_open_llm_leaderboard():
    # Beeching et al. 2023, version 1: shots and metrics.
    assert {n: (b.task, b.shots, b.metric) for n, b in PRESETS.items()} == {
        "arc": ("arc_challenge", 25, "acc_norm,none"),
        "hellaswag": ("hellaswag", 10, "acc_norm,none"),
        "mmlu": ("mmlu", 5, "acc,none"),
        "truthfulqa": ("truthfulqa_mc2", 0, "acc,none"),
        "winogrande": ("winogrande", 5, "acc,none"),
        "gsm8k": ("gsm8k", 5, "exact_match,strict-match"),
        "bbh": ("leaderboard_bbh", 3, "acc_norm,none"),
    }


def test_names_suites_and_tasks_of_the_harness_each_once():
    found = benchmarks(["arc", "open_llm_v1", "piqa"])
    assert [b.name for b in found] == ["arc", "hellaswag", "mmlu", "truthfulqa", "winogrande", "gsm8k", "piqa"]
    assert found[-1] == Benchmark("piqa", "piqa", None, None)
    assert [b.shots for b in benchmarks(["arc", "piqa"], 0)] == [0, 0]


def test_local_tasks_are_told_apart_by_names_and_bytes(tmp_path):
    (tmp_path / "a.yaml").write_text("one")
    first = files_digest(str(tmp_path))
    assert files_digest(str(tmp_path)) == first
    (tmp_path / "a.yaml").write_text("two")
    second = files_digest(str(tmp_path))
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    assert len({first, second, files_digest(str(tmp_path))}) == 3


def results(**more):
    """What the harness returns for a group of two tasks of 1 and 3 questions."""
    return {
        "results": {
            "g": {"alias": "g", "acc,none": 0.5, "acc_stderr,none": 0.1, "acc_norm,none": 0.25},
            "one": {"name": "one", "sample_len": 1, "acc,none": 1.0, "acc_stderr,none": 0.3},
            "two": {
                "acc,none": 1 / 3,
                "acc_stderr,none": 0.4,
                "exact_match,strict": 0.0,
                "exact_match_stderr,strict": "N/A",
            },
        },
        "group_subtasks": {"g": ["inner", "two"], "inner": ["one"], "two": []},
        "n-shot": {"one": 5, "two": 5},
        "n-samples": {"one": {"original": 9, "effective": 1}, "two": {"original": 3, "effective": 3}},
        "versions": {"one": 1.0, "two": 2.0},
        **more,
    }


def test_a_task_by_its_metric_with_its_interval():
    found = entry(Benchmark("t", "two", None, None), results())
    assert (found["metric"], found["n"], found["shots"], found["version"]) == ("acc,none", 3, 5, 2.0)
    assert found["value"] == pytest.approx(1 / 3) and found["high"] - found["value"] == pytest.approx(
        0.4 * 1.96, abs=1e-4
    )
    assert found["metrics"]["exact_match_stderr,strict"] is None and "unweighted" not in found
    strict = entry(Benchmark("t", "two", 8, "exact_match,strict"), results())
    assert (strict["value"], strict["stderr"], strict["low"], strict["shots"]) == (0, None, None, 5)


def test_a_group_has_the_plain_mean_beside_the_weighted_one():
    found = entry(Benchmark("mmlu", "g", 5, "acc,none"), results())
    assert found["value"] == 0.5 and found["n"] == 4
    assert found["unweighted"] == {"value": pytest.approx(2 / 3), "stderr": pytest.approx(0.25), "tasks": 2}


def test_a_metric_that_the_task_does_not_report():
    with pytest.raises(PrefineError, match="does not report acc_nrm,none; did you mean 'acc_norm,none'"):
        entry(Benchmark("g", "g", None, "acc_nrm,none"), results())
    nothing = results(results={"g": {"alias": "g"}})
    with pytest.raises(PrefineError, match="aggregate_metric_list"):
        entry(Benchmark("g", "g"), nothing)
