"""The label stage: scores are added, nothing is dropped, a killed run goes on."""

from collections import Counter

import pytest

from prefine.errors import PrefineError
from prefine.label import stage
from prefine.models.held import _held
from prefine.progress import Progress
from prefine.recipe import Data, Label, Model, Recipe
from prefine.rundir import RunDir
from prefine.schema import Score, make_group


def recipe_with(*blocks) -> Recipe:
    return Recipe(name="r", model=Model(path="m"), data=Data(path="d"), label=Label(labelers=list(blocks)))


@pytest.fixture
def folders(tmp_path, monkeypatch):
    (tmp_path / "label_stage_scores.py").write_text(
        "calls = []\n"
        "def words(prompt, response, task_meta):\n    calls.append(response)\n    return len(response.split())\n"
        "def short(prompt, response, task_meta):\n    return -len(response) if response else None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    directory = RunDir(tmp_path / "run")
    source, target = directory.stage("generate", "x", "1" * 64), directory.stage("label", "y", "2" * 64)
    source.start()
    target.start()
    return source, target


WORDS = {"name": "programmatic", "function": "label_stage_scores:words", "as_name": "words"}
SHORT = {"name": "programmatic", "function": "label_stage_scores:short", "as_name": "short"}


def groups_of(n: int):
    return [make_group([{"role": "user", "content": f"q{i}"}], ["a b", "a b c", ""][: i % 4]) for i in range(n)]


def test_scores_of_all_labelers_are_added(folders):
    source, target = folders
    rows = groups_of(8)
    rows[1].candidates[0].scores = [Score("given", 0.3)]
    source.write_part(rows)
    counts, facts = stage.run(recipe_with(WORDS, SHORT), target, source, Progress.silent())
    assert counts.as_dict()["rows_in"] == counts.rows_out == 8
    assert counts.extra == {"responses": 12, "no_score:short:na": 2}
    found = {g.id: g for g in target.groups()}
    assert len(found) == 8
    first = found[rows[1].id].candidates[0]
    assert [(s.scorer, s.value) for s in first.scores] == [("given", 0.3), ("words", 2.0), ("short", -3.0)]
    words, short = facts["labelers"]["words"], facts["labelers"]["short"]
    # Six groups have "a b", four "a b c", two an empty response.
    assert (words["scored"], words["mean"], words["max"]) == (12, pytest.approx((6 * 2 + 4 * 3) / 12), 3.0)
    assert (short["scored"], short["missing"]) == (10, {"na": 2})
    assert words["seconds"] >= 0


def test_labelers_of_one_name_need_another(folders):
    source, target = folders
    source.write_part(groups_of(4))
    with pytest.raises(PrefineError, match="2 labelers are called 'words'; tell them apart with as_name"):
        stage.run(recipe_with(WORDS, WORDS), target, source, Progress.silent())


def test_prompts_without_responses_are_an_error(folders):
    source, target = folders
    source.write_part(groups_of(1))
    with pytest.raises(PrefineError, match="no prompt has a response"):
        stage.run(recipe_with(WORDS), target, source, Progress.silent())


def test_a_killed_stage_labels_only_what_is_missing(folders, monkeypatch):
    import label_stage_scores

    source, target = folders
    monkeypatch.setattr(stage, "PART", 3)
    source.write_part(groups_of(10))
    stage.run(recipe_with(WORDS), target, source, Progress.silent())
    whole = list(target.groups())
    target.parts[-1].unlink()
    label_stage_scores.calls.clear()
    counts, facts = stage.run(recipe_with(WORDS), target, source, Progress.silent())
    assert list(target.groups()) == whole
    assert counts.rows_out == 10
    assert len(label_stage_scores.calls) == len(whole[-1].candidates)
    assert facts["labelers"]["words"]["scored"] == 13


def test_one_teacher_serves_two_labelers_and_is_let_go(folders, tiny_model_dir, monkeypatch):
    import prefine.models.held as held

    loaded = []
    real = held.load_model
    monkeypatch.setattr(held, "load_model", lambda spec: loaded.append(spec.path) or real(spec))
    source, target = folders
    source.write_part(groups_of(4))
    teacher = {"model": str(tiny_model_dir)}
    blocks = ({"name": "likelihood", **teacher}, {"name": "choice", "min_mass": 0.0, **teacher})
    counts, facts = stage.run(recipe_with(*blocks), target, source, Progress.silent())
    assert loaded == [str(tiny_model_dir)]
    assert not _held
    assert set(facts["labelers"]) == {"likelihood", "choice"}
    assert facts["labelers"]["choice"]["position_bias"] is not None
    assert counts.extra["no_score:choice:only_response"] == 1


TEACHER = {"engine": {"name": "hf", "model": "tiny-teacher"}, "mode": "first_token", "template": "tiny_world"}


def test_judges_of_the_embedded_teacher(folders, capfd):
    """One real run of every labeler that the teacher can answer, and of those that it cannot."""
    from prefine.tiny_world import demonstrations, gold, reference

    source, target = folders
    rows = []
    for row in demonstrations(6):
        texts = [reference(row["prompt"], row["task_meta"]), row["completion"], "the hat."]
        rows.append(make_group([{"role": "user", "content": row["prompt"]}], texts, task_meta=row["task_meta"]))
    source.write_part(rows)
    engine = TEACHER["engine"]
    blocks = [
        {"name": "choice", "model": "tiny-teacher", "template": "tiny_world"},
        {"name": "choice", "engine": engine, "template": "tiny_world", "as_name": "asked"},
        {"name": "choice", "engine": engine, "template": "tiny_world", "mode": "bradley_terry", "as_name": "strength"},
        {"name": "judge_pairwise", **TEACHER},
        {"name": "duel", **TEACHER, "audit": 1.0},
        {"name": "judge_single", "engine": engine, "max_reasks": 0, "max_new_tokens": 8},
        {"name": "aspects", "engine": engine, "max_reasks": 0, "max_new_tokens": 8},
    ]
    recipe = recipe_with(*blocks).model_copy(update={"output_dir": str(target.path)})
    _, facts = stage.run(recipe, target, source, Progress())
    facts = facts["labelers"]
    right = Counter()
    for group in target.groups():
        truth = {c.id: gold(group.prompt, c.text, group.task_meta) for c in group.candidates}
        best = {i for i, v in truth.items() if v == max(truth.values())}
        for name in ("choice", "asked", "strength", "judge_pairwise", "duel"):
            right[name] += max(group.candidates, key=lambda c, n=name: c.score(n)).id in best
        for c in group.candidates:
            assert c.score("asked") == pytest.approx(c.score("choice"), abs=1e-3)
            assert c.scores[-1].value is None, "a model that cannot judge gives no number"
        assert {c.judge for c in group.comparisons} >= {"judge_pairwise", "duel"}
        assert all(len(c.refs) == 2 for c in group.comparisons)
    assert min(right.values()) >= 5, right
    duels = facts["duel"]
    assert (duels["calls_planned"], duels["audit"]["prompts"]) == (36, 6)
    assert duels["session"]["calls"] == 0, "the other judge has asked the same; the ledger knows"
    assert facts["judge_single"]["missing"] == {"context_length": 18}
    assert "duel: 36 calls for 18 responses, second tries aside" in capfd.readouterr().err
