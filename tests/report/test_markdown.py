"""The table for papers, and numbers as text."""

import copy

import pytest

from prefine.report.collect import collect
from prefine.report.markdown import Column, markdown
from prefine.report.phrases import chance, duration, interval_text, listed, spread_text
from prefine.report.results import results
from tests.report.conftest import made_up_run


@pytest.fixture
def data(demo_run):
    return copy.deepcopy(results(collect(demo_run), "A title"))


def rows(text: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_main_table(data):
    text = markdown(data)
    head, rule, start, dpo, simpo, pad = rows(text)
    assert text.startswith("# A title\n") and len({len(r) for r in (head, rule, start, dpo, simpo, pad)}) == 1
    assert [r[0] for r in (start, dpo, simpo, pad)] == ["start", "dpo", "simpo", "pad"]
    won = head.index("win, greedy")
    assert dpo[won].startswith("**") and "[" in dpo[won] and not pad[won].startswith("**")
    assert "Bold: the best of its column." in text and "95 % intervals" in text


def test_marks_say_what_is_certain_and_are_explained(data):
    for c in data["comparisons"]:
        c["win_rate"]["adjusted"] = 0.2 if c["a"] == "simpo" or c["b"] == "simpo" else 0.01
    head, _, _, dpo, simpo, pad = rows(markdown(data))
    won = head.index("win, greedy")
    assert dpo[won].endswith("\u2021**") and simpo[won].endswith("\u2020") and pad[won].endswith("]\u2021")
    assert "\u2021 differs from the start (p < 0.05, Holm)" in markdown(data)
    assert "\u2020 cannot be told from the best method" in markdown(data)


def test_what_was_not_measured_is_left_out(tmp_path):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.05}, prompts=6, metric=False)
    text = markdown(results(collect(run)))
    header = rows(text)[0]
    assert not any("win" in h or "gold" in h for h in header) and "reward accuracy" in header
    assert "**" not in text and "\u2021" not in text


def test_corpus_metrics_and_tasks_have_a_table_of_their_own(data):
    for i, run in enumerate(data["runs"]):
        run["corpus"] = {"greedy": {"chrf": {"value": 50.0 + i, "low": 49.0, "high": 53.0}}}
        run["signatures"]["chrf"] = {"higher_is_better": True}
        run["tasks"] = {"arc|easy": {"value": 0.3, "low": None, "high": None}}
    tables = rows(markdown(data))
    at = next(i for i, row in enumerate(tables) if "chrf, corpus" in row)
    assert tables[at] == ["model", "chrf, corpus", "arc/easy"] and tables[at + 5][1] == "**52.0 [49.0, 53.0]**"
    # all have the same value: no one is best
    assert tables[at + 5][2] == "30.0\u202f%"


def test_less_may_be_better():
    column = Column("toxicity", ["", "a", "b"], [0.0, 0.2, 0.1], higher=False)
    assert column.lines() == ["", "a", "**b**"]
    assert Column("words", ["", "a", "b"], [1.0, 2.0, 3.0]).lines() == ["", "a", "b"]


def test_names_and_titles_stay_on_their_line(data):
    data["title"] = "one\ntwo\x1b[31m"
    data["runs"][0]["name"] = "a|b\u202e"
    text = markdown(data)
    assert text.startswith("# one two\ufffd[31m\n") and "| a/b\ufffd |" in text


def test_numbers_as_text():
    assert interval_text({"value": 0.5625, "low": 0.5, "high": 0.625}) == "56.2\u202f% [50.0, 62.5]"
    assert interval_text({"value": 0.5, "low": None, "high": None}) == "50.0\u202f%"
    assert interval_text(None) == "\u2013"
    assert spread_text({"mean": 0.5, "sd": 0.012, "n": 3}) == "50.0\u202f% ± 1.2"
    assert spread_text({"mean": 0.512, "sd": 0.012, "n": 3}, as_percent=False) == "0.512 ± 0.012"
    assert spread_text({"mean": 2.0, "sd": None, "n": 1}, as_percent=False) == "2.00"
    assert (chance(0.0004), chance(0.004), chance(0.04), chance(1.0), chance(None)) == (
        "p < .001",
        "p = .004",
        "p = .04",
        "p = 1.00",
        "no test",
    )
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c" and listed([]) == ""
    assert duration(90) == (90, "seconds") and duration(600) == (10, "minutes") and duration(9000) == (2.5, "hours")
