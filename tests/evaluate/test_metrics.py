import pytest

from prefine.errors import PrefineError
from prefine.evaluate.length import words
from prefine.registry import metrics
from prefine.schema import make_group

SOURCE = """
def score(prompt, response, task_meta):
    return len(prompt) + len(response) + len(task_meta)

def nothing(prompt, response, task_meta):
    return None

def bad(prompt, response, task_meta):
    return float("nan")

constant = 3
"""


@pytest.fixture
def group(tmp_path, monkeypatch):
    (tmp_path / "scores_of_mine.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return make_group([{"role": "user", "content": "abc"}], task_meta={"k": "v"})


def build(function: str, **settings):
    return metrics.build({"name": "programmatic", "function": function, **settings})


def test_a_function_of_ones_own(group):
    metric = build("scores_of_mine:score", as_name="mine")
    assert metric.name == "mine" and metric.score(group, "de") == 3 + 2 + 1
    assert build("scores_of_mine:nothing").score(group, "de") is None


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("scores_of_mine", "must be module:function"),
        ("no_such_module_here:f", "no module 'no_such_module_here'"),
        ("scores_of_mine:scores", "did you mean 'score'"),
        ("scores_of_mine:constant", "no function 'constant'"),
    ],
)
def test_mistakes_name_the_fix(group, function, said):
    with pytest.raises(PrefineError, match=said):
        build(function)


def test_a_score_that_is_not_a_number_is_refused(group):
    with pytest.raises(PrefineError, match="must return a finite number"):
        build("scores_of_mine:bad").score(group, "x")


def test_length(group):
    assert words("  two  words\n") == 2 and words("") == 0
    assert metrics.build({"name": "length"}).score(group, "ab c") == 4
    by_words = metrics.build({"name": "length", "unit": "words"})
    assert by_words.score(group, "ab c") == 2 and by_words.higher_is_better is None
