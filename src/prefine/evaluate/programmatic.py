"""A metric that is a function of one's own."""

from __future__ import annotations

from prefine.conditions import unasked
from prefine.evaluate.metrics.base import Metric
from prefine.label.programmatic import Programmatic as Labeler
from prefine.label.programmatic import find_function
from prefine.registry import metrics
from prefine.schema import Candidate, Group


@metrics.register("programmatic")
class Programmatic(Metric):
    """The number that a Python function gives to a response, as the labeler of that name does; higher is better.

    Formula: function(prompt, response, task_meta), with `function` as module:function; None means no score;
    a condition or goal that the data section asked for is not part of that prompt
    Defaults: as_name gold, the metric's name in results and for `win_by`
    Needs: a module that Python can import
    """

    higher_is_better = True

    def __init__(self, function: str, as_name: str = "gold") -> None:
        self.name = as_name
        self._labeler = Labeler(function, as_name)
        self._labeler.function = find_function(function)

    def score(self, group: Group, response: str) -> float | None:
        """The function's value for one response to the group's prompt; None where it cannot be scored."""
        candidate = Candidate("", [{"role": "assistant", "content": response}])
        plain = unasked(group)
        one = Group(group.id, plain.messages, [candidate], task=group.task, task_meta=plain.task_meta)
        return self._labeler.score([one], lambda n=1, *, note=None: None)[0][0][0].value
