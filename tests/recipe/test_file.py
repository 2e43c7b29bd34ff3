"""Every mistake in a recipe is told with its key, its line and the way out, and what is right is read as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine.errors import PrefineError
from prefine.recipe import Recipe
from prefine.recipe import text as recipe_text
from prefine.recipe.file import RecipeError, load_recipe, save_recipe
from prefine.recipe.variants import load_variants, settled

GOOD = """\
name: toy
model: {path: tiny-student}
data:
  path: rows.jsonl
train:
  objective: {name: dpo, beta: 0.2}
  learning_rate: 5e-7
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a recipe beside a data file and makes their folder the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')

    def make(text: str, name: str = "r.yaml") -> str:
        (tmp_path / name).write_text(text)
        return name

    return make


def mistakes(path: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value).splitlines()


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_good_recipe(write):
    recipe = load_recipe(write(GOOD))
    assert recipe.train is not None
    assert recipe.train.learning_rate == 5e-7
    settings = {"name": "dpo", "beta": 0.2, "label_smoothing": 0.0, "gamma": 0.0, "nll_weight": 0.0}
    assert settings.items() <= recipe.train.objective.items()
    assert recipe.stages() == ["train"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("5e-7", 5e-7), ("1e3", 1000.0), (".5", 0.5), ("-1E-4", -1e-4), ("1.", 1.0), ("+3", 3), ("010", 10)],
        *[("0x10", 16), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("1_000", "1_000")],
        *[("2024-01-01", "2024-01-01"), ("12:30:45", "12:30:45"), ("true", True), ("False", False), ("~", None)],
        *[("null", None), ("", None), ("'1'", "1"), ("1e", "1e"), ("e5", "e5"), (".", "."), ("1.5.2", "1.5.2")],
        ("=", "="),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    read = recipe_text.parse(f"a: {text}\n", "x").data["a"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            changed("learning_rate", "learning_rat"),
            "r.yaml:7: train.learning_rat: unknown key; did you mean 'learning_rate'?",
        ),
        (changed("train:", "trian:"), "r.yaml:5: trian: unknown key; did you mean 'train'?"),
        (
            changed("5e-7", "'5e-7'"),
            "r.yaml:7: train.learning_rate: must be a number, not the text '5e-7'; remove the quotes",
        ),
        (changed("5e-7", "fast"), "r.yaml:7: train.learning_rate: must be a number, not the text 'fast'"),
        (changed("5e-7", "-1"), "r.yaml:7: train.learning_rate: must be greater than 0.0, not -1"),
        (changed("5e-7", ".nan"), "r.yaml:7: train.learning_rate: must be a finite number, not .nan"),
        (changed("5e-7", "1e999"), "r.yaml:7: train.learning_rate: must be a finite number, not 1e999"),
        (changed("5e-7", "true"), "r.yaml:7: train.learning_rate: must be a number, not true"),
        (GOOD + "  batch_size: 3.5\n", "r.yaml:8: train.batch_size: must be a whole number, not 3.5"),
        (
            GOOD + "  seed: yes\n",
            "r.yaml:8: train.seed: must be a whole number or null, not the text 'yes'",
        ),
        (
            GOOD + "  layout: trees\n",
            "r.yaml:8: train.layout: must be one of 'auto', 'tree', 'separate', not the text 'trees'; "
            "did you mean 'tree'?",
        ),
        (
            GOOD + "  report_to: [tensorboard, wandbb]\n",
            "r.yaml:8: train.report_to.1: must be one of 'tensorboard', 'wandb', 'trackio', not the text 'wandbb'; "
            "did you mean 'wandb'?",
        ),
        (
            GOOD + "report: {title: 2024}\nevaluate:\n",
            "r.yaml:8: report.title: must be text or null, not 2024; put it in quotes",
        ),
        (GOOD + "name: twice\n", "r.yaml:8: name: duplicate key; it is already set on line 1"),
        (
            changed("name: dpo", "name: dop"),
            "r.yaml:6: train.objective.name: unknown objective 'dop'; did you mean 'dpo'?",
        ),
        (
            changed("beta: 0.2", "bta: 0.2"),
            "r.yaml:6: train.objective.bta: objective 'dpo' has no setting 'bta'; did you mean 'beta'?",
        ),
        (
            changed("beta: 0.2", "beta: high"),
            "r.yaml:6: train.objective.beta: objective 'dpo': beta must be a number, not the text 'high'",
        ),
        (
            changed("beta: 0.2", "beta: -1"),
            "r.yaml:6: train.objective.beta: objective 'dpo': beta must be positive, not -1.0",
        ),
        (
            changed("{name: dpo, beta: 0.2}", "dpo"),
            "r.yaml:6: train.objective: must be a mapping (key: value), not the text 'dpo'",
        ),
        (
            changed("{name: dpo, beta: 0.2}", "{beta: 0.2}"),
            "r.yaml:6: train.objective: an objective needs a name, as in {name: alphapo}",
        ),
        (changed("  path: rows.jsonl", "  format: kto"), "r.yaml:3: data: the key 'path' is missing; data needs it"),
        (changed("name: toy\n", ""), "r.yaml:1: the key 'name' is missing; a recipe needs it"),
        (
            changed("name: toy", "name: ../toy"),
            "r.yaml:1: name: must be letters, digits, '.', '_' and '-', beginning with a letter or digit, not '../toy'",
        ),
        (
            changed("rows.jsonl", "row.jsonl"),
            "r.yaml:4: data.path: there is no file row.jsonl; did you mean 'rows.jsonl'?",
        ),
        (
            changed("tiny-student", "tiny-studnet"),
            "r.yaml:2: model.path: there is no model 'tiny-studnet'; did you mean 'tiny-student'?",
        ),
        (
            changed("tiny-student", "./models/x"),
            "r.yaml:2: model.path: there is no model folder ./models/x (and no folder models)",
        ),
        (
            changed("rows.jsonl", "rows.jsonl\n  format: kot"),
            "r.yaml:5: data.format: unknown format 'kot'; did you mean 'kto'?",
        ),
        (
            changed("rows.jsonl", "rows.jsonl\n  arguments: {n: 3}"),
            "r.yaml:5: data.arguments: only a function (module:function) takes arguments; the data is no function",
        ),
        (
            changed("{path: tiny-student}", "{path: tiny-student, lora_alpha: 16}"),
            "r.yaml:2: model.lora_alpha: has no effect without lora_r, which says that there is an adapter",
        ),
        (
            GOOD + "evaluate: {metrics: [{name: programmatic, function: 'builtins:len'}], win_by: god}\n",
            "r.yaml:8: evaluate.win_by: there is no metric 'god'; did you mean 'gold'?",
        ),
        (
            changed("rows.jsonl", "prefine.tiny_world:rws"),
            "r.yaml:4: data.path: the module 'prefine.tiny_world' has no function 'rws'; did you mean 'rows'?",
        ),
        (
            changed("rows.jsonl", "no_such_pkg.x:rows"),
            "r.yaml:4: data.path: there is no module 'no_such_pkg.x' (is its folder on PYTHONPATH?)",
        ),
    ],
)
def test_mistakes_of_single_keys(write, text, expected):
    assert expected in mistakes(write(text))


