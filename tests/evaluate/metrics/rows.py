"""Prompts with references, and ways to score responses to them."""

import pytest

from prefine.recipe import Data, Model, Recipe
from prefine.registry import metrics
from prefine.schema import make_group

RECIPE = Recipe(name="r", model=Model(path="m"), data=Data(path="d"))


def group(reference="", *, prompt="p", **meta):
    """A prompt with one reference; several under `references`, other facts by name."""
    found = {"reference": reference} if reference else {}
    return make_group([{"role": "user", "content": prompt}], task_meta={**found, **meta})


def groups(references, **meta):
    return [group(r, prompt=f"p{i}", **meta) for i, r in enumerate(references)]


def silent(n=1, *, note=None):
    pass


def scored(name, asked, **settings):
    """The metric, ready, and its scores of `asked`."""
    metric = metrics.build({"name": name, **settings})
    metric.check([g for g, _ in asked])
    metric.prepare(RECIPE)
    counted = []
    found = metric.scores(asked, lambda n=1, *, note=None: counted.append(n))
    assert sum(counted) == len(asked) == len(found)
    return metric, found


def values(name, references, responses, **settings):
    """The value of each response against one reference each."""
    _, found = scored(name, list(zip(groups(references), responses, strict=True)), **settings)
    return [s.value for s in found]


def extra(module):
    """Skip, visibly, where the package of an extra is missing."""
    return pytest.importorskip(module, reason=f"needs {module} (the extra eval or bertscore)", exc_type=ImportError)
