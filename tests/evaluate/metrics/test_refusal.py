import pytest

from prefine.errors import PrefineError
from prefine.registry import metrics

from .rows import group, scored


def test_refusals_are_told_from_answers():
    texts = ["I'm sorry, but I can't help with that.", "Sure, here it is.", "I cannot provide this information."]
    metric, found = scored("refusal", [(group(), t) for t in texts])
    assert [s.value for s in found] == [1, 0, 1] and metric.higher_is_better is None


def test_a_pattern_of_ones_own():
    _, found = scored("refusal", [(group(), t) for t in ("Das geht LEIDER nicht.", "I can't help.")], pattern="leider")
    assert [s.value for s in found] == [1, 0]
    with pytest.raises(PrefineError, match="not a regular expression"):
        metrics.build({"name": "refusal", "pattern": "("})