PROMPTS = '{"prompt": "a", "id": 3}\n'


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "label: {labelers: [{name: likelihood, model: tiny-teacher}]}\n",
            "label: the data (prompts.jsonl) has no responses to score; add a generate section",
        ),
        (
            "generate:\npair: {pairer: {name: best_worst}}\n",
            "pair: nothing scores the generated responses; add a label section",
        ),
        (
            "generate:\nlabel: {labelers: [{name: likelihood, model: tiny-teacher}]}\npair: {score: likelyhood}\n",
            "pair.score: no labeler gives the score 'likelyhood'; did you mean 'likelihood'?",
        ),
        (
            "generate:\npair:\n"
            "label: {labelers: [{name: likelihood, model: tiny-teacher}, {name: choice, model: tiny-teacher}]}\n",
            "pair: there are several scorers (likelihood, choice); say which decides, as in score: likelihood",
        ),
        (
            "generate:\nlabel: {labelers: [{name: likelihood, model: tiny-teacher}]}\n"
            "train: {objective: {name: dpo}}\n",
            "train: nothing makes pairs of the generated responses; add a pair section",
        ),
        (
            "generate:\ntrain: {objective: {name: dpo}}\n",
            "train: nothing scores and makes pairs of the generated responses; add a pair section and a label section",
        ),
        (
            "generate:\nlabel:\n  labelers:\n" + 2 * "  - {name: likelihood, model: tiny-teacher}\n",
            "label.labelers.1: two labelers give the score 'likelihood'; set as_name on one of them",
        ),
        ("report:\n", "report: there is nothing to report without an evaluation; add an evaluate section"),
        (
            "train: {objective: {name: dpo}}\n",
            "train: the data (prompts.jsonl) has no responses to train on; add generate, label and pair sections",
        ),
    ],
)
def test_stages_whose_input_nothing_provides(write, tmp_path, more, expected):
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    text = "name: toy\nmodel: {path: tiny-student}\ndata: {path: prompts.jsonl}\n" + more
    assert any(m.endswith(expected) for m in mistakes(write(text)))


