"""The stages in order, what is skipped, what is shared between variants, and what is refused."""

import json
import multiprocessing
import subprocess
import sys

import pytest

from prefine.errors import DirectoryInUse, Interrupted, PrefineError
from prefine.pipeline import plan, run_recipe, run_recipes
from prefine.progress import Progress
from prefine.recipe.variants import load_variants
from prefine.rundir import RunDir
from tests.report.test_results import check, documented

RECIPE = """
name: small
model: {{path: {model}}}
data: {{path: {data}, test_fraction: 0.3}}
generate:
  generator: {{name: hf, max_new_tokens: 6}}
  num_responses: 3
  include_held_out: true
label:
  labelers: [{{name: programmatic, function: "tests.scorers:vowels"}}]
pair:
  pairer: {{name: best_worst}}
train:
  objective: {{name: dpo}}
  learning_rate: 1e-3
  batch_size: 4
  num_train_epochs: 3
evaluate:
  metrics: [{{name: programmatic, function: "tests.scorers:share_of_vowels"}}]
  num_samples: 2
  max_new_tokens: 6
report: {{}}
variants:
  dpo: {{}}
  simpo: {{train.objective: {{name: simpo}}}}
  pad: {{pair.pairer: {{name: ranked}}, train.objective: {{name: pad}}}}
"""


@pytest.fixture
def recipe_file(tmp_path, tiny_model_dir, monkeypatch):
    data = tmp_path / "prompts.jsonl"
    words = "tea sun cup hat dog box pen sky ant map key jar"
    data.write_text("".join(json.dumps({"prompt": f"say {w}"}) + "\n" for w in words.split()))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(model=tiny_model_dir, data=data))
    monkeypatch.chdir(tmp_path)
    return path


def add_prompt(recipe_file):
    data = recipe_file.with_name("prompts.jsonl")
    data.write_text(data.read_text() + json.dumps({"prompt": "say elm"}) + "\n")


def stage_dirs(run, stage):
    return sorted(r.path.name.rsplit("-", 1)[0] for r in run.results(stage) if r.manifest().get("content") != "samples")


def test_from_prompts_to_a_report_with_shared_stages(recipe_file):
    recipes = load_variants(recipe_file)
    run = run_recipes(recipes, progress=Progress.silent())
    assert [r.variant for r in recipes] == ["dpo", "simpo", "pad"]
    assert stage_dirs(run, "generate") == ["hf"] and stage_dirs(run, "label") == ["programmatic"]
    assert stage_dirs(run, "pair") == ["best_worst", "ranked"]
    assert stage_dirs(run, "train") == ["dpo", "pad", "simpo"] and stage_dirs(run, "evaluate") == [
        "dpo",
        "pad",
        "simpo",
    ]
    for stage in ("data", "generate", "label", "pair", "train", "evaluate"):
        for result in run.results(stage):
            counts = result.manifest()["counts"]
            assert counts["rows_in"] == counts["rows_out"] + sum(counts["dropped"].values())
    results = json.loads((run.path / "results.json").read_text())
    assert {r["name"] for r in results["runs"]} == {"dpo", "simpo", "pad"}
    check(results, documented(), documented()["definitions"])
    assert "<html" in (run.path / "report.html").read_text()
    assert len(list(run.path.glob("train/*/model/README.md"))) == 3

    times = {p: p.stat().st_mtime_ns for p in run.path.rglob("_SUCCESS")}
    run_recipes(load_variants(recipe_file), progress=Progress.silent())
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("_SUCCESS")} == times


def test_a_single_stage_names_the_one_it_needs(recipe_file):
    recipe = load_variants(recipe_file)[0]
    with pytest.raises(PrefineError, match=r"'label' needs the result of 'generate'.*prefine generate"):
        run_recipe(recipe, stages=["label"], progress=Progress.silent())
    run_recipe(recipe, stages=["generate"], progress=Progress.silent())
    run = run_recipe(recipe, stages=["label"], progress=Progress.silent())
    assert len(run.results("label")) == 1 and not run.results("train")


def test_a_trained_model_has_a_card_before_it_is_evaluated(recipe_file, tiny_model_dir):
    recipe = load_variants(recipe_file, ["train.num_train_epochs=1", "evaluate=null", "report=null"])[0]
    run = run_recipe(recipe, progress=Progress.silent())
    (card,) = run.path.glob("train/*/model/README.md")
    text = card.read_text()
    assert "Not evaluated" in text and f"Trained from `{tiny_model_dir.name}`" in text
    assert "prompts.jsonl | unknown | 12 |" in text and "Labels: `programmatic`." in text
    assert "At the end of training" in text and "seconds on cpu" in text


def test_other_settings_change_only_the_keys_that_read_them(recipe_file):
    def keys(*overrides):
        recipe = load_variants(recipe_file, overrides)[0]
        return {p.stage: p.folder.key for p in plan(recipe, RunDir(recipe.run_path), Progress.silent())}

    base = keys()
    changed = keys("train.learning_rate=1e-4")
    assert {s for s in base if base[s] != changed[s]} == {"train", "evaluate"}
    assert keys("train.logging_steps=3", "threads=1", "output_dir=elsewhere") == base
    assert keys("seed=1")["data"] == base["data"] and keys("seed=1")["generate"] != base["generate"]
    add_prompt(recipe_file)
    assert all(key != base[stage] for stage, key in keys().items())


