import pytest

from prefine.evaluate.comparison import adjust, compare, differences
from prefine.evaluate.rows import stored_answers
from prefine.evaluate.samples import Answers, distinct
from prefine.schema import Candidate, Group, Score, make_candidate, make_group


def prompts(families: list[str]) -> list[Group]:
    return [make_group([{"role": "user", "content": f"{i}"}], task_meta={"family": f}) for i, f in enumerate(families)]


def answers(name: str, groups: list[Group], scores: list[list[float | None]]) -> Answers:
    def candidate(group: Group, text: str, score: float | None) -> Candidate:
        made = make_candidate(group.id, text, {"role": "model", "run": name, "mode": "sample", "temperature": "0.7"})
        made.scores, made.n_tokens, made.finish_reason = [Score("gold", score)], 2, "stop"
        return made

    rows = {g.id: [candidate(g, f"text {v}", v) for v in row] for g, row in zip(groups, scores, strict=True)}
    return Answers(name, 0.7, rows)


def test_win_rate_over_all_and_by_family():
    groups = prompts(["a", "a", "b"])
    ours = answers("dpo", groups, [[1.0, 1.0], [0.0, 1.0], [0.5, None]])
    theirs = answers("start", groups, [[0.0, 1.0], [1.0, 1.0], [0.5, 0.2]])
    won = compare(ours, theirs, groups, "gold")
    # (1 + 0.5 + 1 + 0.5) / 4 = .75; (0 + 0 + .5 + .5) / 4 = .25; (.5 + 1) / 2 = .75
    assert won["against"] == "start" and won["n"] == 3
    assert won["value"] == (0.75 + 0.25 + 0.75) / 3
    assert won["comparisons"] == 4 + 4 + 2 and won["ties"] == 2 + 2 + 1
    assert won["families"]["a"]["value"] == 0.5 and won["families"]["b"]["value"] == 0.75


def test_one_family_has_no_split():
    groups = prompts(["a", "a"])
    same = answers("x", groups, [[1.0], [0.0]])
    assert "families" not in compare(same, same, groups, "gold")


def test_summary_and_distinct():
    groups = prompts(["a", "b"])
    made = answers("dpo", groups, [[1.0, 1.0, 0.5], [0.25, None, 0.75]])
    assert distinct(made) == (2 + 3) / 2
    summary = made.summary(["gold"])
    assert summary["metrics"]["gold"]["value"] == (2.5 / 3 + 0.5) / 2
    assert summary["words"]["value"] == 2 and summary["tokens"]["value"] == 2 and summary["truncated"] == 0


def test_answers_are_found_again_in_rows():
    groups = prompts(["a"])
    made = answers("dpo", groups, [[1.0, 0.0]])
    groups[0].candidates = made.responses[groups[0].id] + [make_candidate(groups[0].id, "other", {"role": "start"})]
    again = stored_answers(groups, "model", "sample")
    assert again.name == "dpo" and again.temperature == 0.7 and again.responses == made.responses
    assert stored_answers(groups, "model", "greedy").responses == {groups[0].id: []}


def test_a_win_rate_says_how_certain_it_is():
    groups = prompts(["a"] * 5)
    ours = answers("dpo", groups, [[1.0]] * 5)
    theirs = answers("start", groups, [[0.0]] * 5)
    won = compare(ours, theirs, groups, "gold")
    # all five signs alike: 2 of 2**5 sign patterns are as far from one half, 1/16
    assert won["p_value"] == pytest.approx(1 / 16, abs=0.01) and won["detectable"] == 0
    mixed = compare(answers("dpo", groups, [[1.0], [1.0], [1.0], [0.0], [0.0]]), ours, groups, "gold")
    # .5, .5, .5, 0, 0: mean .3, standard deviation .27386, 2.8 * .27386 / sqrt(5)
    # ties say nothing, and two signs alike are one of four patterns or its mirror image
    assert mixed["p_value"] == pytest.approx(0.5, abs=0.03)
    assert mixed["value"] == pytest.approx(0.3) and mixed["detectable"] == pytest.approx(2.8 * 0.2738613 / 5**0.5)


def test_p_values_are_adjusted_within_a_mode():
    wins = [
        {"mode": "greedy", "p_value": 0.01},
        {"mode": "sample", "p_value": 0.04},
        {"mode": "greedy", "p_value": 0.04},
        {"mode": "greedy", "p_value": None},
    ]
    adjust(wins)
    # Holm: the smallest of two is doubled
    assert [w.get("adjusted") for w in wins] == [0.02, 0.04, 0.04, None]


def test_differences_by_metric_against_the_baseline():
    groups = prompts(["a", "a", "b"])
    start = {"greedy": answers("start", groups, [[0.5], [0.5], [0.0]])}
    models = {
        "model": {"greedy": answers("dpo", groups, [[1.0], [0.5], [None]])},
        "other": {"greedy": answers("pad", groups, [[0.0], [0.25], [0.25]])},
        "start": start,
    }
    found = differences(models, "start", groups, ["gold", "absent"], seed=0)
    by_name = {d["model"]: d for d in found}
    assert [d["metric"] for d in found] == ["gold", "gold"] and all(d["against"] == "start" for d in found)
    # (.5 + 0) / 2 over the two prompts with a score; (-.5 - .25 + .25) / 3
    assert by_name["model"]["value"] == 0.25 and by_name["model"]["missing"] == 1 and by_name["model"]["n"] == 2
    assert by_name["other"]["value"] == pytest.approx(-1 / 6) and by_name["other"]["adjusted"] is not None
    smallest = min(found, key=lambda d: d["p_value"])
    assert smallest["adjusted"] == pytest.approx(min(1.0, 2 * smallest["p_value"]))