def test_the_format_also_tells_that_there_are_no_responses(write):
    text = GOOD.replace("path: rows.jsonl", "path: rows.jsonl\n  format: prompt_only")
    assert (
        "r.yaml:6: train: data of the format 'prompt_only' has no responses to train on; " in mistakes(write(text))[0]
    )


def test_a_format_may_have_settings(write):
    block = "path: rows.jsonl\n  format: {name: prompt_only}"
    assert (
        "format 'prompt_only' has no responses to train on"
        in mistakes(write(GOOD.replace("path: rows.jsonl", block)))[0]
    )
    block = block.replace("prompt_only", "pku_safe_rlhf, objectiv: safe")
    assert mistakes(write(GOOD.replace("path: rows.jsonl", block))) == [
        "r.yaml:5: data.format.objectiv: format 'pku_safe_rlhf' has no setting 'objectiv'; did you mean 'objective'?"
    ]
    recipe = load_recipe(write(GOOD.replace("path: rows.jsonl", block.replace("objectiv", "objective"))))
    assert recipe.data.format == {"name": "pku_safe_rlhf", "objective": "safe"}


def test_a_judge_within_a_generator_is_checked(write):
    engine = "{name: openai, model: m, base_url: http://x}"
    judge = f"{{name: judge_pairwise, swapp: true, engine: {engine.replace('model', 'modle')}}}"
    text = GOOD + f"generate:\n  generator: {{name: clair, engine: {engine}, judge: {judge}}}\n"
    found = "\n".join(mistakes(write(text)))
    assert "judge.swapp: labeler 'judge_pairwise' has no setting 'swapp'; did you mean 'swap'?" in found
    assert "judge.engine.modle: engine 'openai' has no setting 'modle'; did you mean 'model'?" in found


def test_pairer_and_objective_must_fit(write):
    pad = changed("{name: dpo, beta: 0.2}", "{name: pad}") + "pair:\n  pairer: {name: best_worst}\n"
    assert mistakes(write(pad)) == [
        "r.yaml:9: pair.pairer.name: the objective 'pad' takes ranked lists, but the pairer 'best_worst' gives pairs; "
        "pairers that fit: ranked"
    ]
    load_recipe(write(pad.replace("best_worst", "ranked")))
    lists = mistakes(write(GOOD + "pair: {pairer: {name: ranked}}\n"))
    assert "takes pairs, but the pairer 'ranked' gives ranked lists" in lists[0]


def test_a_list_longer_than_the_objective_takes(write):
    text = changed("{name: dpo, beta: 0.2}", "{name: pad}") + (
        "generate: {num_responses: 13}\nlabel: {labelers: [{name: likelihood, model: tiny-teacher}]}\n"
        "pair: {pairer: {name: ranked}}\n"
    )
    assert mistakes(write(text)) == [
        "r.yaml:8: generate.num_responses: the objective 'pad' takes at most 12 responses of a prompt, not 13"
    ]


