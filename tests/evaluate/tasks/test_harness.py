"""Local tasks through the harness: equal to its own command line on the same saved model, and kept in the run."""

import copy
import json
import os
import shutil
import subprocess
import sys
import warnings

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.samples import Models
from prefine.models.load import load_model, load_tokenizer, model_spec
from prefine.progress import Progress
from prefine.recipe import Tasks
from prefine.rundir import RunDir

from ..test_stage import evaluate, prepare, recipe, run, trained_dir  # noqa: F401

pytest.importorskip("lm_eval", reason="needs lm-eval (the extra eval)")

from prefine.evaluate.tasks import harness, stage

pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness's own libraries

HEAD = """
dataset_path: json
dataset_kwargs: {{data_files: {file}}}
test_split: train
metadata: {{version: 1.0}}
"""
CHOICE = """
task: prefine_words
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
target_delimiter: " "
fewshot_split: train
fewshot_config: {sampler: first_n}
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true},
              {metric: acc_norm, aggregation: mean, higher_is_better: true}]
"""
WRITTEN = """
task: prefine_answers
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
GROUP = """
group: prefine_both
task: [prefine_words, prefine_more_words]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
metadata: {version: 1.0}
"""
SECTION = {"names": ["prefine_words", "prefine_answers"], "batch_size": 4}


@pytest.fixture(scope="module", autouse=True)
def offline():
    """No hub is asked for anything."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            patch.setenv(name, "1")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two tasks of one's own, and a group of two."""
    place = tmp_path_factory.mktemp("tasks")
    words = ["red", "a green", "blue", "an old yellow"]
    choices = [{"question": f"item {i} is", "choices": words[: 2 + i % 3], "label": i % 2} for i in range(12)]
    answers = [{"question": f"say {i}", "answer": str(i)} for i in range(5)]
    for name, rows in (("choices", choices), ("more", choices[:4]), ("answers", answers)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    head = {n: HEAD.format(file=place / f"{n}.jsonl") for n in ("choices", "more", "answers")}
    (place / "words.yaml").write_text(CHOICE + head["choices"])
    (place / "more_words.yaml").write_text(CHOICE.replace("prefine_words", "prefine_more_words") + head["more"])
    (place / "answers.yaml").write_text(WRITTEN + head["answers"])
    (place / "both.yaml").write_text(GROUP)
    return place


@pytest.fixture(scope="module")
def student():
    spec = model_spec("tiny-student")
    return load_model(spec), load_tokenizer(spec)


@pytest.fixture(scope="module")
def evaluated(folder, student):
    section = Tasks(include_path=str(folder), **SECTION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return harness.evaluate(*student, section, harness.check(section))


def test_entries_and_what_became_of_each_question(evaluated):
    results, samples = evaluated
    assert list(results) == ["prefine_words", "prefine_answers"]
    words = results["prefine_words"]
    assert (words["n"], words["shots"], words["metric"]) == (12, 0, "acc,none") and words["stderr"] > 0
    rows = [s for s in samples if s["task"] == "prefine_words"]
    assert sum(row["values"]["acc"] for row in rows) / 12 == pytest.approx(words["value"])
    assert sum(row["values"]["acc_norm"] for row in rows) / 12 == pytest.approx(words["metrics"]["acc_norm,none"])
    written = [s for s in samples if s["task"] == "prefine_answers"]
    assert [s["target"] for s in written] == ["0", "1", "2", "3", "4"] and all(s["answer"] for s in written)
    json.dumps(results, allow_nan=False)


def test_choice_scores_are_the_models_log_probs(evaluated, student, folder):
    """By evaluation's rules: the sum over the tokens of a space and the choice; acc_norm divides by its characters."""
    import torch

    model, tokenizer = student
    rows = [json.loads(line) for line in (folder / "choices.jsonl").read_text().splitlines()]
    found = {s["doc_id"]: s for s in evaluated[1] if s["task"] == "prefine_words"}
    for i, row in enumerate(rows[:4]):
        logps = []
        for choice in row["choices"]:
            start = tokenizer(row["question"])["input_ids"]
            ids = tokenizer(f"{row['question']} {choice}")["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            logps.append(sum(logits[k - 1, ids[k]].item() for k in range(len(start), len(ids))))
        assert [pair[0] for pair in found[i]["answer"]] == pytest.approx(logps, abs=1e-4)
        best = max(range(len(logps)), key=logps.__getitem__)
        normed = max(range(len(logps)), key=lambda k: logps[k] / len(row["choices"][k]))
        assert found[i]["values"] == {"acc": best == row["label"], "acc_norm": normed == row["label"]}


def test_shots_limit_and_groups(folder, student):
    section = Tasks(names=["prefine_both"], include_path=str(folder), num_fewshot=2, limit=3, batch_size=4)
    results, samples = harness.evaluate(*student, section, harness.check(section))
    both = results["prefine_both"]
    assert (both["n"], both["shots"], both["unweighted"]["tasks"]) == (6, 2, 2) and len(samples) == 6
    plain = [
        sum(s["values"]["acc"] for s in samples if s["task"] == t) / 3 for t in ("prefine_words", "prefine_more_words")
    ]
    assert both["unweighted"]["value"] == pytest.approx(sum(plain) / 2) == pytest.approx(both["value"])


@pytest.mark.slow
def test_names_are_looked_up_among_all_tasks(folder):
    """The harness takes a while to list all that it has."""
    names = ["open_llm_v1", "bbh", "prefine_words"]
    manager = harness.check(Tasks(names=names, include_path=str(folder)))
    assert {"mmlu", "leaderboard_bbh", "truthfulqa_mc2", "prefine_words"} <= set(manager.all_tasks)
    with pytest.raises(PrefineError, match="no task 'prefine_wrds'; did you mean 'prefine_words'"):
        harness.check(Tasks(names=["prefine_wrds"], include_path=str(folder)))


def test_a_tokenizer_is_left_as_it_was(student, folder):
    """The harness gives one without a padding token another's."""
    bare = copy.deepcopy(student[1])
    bare.pad_token = None
    section = Tasks(names=["prefine_answers"], include_path=str(folder), limit=2)
    harness.evaluate(student[0], bare, section, harness.check(section))
    assert bare.pad_token is None


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_is_not_asked_outside_of_a_repository(student, folder, tmp_path, monkeypatch, capfd):
    from lm_eval import evaluator
    from lm_eval.loggers import utils

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    utils.get_git_commit_hash()
    assert "fatal: not a git repository" in capfd.readouterr().err
    section = Tasks(names=["prefine_words"], include_path=str(folder), limit=1)
    harness.evaluate(*student, section, harness.check(section))
    found = capfd.readouterr()
    assert "git" not in found.err + found.out and "fatal" not in found.err
    assert all(getattr(evaluator, name) is getattr(utils, name) for name in harness.ASIDES)


def test_results_are_kept_for_the_same_weights_and_tasks(folder, tmp_path, monkeypatch):
    place, spec = RunDir(tmp_path / "run"), model_spec("tiny-student")
    models, calls = Models(spec), []
    original = harness.evaluate
    monkeypatch.setattr(harness, "evaluate", lambda *a: calls.append(1) or original(*a))

    def results(**changes):
        section = Tasks(include_path=str(folder), **{**SECTION, "names": ["prefine_answers"], **changes})
        manager = harness.check(section)
        return stage.task_results(place, models, "start", spec, section, manager, Progress.silent())

    first = results()
    assert results(batch_size=2) == first and len(calls) == 1
    (kept,) = place.results("evaluate")
    lines = (kept.path / stage.SAMPLES).read_text().splitlines()
    assert len(lines) == 5 and json.loads(lines[0])["task"] == "prefine_answers"
    results(limit=2)
    assert len(calls) == 2


def test_in_the_evaluate_stage(folder, run, tiny_model_dir, trained_dir):  # noqa: F811
    section = {**SECTION, "names": ["prefine_words"], "include_path": str(folder)}
    stages = prepare(run, trained_dir)
    scores, _ = evaluate(recipe(tiny_model_dir, metrics=[], num_samples=0, tasks=section), run, stages)
    assert list(scores["tasks"]) == ["model", "start"]
    direct, _ = harness.evaluate(
        load_model(model_spec(str(trained_dir))),
        load_tokenizer(model_spec(str(tiny_model_dir))),
        Tasks(**section),
        harness.check(Tasks(**section)),
    )
    assert scores["tasks"]["model"] == direct and scores["tasks"]["start"]["prefine_words"]["n"] == 12


@pytest.mark.slow
def test_equal_to_the_harnesss_own_command(evaluated, student, folder, tmp_path):
    model, tokenizer = student
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--device", "cpu", "--batch_size", "4"]
    command += ["--model_args", f"pretrained={tmp_path / 'model'}", "--tasks", ",".join(SECTION["names"])]
    command += ["--include_path", str(folder), "--output_path", str(tmp_path / "out"), "--log_samples"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=550, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (tmp_path / "out").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]
    ours, samples = evaluated
    for name in SECTION["names"]:
        numbers = {k: v for k, v in theirs[name].items() if "," in k}
        assert ours[name]["metrics"] == numbers
        (file,) = (tmp_path / "out").rglob(f"samples_{name}_*.jsonl")
        rows = sorted(map(json.loads, file.read_text().splitlines()), key=lambda r: r["doc_id"])
        mine = sorted((s for s in samples if s["task"] == name), key=lambda s: s["doc_id"])
        assert [s["values"] for s in mine] == [{m: r[m] for m in r["metrics"]} for r in rows]
        if name == "prefine_answers":
            assert [s["answer"] for s in mine] == [r["filtered_resps"] for r in rows]
        else:
            logps = [float(a[0]) for r in rows for a in r["filtered_resps"]]
            assert [a[0] for s in mine for a in s["answer"]] == pytest.approx(logps, abs=1e-5)
