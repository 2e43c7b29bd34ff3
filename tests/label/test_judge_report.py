"""The report on a judge: each part against a judge whose faults are known."""

import json

import pytest

from prefine.cli.app import app, guarded
from prefine.label.agreement import agreement
from prefine.label.judge_report import chosen, labeled, measure
from prefine.label.judge_text import render, render_others
from prefine.progress import Progress
from prefine.schema import Comparison, Score

from .asked import RECIPE, better, code, group_of, pair_of, quiet, text, verdict

WORDS = ["a", "b b", "c c c", "d d d d"]


def rows(n=6):
    made = []
    for i in range(n):
        group = group_of(f"question {i}", *(f"{w} {i}" for w in WORDS))
        for k, c in enumerate(group.candidates):
            c.scores.append(Score("gold", float(-k)))
            c.generator = {"model": "unused-7b" if k == 3 else "other"}
        made.append(group)
    return made


def report(asked, name, answer, groups=None, **settings):
    how = {k: settings.pop(k) for k in ("gold", "repeats", "num_canaries") if k in settings}
    judge = asked.make(name, answer, **settings)
    options = {"gold": "gold", "repeats": 1, "num_canaries": 3, **how}
    return measure(judge, RECIPE, groups or rows(), progress=Progress.silent(), **options)


def longer(request):
    return better(lambda t: len(t.split()))(request)


def test_a_judge_that_likes_length(asked):
    made, _ = report(asked, "judge_pairwise", longer)
    assert (made["prompts"], made["responses"], made["pairs"]) == (6, 24, {"judged": 36, "tie_rate": 0.0})
    assert made["length"]["judge"]["longer_wins"] == 1.0
    assert made["length"]["gold"]["longer_wins"] == 0.0
    assert (made["gold"]["accuracy"], made["gold"]["pairs"]) == (0.0, 36)
    assert made["position"]["first_wins"] == 0.5
    assert made["position"]["flip_rate"] == 0.0
    # The longest answer is by the judge's family; gold would never choose it.
    assert made["self_preference"] == {"family": "unused", "pairs": 18, "own_wins": 1.0, "excess": 1.0}
    assert made["consistency"]["same_verdict"] == 1.0
    assert made["cost_per_1000_responses"]["requests"] == 3000
    assert any("longer responses win beyond what gold scores explain" in w for w in made["warnings"])


def test_a_judge_that_likes_the_first(asked):
    made, _ = report(asked, "judge_pairwise", lambda r: verdict(r, "A"))
    assert (made["position"]["first_wins"], made["position"]["flip_rate"]) == (1.0, 1.0)
    assert made["pairs"]["tie_rate"] == 1.0
    assert made["gold"]["accuracy"] == 0.5
    assert made["gold"]["kappa"] == 0.0
    assert any("the order of the responses decides 100% of the pairs" in w for w in made["warnings"])
    assert {k: v["tied"] for k, v in made["canaries"].items()} == dict.fromkeys(made["canaries"], 3)


def test_a_moody_judge(asked):
    def answer(request):
        again = "~" in request.tag
        return verdict(request, "tie") if again else longer(request)

    made, _ = report(asked, "judge_pairwise", answer, repeats=2)
    assert made["consistency"]["same_verdict"] == 0.0
    assert made["consistency"]["repeats"] == 2
    assert made["consistency"]["mean_score_change"] > 0


def test_a_judge_of_single_answers(asked):
    def answer(request):
        words = len(text(request).split("=== answer to grade")[1].split("\n")[1].split())
        return json.dumps({"reasons": "so", "score": min(10, words), "code": code(request)})

    made, _ = report(asked, "judge_single", answer)
    assert made["position"] is None
    assert made["length"]["judge"]["longer_wins"] == 1.0
    assert made["scores"]["scored"] == 24
    assert made["cost_per_1000_responses"]["requests"] == 1000
    # A period is one word, the best answer by gold has two.
    assert made["canaries"]["empty"] == {"n": 3, "won": 0, "tied": 0, "null": 0, "fell": 0.0}


def test_a_judge_that_says_nothing(asked):
    made, judged = report(asked, "judge_single", lambda r: "well", max_reasks=0)
    assert judged == {}
    assert made["scores"]["missing"] == {"parse_error": 24}
    assert made["gold"]["accuracy"] is None
    assert made["consistency"]["same_verdict"] is None
    assert "24 of 24 responses have no score: 24 parse_error" in made["warnings"]
    assert "-" in render(made)


def test_comparisons_of_people_are_gold(asked):
    groups = rows(3)
    for group in groups:
        a, b = group.candidates[0], group.candidates[3]
        group.comparisons = [Comparison(a.id, b.id, "b", "human")]
    made, _ = report(asked, "judge_pairwise", longer, groups, gold="human")
    assert (made["gold"]["pairs"], made["gold"]["accuracy"]) == (3, 1.0)