def test_a_score_may_name_an_aspect(write, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    text = (
        "name: toy\nmodel: {path: tiny-student}\ndata: {path: prompts.jsonl}\ngenerate:\n"
        "label: {labelers: [{name: choice, model: tiny-teacher, template: tiny_world}]}\npair: {score: choice.p}\n"
    )
    assert load_recipe(write(text)).pair


def test_all_mistakes_at_once_in_the_order_of_the_file(write):
    text = GOOD.replace("name: toy", "name: _").replace("rows", "rosw").replace("dpo", "dop").replace("rate", "rat")
    assert [m.split(":")[1] for m in mistakes(write(text))] == ["1", "4", "6", "7"]


def test_mistakes_of_overrides_say_so(write):
    path = write(GOOD)
    found = mistakes(path, "train.learning_rat=1e-6", "train.objective.beta=-3", "model.path=tiny-studnt")
    assert found == [
        "r.yaml (override): model.path: there is no model 'tiny-studnt'; did you mean 'tiny-student'?",
        "r.yaml (override): train.objective.beta: objective 'dpo': beta must be positive, not -3.0",
        "r.yaml (override): train.learning_rat: unknown key; did you mean 'learning_rate'?",
    ]
    with pytest.raises(PrefineError, match=r"'train\.learning_rate' is not an override; write key=value"):
        load_recipe(path, ["train.learning_rate"])
    assert "must be a number, not the text '5e-7'; remove the quotes" in mistakes(path, "train.learning_rate='5e-7'")[0]
    assert "is not valid YAML" in mistakes(path, "name=[a")[0]
    assert (
        "there is no 'beta' here: train.learning_rate is a single value"
        in mistakes(path, "train.learning_rate.beta=1")[0]
    )


def test_overrides_set_what_they_name(write):
    path = write(GOOD + "label: {labelers: [{name: likelihood, model: tiny-teacher}]}\n")
    recipe = load_recipe(
        path,
        [
            "train.learning_rate=1E-6",
            "train.objective={name: simpo, beta: 4}",
            "label.labelers.0.as_name=first",
            "label.labelers.1={name: likelihood, model: tiny-teacher, as_name: second}",
            "evaluate.num_samples=0",
            "report={title: x}",
            "seed=7",
        ],
    )
    assert recipe.train and recipe.label and recipe.evaluate and recipe.report
    assert recipe.train.learning_rate == 1e-6
    assert recipe.train.objective["name"] == "simpo" and recipe.train.objective["beta"] == 4.0
    assert [b["as_name"] for b in recipe.label.labelers] == ["first", "second"]
    assert recipe.evaluate.num_samples == 0
    assert recipe.seed == 7
    assert load_recipe(path, ["label=null"]).label is None


VARIANTS = """\
variants:
  small: {model.lora_r: 4, train.learning_rate: 1e-3}
  simpo:
    train.objective: {name: simpo, beta: 4}
"""


def test_variants_differ_in_the_keys_they_name(write):
    small, simpo = load_variants(write(GOOD + VARIANTS), ["train.seed=5", "train.learning_rate=2e-3"])
    assert (small.variant, simpo.variant) == ("small", "simpo") and small.variants == {}
    assert small.train and simpo.train and small.train.seed == simpo.train.seed == 5
    assert (small.model.lora_r, simpo.model.lora_r) == (4, None)
    assert (small.train.learning_rate, simpo.train.learning_rate) == (1e-3, 2e-3), "the variant decides its own keys"
    assert [v.train.objective["name"] for v in (small, simpo) if v.train] == ["dpo", "simpo"]
    only = load_variants(write(GOOD))
    assert len(only) == 1 and only[0].variant is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("lora_r", "lora_rank", "r.yaml:9: model.lora_rank: unknown key; did you mean 'lora_r'?"),
        (
            "beta: 4",
            "beta: no",
            "r.yaml:11: train.objective.beta: objective 'simpo': beta must be a number, not the text 'no'",
        ),
        (
            "{name: simpo, beta: 4}",
            "{name: pad}\n    pair.pairer: {name: best_worst}",
            "r.yaml:12: pair.pairer.name: the objective 'pad' takes",
        ),
    ],
)
def test_mistakes_of_variants_have_the_lines_of_the_variant(write, old, new, expected):
    with pytest.raises(RecipeError) as caught:
        load_variants(write(GOOD + VARIANTS.replace(old, new)))
    assert str(caught.value).startswith(expected)


PHASES = """\
variants:
  first: {train.objective: {name: sft}, pair: null, evaluate: null}
  second:
    model.path: "variant:first"
    data.path: "variant:first/label"
    label.labelers: [{name: likelihood, model: "variant:first"}]
"""


