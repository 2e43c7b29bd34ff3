"""Metrics and tasks in a recipe: mistakes are told with their place when the file is read."""

import pytest

from prefine.errors import PrefineError
from prefine.recipe.file import load_recipe

HEAD = "name: r\nmodel: {path: tiny-student}\ndata: {path: prompts.jsonl}\nevaluate:\n"


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "p"}\n')
    (tmp_path / "my_tasks").mkdir()

    def read_text(text):
        (tmp_path / "r.yaml").write_text(HEAD + text)
        return load_recipe(tmp_path / "r.yaml")

    return read_text


def test_tasks_and_metrics_are_read(read):
    found = read("  metrics: [{name: chrf++}, {name: rougeLsum}]\n  win_by: chrf++\n  tasks: {names: [arc]}\n").evaluate
    assert found.tasks.names == ["arc"] and found.tasks.batch_size == 8 and found.win_by == "chrf++"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  tasks: {names: []}\n", "names"),
        ("  tasks: {names: [arc], num_fewshots: 5}\n", "did you mean 'num_fewshot'"),
        ("  tasks: {names: [x], include_path: my_task}\n", "no folder of tasks my_task; did you mean 'my_tasks'"),
        ("  metrics: [{name: bleu}, {name: bleu, lang: de}]\n", "two metrics give the score 'bleu'; set as_name"),
        ("  metrics: [{name: rougel}]\n", "did you mean 'rougeL'"),
        ("  metrics: [{name: attack_success, engine: {name: opena, model: m}}]\n", "did you mean 'openai'"),
        ("  metrics: [{name: bertscore, value: f2}]\n", "did you mean 'f1'"),
        ("  metrics: [{name: toxicity, model: ./no-such}]\n", "no-such"),
    ],
)
def test_mistakes_name_the_place(read, text, said):
    with pytest.raises(PrefineError, match=said) as error:
        read(text)
    assert "r.yaml" in str(error.value)