def test_what_the_judge_said_before_does_not_count(asked):
    groups = rows(2)
    for group in groups:
        for c in group.candidates:
            c.scores.append(Score("judge_pairwise", 1.0, aspect="first"))
        one, two, *_ = group.candidates
        group.comparisons = [
            Comparison(one.id, two.id, "a", "judge_pairwise"),
            Comparison(one.id, two.id, "a", "human"),
        ]
    judge = asked.make("judge_pairwise", lambda r: "well", max_reasks=0)
    for group in labeled(judge, groups, quiet):
        assert {(s.scorer, s.aspect) for c in group.candidates for s in c.scores} == {
            ("gold", None),
            ("judge_pairwise", None),
        }
        assert sorted(c.outcome for c in group.comparisons if c.judge != "human") == ["invalid"] * 6
        assert group.comparisons[0].judge == "human"
    assert all(len(c.scores) == 2 for g in groups for c in g.candidates), "the rows themselves stay as they are"
    assert all(len(g.comparisons) == 2 for g in groups)


def test_two_judges_are_compared(asked):
    one, first = report(asked, "judge_pairwise", longer)
    two, second = report(asked, "judge_pairwise", lambda r: verdict(r, "A" if "d" in pair_of(r)[0] else "B"))
    found = agreement(first, second)
    assert found["pairs"] == 36
    said = render_others([{"judges": [one["judge"], two["judge"]], **found}])
    assert "judge_pairwise and judge_pairwise: right on" in said


def test_rows_are_chosen_by_hash():
    groups = [*rows(10), group_of("no responses")]
    some = chosen(groups, 4)
    assert len(some) == 4 == len(chosen(list(reversed(groups)), 4))
    assert [g.id for g in some] == [g.id for g in chosen(list(reversed(groups)), 4)]
    assert len(chosen(groups, None)) == 10


def test_the_text_has_a_line_for_everything(asked):
    made, _ = report(asked, "judge_pairwise", longer)
    said = render(made)
    for word in ("pairs", "position", "gold", "length", "itself", "again", "canary", "cost", "warning"):
        assert any(line.startswith(word) for line in said.splitlines()), word
    json.dumps(made, allow_nan=False)


JUDGE = "{name: choice, model: tiny-teacher, template: tiny_world}"
ASKED = "{name: judge_pairwise, engine: {name: hf, model: tiny-teacher}, mode: first_token, template: tiny_world}"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A recipe with pairs of the tiny world, right answers and wrong ones."""
    from prefine.tiny_world import demonstrations, gold, reference

    monkeypatch.chdir(tmp_path)
    lines = []
    for row in demonstrations(12):
        right, wrong = reference(row["prompt"], row["task_meta"]), row["completion"]
        if gold(row["prompt"], wrong, row["task_meta"]) < 1:
            lines.append(json.dumps({"prompt": row["prompt"], "chosen": right, "rejected": wrong}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "r.yaml").write_text(
        "name: toy\nmodel: {path: tiny-student}\ndata: {path: rows.jsonl}\n"
        f"label: {{labelers: [{JUDGE}]}}\npair: {{score: nothing}}\n"
    )
    return tmp_path


def command(capfd, *arguments):
    capfd.readouterr()
    status = guarded(lambda: app(list(arguments), standalone_mode=False))
    return status, *capfd.readouterr()


def test_the_command_with_the_embedded_teacher(toy, capfd):
    arguments = ["judge", "report", "r.yaml", "--judge", JUDGE, "--judge", ASKED, "--gold", "rows.jsonl"]
    status, out, err = command(capfd, *arguments, "--json", "--canaries", "2")
    assert status == 0, err
    found = json.loads(out)
    assert [j["judge"] for j in found["judges"]] == ["choice", "judge_pairwise"]
    # The teacher was made to tell these answers apart.
    assert found["judges"][0]["gold"]["accuracy"] > 0.7
    assert found["between"][0]["kappa"] > 0.5
    assert json.loads((toy / "runs/toy/judges/choice+judge_pairwise.json").read_text()) == found
    status, out, err = command(capfd, "judge", "report", "runs/toy", "--judge", ASKED, "--canaries", "0")
    assert status == 0, err
    assert out.startswith("judge judge_pairwise: ")


def test_mistakes_on_the_command_line(toy, capfd):
    status, _, err = command(capfd, "judge", "report", "r.yaml", "--judge", "{name: choise, model: tiny-teacher}")
    assert (status, "did you mean 'choice'" in err) == (1, True), err
    status, _, err = command(capfd, "judge", "report", "r.yaml", "--gold", "nobody")
    assert status == 1
    assert "--gold: no response has a score by 'nobody'; valid names: rows.jsonl" in err
    status, _, err = command(capfd, "judge", "report", str(toy))
    assert (status, "this is no run" in err) == (1, True)
