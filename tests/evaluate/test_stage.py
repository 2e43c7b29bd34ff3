"""The whole stage on a random tiny model: what is measured, what is cached, what is marked absent."""

import json
import sys

import pytest

from prefine.evaluate import stage
from prefine.evaluate.divergence import TIE
from prefine.progress import Progress
from prefine.recipe import Data, Evaluate, Model, Recipe, Train
from prefine.rundir import Counts, RunDir
from prefine.schema import Example, make_group

SCORE = """
def score(prompt, response, task_meta):
    assert prompt.startswith("word") and task_meta["family"] in "ab"
    return sum(map(ord, response)) % 97 / 97

def sometimes(prompt, response, task_meta):
    return None if prompt.endswith("3") else 1.0
"""


@pytest.fixture(scope="module")
def trained_dir(tmp_path_factory, tiny_model_dir):
    """The tiny model with its weights moved a little."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("trained") / "model"
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01 * torch.randn_like(p))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(folder)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "own_scores.py").write_text(SCORE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_scores", raising=False)
    return RunDir(tmp_path / "run")


def groups_of(count: int):
    out = []
    for i in range(count):
        group = make_group([{"role": "user", "content": f"word {i}"}], task_meta={"family": "ab"[i % 2]})
        group.split = "train" if i % 3 == 0 else "test"
        out.append(group)
    return out


def prepare(run: RunDir, trained_dir, name: str = "dpo", key: str = "t" * 64):
    """Finished data, pair and train stages; 12 prompts, 8 of them held out, with a pair each."""
    data = run.stage("data", "words", "d" * 64)
    if not data.done:
        data.start()
        data.write_part(groups_of(12))
        counts = Counts(12)
        counts.rows_out = 12
        data.finish({}, counts, {}, 0.1)
    pairs = run.stage("pair", "best_worst", "p" * 64)
    if not pairs.done:
        pairs.start()
        pairs.write_part([pair_of(g) for g in groups_of(12)])
        pairs.finish({}, None, {}, 0.1)
    train = run.stage("train", name, key)
    train.start()
    (train.path / "model").symlink_to(trained_dir)
    (train.path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.69}\n')
    train.finish({"train": {"learning_rate": 1e-4}}, None, {}, 1.0, seed=0, created="2026-01-01T00:00:00Z")
    return data, pairs, train


def pair_of(group) -> Example:
    answers = [[{"role": "assistant", "content": text}] for text in ("aaa", "bb")]
    return Example(group.id, group.id, group.messages, answers, ["x", "y"], [], group.split)


def recipe(tiny_model_dir, **evaluate) -> Recipe:
    settings = {"num_samples": 3, "max_new_tokens": 6, "metrics": [METRIC], **evaluate}
    return Recipe(
        name="r",
        model=Model(path=str(tiny_model_dir)),
        data=Data(path="words"),
        train=Train(objective={"name": "dpo"}),
        evaluate=Evaluate(**settings),
    )


METRIC = {"name": "programmatic", "function": "own_scores:score"}


def evaluate(r: Recipe, run: RunDir, stages, key: str = "e" * 64, label: str = "dpo"):
    data, pairs, train = stages
    folder = run.stage("evaluate", label, key)
    folder.start()
    counts, facts = stage.run(r, folder, train=train, data=data, pairs=pairs, run=run, progress=Progress.silent())
    folder.finish({}, counts, {"train": train.key if train else ""}, 1.0, created=key[:1], **facts)
    return json.loads((folder.path / "scores.json").read_text()), folder


def test_everything_that_can_be_measured_is(run, tiny_model_dir, trained_dir):
    r = recipe(tiny_model_dir, cooled_start=True)
    scores, folder = evaluate(r, run, prepare(run, trained_dir))
    assert folder.manifest()["counts"]["rows_out"] == scores["prompts"] == 8
    assert scores["win_by"] == "gold" and scores["name"] == "dpo" and scores["absent"] == {}
    greedy, sample = scores["win"]
    assert (greedy["mode"], greedy["against"], greedy["n"], greedy["comparisons"]) == ("greedy", "start", 8, 8)
    assert (sample["mode"], sample["n"], sample["comparisons"]) == ("sample", 8, 8 * 9)
    assert set(sample["families"]) == {"a", "b"} and sample["families"]["a"]["n"] == 4
    assert scores["kl"]["n"] == 8 and scores["kl"]["value"] > -1
    assert 1 <= scores["models"]["model"]["sample"]["distinct"] <= 3
    assert scores["models"]["start"]["greedy"]["tokens"]["value"] <= 6
    cooled = scores["cooled_start"]
    assert 0 < cooled["temperature"] <= 1 and cooled["n"] == 8 and cooled["against"] == "start, cooled"
    assert scores["reward_accuracy"]["pairs"] == 8
    assert all(0 < w["p_value"] <= w["adjusted"] <= 1 and w["detectable"] > 0 for w in scores["win"])
    calibration = scores["reward_accuracy"]["calibration"]
    assert calibration["beta"] == 0.1 and calibration["pairs"] == sum(b["pairs"] for b in calibration["bins"]) == 8
    tested = [(d["mode"], d["metric"], d["model"], d["against"], d["n"]) for d in scores["differences"]]
    assert tested == [("greedy", "gold", "model", "start", 8), ("sample", "gold", "model", "start", 8)]


def test_rows_hold_every_answer_with_its_score_and_no_token_ids(run, tiny_model_dir, trained_dir):
    _, folder = evaluate(recipe(tiny_model_dir), run, prepare(run, trained_dir))
    rows = list(folder.groups())
    assert len(rows) == 8 and all(g.split == "test" and g.task_meta["family"] in "ab" for g in rows)
    modes = [(c.generator["role"], c.generator["mode"]) for c in rows[0].candidates]
    assert modes == [("model", "greedy"), *[("model", "sample")] * 3, ("start", "greedy"), *[("start", "sample")] * 3]
    assert all(c.score("gold") == sum(map(ord, c.text)) % 97 / 97 for c in rows[0].candidates)
    assert all("token_ids" not in c.generator for g in rows for c in g.candidates)
    assert len({c.id for c in rows[0].candidates}) == 8


def test_an_interrupted_evaluation_leaves_no_double_rows(run, tiny_model_dir, trained_dir):
    stages = prepare(run, trained_dir)
    evaluate(recipe(tiny_model_dir, num_samples=0), run, stages)
    _, folder = evaluate(recipe(tiny_model_dir, num_samples=0), run, stages)
    assert len({g.id for g in folder.groups()}) == len(list(folder.groups())) == 8


def test_the_same_model_ties_with_itself(run, tiny_model_dir):
    scores, _ = evaluate(recipe(tiny_model_dir), run, prepare(run, tiny_model_dir))
    greedy, sample = scores["win"]
    assert (greedy["value"], greedy["low"], greedy["high"], greedy["ties"]) == (0.5, 0.5, 0.5, 8)
    assert sample["value"] == 0.5
    assert scores["kl"]["value"] == pytest.approx(0, abs=1e-5)
    # equal rewards: all pairs tied, and ties count as wrong
    assert scores["reward_accuracy"]["value"] == 0 and scores["reward_accuracy"]["ties"] == 8


def test_start_samples_are_drawn_once_and_siblings_compared(run, tiny_model_dir, trained_dir, monkeypatch):
    r = recipe(tiny_model_dir)
    first, _ = evaluate(r, run, prepare(run, trained_dir), "1" * 64)
    drawn = []
    original = stage.Sampling._draw
    monkeypatch.setattr(
        stage.Sampling, "_draw", lambda self, f, name, *a: drawn.append(name) or original(self, f, name, *a)
    )
    second, _ = evaluate(r, run, prepare(run, trained_dir, "simpo", "u" * 64), "2" * 64, "simpo")
    assert drawn == []  # the same weights and prompts as before
    assert [w["against"] for w in second["win"]] == ["start", "start", "dpo", "dpo"]
    assert second["win"][2]["value"] == 0.5 and second["win"][2]["train_key"] == "t" * 64
    assert first["comparable"] == second["comparable"]
    assert (
        evaluate(recipe(tiny_model_dir, num_prompts=5), run, prepare_again(run), "3" * 64)[0]["win"][-1]["against"]
        == "start"
    )


def prepare_again(run: RunDir):
    return (
        run.stage("data", "words", "d" * 64),
        run.stage("pair", "best_worst", "p" * 64),
        run.stage("train", "dpo", "t" * 64),
    )


def test_what_cannot_be_measured_is_named(run, tiny_model_dir, trained_dir):
    data, _, train = prepare(run, trained_dir)
    scores, folder = evaluate(recipe(tiny_model_dir, metrics=[], num_samples=0), run, (data, None, train))
    assert set(scores["absent"]) == {"kl", "reward_accuracy", "win_rate"}
    assert scores["win"] == [] and scores["kl"] is None
    assert set(scores["models"]["model"]) == {"greedy"}
    assert [len(g.candidates) for g in folder.groups()] == [2] * 8


def test_without_held_out_prompts_pairs_remain(run, tiny_model_dir, trained_dir):
    _, pairs, train = prepare(run, trained_dir)
    empty = run.stage("data", "empty", "f" * 64)
    empty.start()
    empty.finish({}, None, {}, 0.1)
    scores, _ = evaluate(recipe(tiny_model_dir), run, (empty, pairs, train))
    assert scores["models"] == {} and scores["absent"]["responses"] == "there are no held-out prompts"
    assert scores["reward_accuracy"]["pairs"] == 8


def test_prompts_of_another_source(run, tmp_path, tiny_model_dir, trained_dir):
    words = [{"prompt": f"word {i}", "family": "a"} for i in (0, 1, 99)]
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, words)))
    metric = {"name": "length", "unit": "words"}
    r = recipe(tiny_model_dir, metrics=[metric], num_samples=0, data=Data(path=str(tmp_path / "more.jsonl")))
    scores, folder = evaluate(r, run, prepare(run, trained_dir))
    # word 0 is a training prompt
    assert scores["prompts"] == 2
    assert folder.manifest()["counts"]["dropped"] == {"prompt is in the training data": 1}
    assert scores["win_by"] is None and "win_rate" in scores["absent"]


def test_pairs_are_measured_without_any_prompt_metric(run, tiny_model_dir, trained_dir):
    scores, _ = evaluate(recipe(tiny_model_dir, metrics=[], num_samples=0), run, prepare(run, trained_dir))
    reward = scores["reward_accuracy"]
    assert reward["n"] == 8 and 0 <= reward["low"] <= reward["value"] <= reward["high"] <= 1
    assert set(reward["by"]) == {"logp", "start_logp", "avg_logp", "start_avg_logp"}
    assert abs(reward["margin"] - (reward["by"]["logp"]["margin"] - reward["by"]["start_logp"]["margin"])) < 1e-4
    assert TIE < 1e-5


def test_responses_without_a_score_are_counted(run, tiny_model_dir, trained_dir):
    metric = {"name": "programmatic", "function": "own_scores:sometimes", "as_name": "some"}
    scores, _ = evaluate(recipe(tiny_model_dir, metrics=[metric], num_samples=0), run, prepare(run, trained_dir))
    assert scores["win"][0]["missing"] == 1 or scores["win"][0]["n"] == 8
    assert scores["win"][0]["n"] + scores["win"][0]["missing"] == 8


def test_the_start_model_alone(run, tiny_model_dir, trained_dir):
    data, pairs, _ = prepare(run, trained_dir)
    scores, _ = evaluate(recipe(tiny_model_dir, against=[str(trained_dir)]), run, (data, pairs, None), label="start")
    assert scores["train_key"] is None and scores["name"] == "start"
    assert [(w["against"], w["mode"]) for w in scores["win"]][:2] == [
        (f"{trained_dir.parent.name}/model", "greedy"),
        (f"{trained_dir.parent.name}/model", "sample"),
    ]


def test_win_by_must_be_a_metric_with_a_direction(run, tiny_model_dir, trained_dir):
    from prefine.errors import PrefineError

    metrics = [METRIC, {"name": "length", "unit": "words"}]
    with pytest.raises(PrefineError, match="did you mean 'gold'"):
        evaluate(recipe(tiny_model_dir, metrics=metrics, win_by="golf"), run, prepare(run, trained_dir))


def test_conditioned_prompts_are_answered_anew_and_stay_apart_from_training(run, tiny_model_dir, trained_dir, tmp_path):
    rows = [{"prompt": f"word {i}", "family": "a"} for i in range(12)]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    metric = {"name": "controllability", "rating": "share", "function": "own_scores:score"}
    stages, comparable = prepare(run, trained_dir), set()
    for i, share in enumerate((0.25, 0.75)):
        data = Data(path=str(tmp_path / "words.jsonl"), condition={"share": share})
        r = recipe(tiny_model_dir, num_samples=0, metrics=[metric], data=data)
        scores, folder = evaluate(r, run, stages, key=str(i) * 64)
        # The 4 prompts of the training data are known for what they are, whatever they ask for.
        assert scores["prompts"] == 8
        rows = list(folder.groups())
        assert all(g.prompt.startswith(f"<share: {share}>\nword") for g in rows)
        greedy = [c for g in rows for c in g.candidates if c.generator["role"] == "model"]
        values = [abs(sum(map(ord, c.text)) % 97 / 97 - share) for c in greedy]
        assert [c.score("controllability_share") for c in greedy] == pytest.approx(values)
        found = scores["models"]["model"]["greedy"]["metrics"]["controllability_share"]
        assert found["value"] == pytest.approx(sum(values) / 8)
        comparable.add(scores["comparable"])
    assert len(comparable) == 2
    assert len(list((run.path / "evaluate").glob("samples-*"))) == 4
    assert scores["win_by"] is None