def test_resume_always_names_what_changed(recipe_file, monkeypatch):
    from prefine.train.trainer import Trainer

    recipe = load_variants(recipe_file)[0]
    step = Trainer._optimizer_step

    def stopping(self):
        self._stop = True
        return step(self)

    with monkeypatch.context() as m:
        m.setattr(Trainer, "_optimizer_step", stopping)
        with pytest.raises(Interrupted, match="stopped at step 1"):
            run_recipe(recipe, progress=Progress.silent())
    other = load_variants(recipe_file, ["train.objective.beta=0.3"])[0]
    with pytest.raises(PrefineError, match=r"train\.objective\.beta: 0\.1 -> 0\.3"):
        run_recipe(other, progress=Progress.silent(), resume="always")
    add_prompt(recipe_file)
    with pytest.raises(PrefineError, match="data"):
        run_recipe(load_variants(recipe_file)[0], progress=Progress.silent(), resume="always")


def test_two_processes_train_through_the_pipeline(recipe_file, tmp_path):
    code = (
        "import sys; from prefine.recipe.variants import load_variants; from prefine.pipeline import run_recipes; "
        "from prefine.progress import Progress; "
        "run_recipes(load_variants('recipe.yaml', ['variants={}'])[:1], progress=Progress.silent())"
    )
    script = tmp_path / "go.py"
    script.write_text(code)
    import os
    from pathlib import Path

    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    subprocess.run(command, env=env, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    run = RunDir(tmp_path / "runs" / "small")
    assert run.results("train")[0].manifest()["processes"] == 2
    assert (run.path / "results.json").exists()


def hold(path, ready, done):
    with RunDir(path):
        ready.set()
        done.wait(60)


def test_a_second_writer_is_refused(recipe_file):
    recipe = load_variants(recipe_file)[0]
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(recipe.run_path, ready, done))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(DirectoryInUse, match="in use by pid") as caught:
            run_recipe(recipe, progress=Progress.silent())
        assert caught.value.exit_code == 73
    finally:
        done.set()
        process.join()


def test_what_a_component_reads_is_part_of_the_key(recipe_file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "scores_that_change.py"
    source.write_text("def score(prompt, response, task_meta):\n    return 1.0\n")
    own = ["label.labelers.0.function=scores_that_change:score"]

    def label_key(*more):
        recipe = load_variants(recipe_file, [*own, *more])[0]
        return next(
            p.folder.key for p in plan(recipe, RunDir(recipe.run_path), Progress.silent()) if p.stage == "label"
        )

    before = label_key()
    assert before == label_key("generate.generator.batch_tokens=999")
    source.write_text("def score(prompt, response, task_meta):\n    return 2.0\n")
    assert before != label_key()


def test_a_variant_goes_on_from_an_earlier_one(recipe_file):
    text = recipe_file.read_text()
    text = text[: text.index("variants:")] + (
        "variants:\n"
        "  first: {generate: null, label: null, pair: null, evaluate: null, train.objective: {name: sft}}\n"
        '  second: {model.path: "variant:first"}\n'
        '  third: {model.path: "variant:second", data.path: "variant:second/label", generate: null, label: null}\n'
    )
    rows = [{"prompt": f"say {w}", "completion": w} for w in ["tea", "sun", "cup", "hat", "dog", "box", "pen", "sky"]]
    recipe_file.with_name("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe_file.write_text(text)
    with pytest.raises(PrefineError, match="the train stage of the variant 'first' is not finished"):
        run_recipes(load_variants(recipe_file), stages=["data"], progress=Progress.silent())
    run = run_recipes(load_variants(recipe_file), progress=Progress.silent())
    first, second, third = run.results("train")
    cards = [(r.path / "model" / "README.md").read_text() for r in (first, second, third)]
    assert ["Not evaluated" in card for card in cards] == [True, False, False]
    assert [r.manifest()["settings"]["train"]["objective"]["name"] for r in (first, second, third)] == ["sft"] + [
        "dpo"
    ] * 2
    starts = [r.manifest()["inputs"]["model"] for r in (first, second, third)]
    assert len(set(starts)) == 3, "each starts from what the one before has learned"
    labeled, read = run.results("label")[0], run.results("data")[-1]
    assert {g.id for g in read.groups()} == {g.id for g in labeled.groups()}
    assert run_recipes(load_variants(recipe_file), progress=Progress.silent()) and len(run.results("train")) == 3


def test_another_process_waits_for_what_the_first_writes_of_a_training(tmp_path, monkeypatch):
    """A later variant may begin with its model."""
    from prefine import pipeline

    done = []
    planned = pipeline.Planned("train", "dpo", {}, {}, lambda folder: done.append("trained") or (None, {}))
    planned.folder = RunDir(tmp_path).stage("train", "dpo", "k" * 64)
    planned.folder.start()

    def sleep(_):
        done.append("waited")
        (planned.folder.path / "_SUCCESS").write_text("k" * 64)

    monkeypatch.setattr(pipeline.time, "sleep", sleep)
    monkeypatch.setattr(pipeline, "plan", lambda *_: [planned])
    pipeline.follow(None, RunDir(tmp_path), None, "auto")  # type: ignore[arg-type]
    assert done == ["trained", "waited"]