def test_a_variant_may_start_from_what_an_earlier_one_made(write):
    _, second = load_variants(write(GOOD + PHASES))
    assert second.model.path == "variant:first"
    found = settled(second, lambda variant, stage: f"{variant}-{stage}")
    assert (found.model.path, found.data.path) == ("first-train", "first-label")
    assert found.label and found.label.labelers[0]["model"] == "first-train"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"variant:first"\n    data', '"variant:fist"\n    data', "no earlier variant 'fist'; did you mean 'first'?"),
        ('"variant:first"\n    data', '"variant:second"\n    data', "there is no earlier variant 'second'"),
        ("variant:first/label", "variant:first/labels", "no rows of a stage 'labels'; did you mean 'label'?"),
        ("variant:first/label", "variant:first", "data is variant:first/STAGE, not 'variant:first'"),
        ('"variant:first"\n    data', '"variant:first/label"\n    data', "a model is variant:first, not"),
    ],
)
def test_references_that_lead_nowhere(write, old, new, expected):
    with pytest.raises(RecipeError, match=re.escape(expected)):
        load_variants(write(GOOD + PHASES.replace(old, new)))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{name: hf, model: tiny-teecher}", "r.yaml:{line}: label.labelers.0.engine.model: there is no model"),
        ("{name: hff, model: tiny-teacher}", "label.labelers.0.engine.name: unknown engine 'hff'; did you mean 'hf'?"),
        ("{name: hf, model: tiny-teacher, batch: 3}", "engine 'hf' has no setting 'batch'"),
    ],
)
def test_an_engine_inside_a_component_is_checked_with_it(write, block, expected):
    text = GOOD + f"label:\n  labelers:\n    - {{name: judge_single, engine: {block}}}\n"
    line = text[: text.index("judge_single")].count("\n") + 1
    with pytest.raises(RecipeError, match=re.escape(expected.format(line=line))):
        load_recipe(write(text))


def test_an_override_mends_a_mistake_of_the_file(write):
    assert load_recipe(write(changed("5e-7", ".nan")), ["train.learning_rate=1e-5"]).train


def test_a_stage_without_keys_has_its_defaults_and_null_means_none(write):
    recipe = load_recipe(write(GOOD + "evaluate:\npair: null\n"))
    assert recipe.evaluate is not None and recipe.evaluate.num_samples == 4
    assert recipe.pair is None


def test_files_are_looked_up_here_first_and_then_beside_the_recipe(write, tmp_path, monkeypatch):
    write(GOOD)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_recipe("../r.yaml").data.path == str(tmp_path / "rows.jsonl")
    (elsewhere / "rows.jsonl").write_text("{}\n")
    assert load_recipe("../r.yaml").data.path == "rows.jsonl"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\n\tb: 3\n", r"r\.yaml:2: not valid YAML: .*indent with spaces"),
        ("name: [a\nb: c\n", r"r\.yaml:2: not valid YAML"),
        ("", r"r\.yaml:1: a recipe is a mapping"),
        ("- a\n", r"r\.yaml:1: a recipe is a mapping"),
        ("a: &x [*x]\n", "contains itself"),
        ("? [a]\n: b\n", "a key must be a word"),
        ("name: !!python/object:os.system x\n", "the tag '!!python/object:os.system' does not fit here"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
    ],
)
def test_what_is_no_recipe_at_all(write, text, expected):
    with pytest.raises(PrefineError, match=expected):
        load_recipe(write(text))


def test_a_recipe_that_is_not_there(write, tmp_path):
    write(GOOD)
    with pytest.raises(PrefineError, match=r"there is no recipe rr\.yaml; did you mean 'r\.yaml'\?"):
        load_recipe("rr.yaml")
    with pytest.raises(PrefineError, match=r"is a folder, not a recipe; recipes in it: r\.yaml"):
        load_recipe(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PrefineError, match="not text in UTF-8"):
        load_recipe("b.yaml")


def test_saving_and_reading_again_changes_nothing(write):
    recipe = load_recipe(write(GOOD), ["model.revision='5e-7'", "data.split_salt='yes'", "train.seed=3"])
    save_recipe(recipe, "saved.yaml")
    assert load_recipe("saved.yaml") == recipe


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_yaml_reads_what_it_wrote(value):
    document = recipe_text.parse(recipe_text.dump({"value": value}), "x")
    assert document.data == {"value": value}
    assert not document.problems


