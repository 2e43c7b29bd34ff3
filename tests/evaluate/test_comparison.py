from prefine.evaluate.comparison import compare
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