def test_reading_a_recipe_imports_no_torch():
    code = (
        "import sys, pathlib, prefine\n"
        "for p in sys.argv[1:]:\n"
        "    prefine.load_recipe(p)\n"
        "heavy = {'torch', 'transformers', 'datasets', 'accelerate', 'peft'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    root = Path(__file__).resolve().parents[2]
    recipes = [str(p) for p in sorted((root / "recipes").rglob("*.yaml")) if "shared/" not in p.read_text()]
    done = subprocess.run([sys.executable, "-c", code, *recipes], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_unset_fields_have_the_defaults_of_the_class(write):
    recipe = load_recipe(write(GOOD))
    assert recipe == Recipe.model_validate(recipe.model_dump())


def test_ratings_need_a_labeler(write, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    text = (
        "name: toy\nmodel: {path: tiny-student}\ndata: {path: prompts.jsonl}\ngenerate:\npair:\n"
        "  pairer: {name: controllable, ratings: [judge.honesty], conditions: {judge.honesty: 3}}\n"
    )
    assert mistakes(write(text)) == ["r.yaml:5: pair: nothing scores the generated responses; add a label section"]


def test_labels_for_objectives_without_pairs(write, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    start = "name: toy\nmodel: {path: tiny-student}\ndata: {path: prompts.jsonl}\ngenerate:\n"
    label = "label: {labelers: [{name: likelihood, model: tiny-teacher}]}\n"
    kto = "train: {objective: {name: kto}}\n"
    assert mistakes(write(start + label + kto)) == [
        "r.yaml:6: train: nothing says which of the generated responses are desirable; add a pair section"
    ]
    for pairer in ("{name: unpaired, threshold: -1.0}", "{name: best_worst}"):
        assert load_recipe(write(f"{start}{label}pair: {{pairer: {pairer}}}\n{kto}")).train
    lists = mistakes(write(f"{start}{label}pair: {{pairer: {{name: ranked}}}}\n{kto}"))
    assert "takes responses with a label, but the pairer 'ranked' gives ranked lists" in lists[0]


def test_a_modifier_that_the_objective_cannot_use(write):
    for objective, message in [
        ("{name: simpo, f_divergence: js}", "f_divergence needs log-ratios to a reference"),
        ("{name: aot, wpo: sampled}", "wpo weights pairs"),
        ("{name: dpo_norm, ld_alpha: 0.5}", "ld_alpha discounts sums"),
        ("{name: dpo, f_alpha: 0.5}", "f_alpha has no effect without f_divergence: alpha"),
        ("{name: dpo, nll_reduction: seq_sum}", "nll_reduction has no effect without nll_weight"),
        ("{name: hinge, label_smoothing: 0.1}", "has no setting 'label_smoothing'"),
        ("{name: ipo, beta: 0.1}", "has no setting 'beta'"),
        ("{name: ipo, ld_alpha: 0.5}", "set norm: sum"),
        ("{name: sppo, beta: 0.1}", "another algorithm"),
        ("{name: exo, label_smoothing: 0.0}", "infinite"),
        ("{name: cdpo, gamma: 0.1}", "has no setting 'gamma'"),
        ("{name: slic, bcr_weight: 1.0}", "limits the drop against a reference"),
    ]:
        found = mistakes(write(changed("{name: dpo, beta: 0.2}", objective)))
        assert len(found) == 1 and found[0].startswith("r.yaml:6: train.objective") and message in found[0], found
    for objective in (
        "{name: slic_dpo}",
        "{name: aot_pair}",
        "{name: dpo, wpo: greedy, nll_weight: 0.1, ld_alpha: 0.5}",
    ):
        assert load_recipe(write(changed("{name: dpo, beta: 0.2}", objective))).train


def test_four_bits_need_an_adapter(write):
    text = changed("model: {path: tiny-student}", "model: {path: tiny-student, quantization: nf4}")
    assert mistakes(write(text)) == [
        "r.yaml:2: model.quantization: weights in 4 bits cannot be trained; set lora_r, which adds an adapter"
    ]
    assert load_recipe(write(text.replace("nf4", "nf4, lora_r: 8"))).model.quantization == "nf4"


@pytest.mark.parametrize("key", ["keep", "min_unique"])
def test_no_more_can_be_kept_than_are_sampled(write, key):
    text = GOOD + f"generate: {{num_responses: 3, {key}: 4}}\n"
    assert f"r.yaml:8: generate.{key}: must be at most num_responses (3), not 4" in mistakes(write(text))
