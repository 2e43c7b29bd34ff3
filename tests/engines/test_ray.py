"""Copies of an engine on a cluster give what one copy in this process gives, and a lost node loses nothing."""

import json

import pytest

from prefine.engines.base import Request, Sampling
from prefine.engines.hf import HFEngine
from prefine.errors import PrefineError
from prefine.recipe import Data, Model, Recipe
from prefine.registry import engines
from prefine.tiny_world import prompts

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytest.importorskip("ray.data", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

RECIPE = Recipe(name="r", model=Model(path="tiny-student"), data=Data(path="x.jsonl"), threads=1)
HF = {"name": "hf", "model": "tiny-student"}


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine; the first one holds this process."""
    from ray.cluster_utils import Cluster

    # Ray's workers run at niceness 15: on a busy machine they would get no processor at all.
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_worker_niceness", "0")

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False},
    )
    second = made.add_node(num_cpus=1, object_store_memory=100 << 20)
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made, second
    ray.shutdown()
    made.shutdown()
    patch.undo()


def requests(n):
    return [
        Request(({"role": "user", "content": row["prompt"]},), Sampling(temperature=1.0, max_tokens=24), tag=str(i % 4))
        for i, row in enumerate(prompts("pref", n))
    ]


def answers(engine, asked):
    engine.prepare(RECIPE)
    found = {}
    engine.send(asked, lambda i, outcome: found.__setitem__(i, engine.read(asked[i], outcome.raw)))
    assert sorted(found) == list(range(len(asked)))
    return [(found[i].text, found[i].finish_reason, found[i].completion_tokens) for i in range(len(asked))]


@pytest.mark.acceptance(name="other_tools")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_of_two_nodes_gives_the_same_rows_even_when_one_is_lost(cluster):
    nodes, second = cluster
    asked = requests(96)
    alone = HFEngine("tiny-student")
    want = answers(alone, asked)
    engine = engines.build({"name": "ray", "engine": HF, "replicas": 2, "batch_size": 8, "chunk": 64})
    assert answers(engine, asked) == want
    assert engine.identity() == alone.identity(), "an answer is the same whoever gave it, so the ledger shares it"
    lost, engine_b = [], engines.build({"name": "ray", "engine": HF, "replicas": 2, "batch_size": 4, "chunk": 96})
    engine_b.prepare(RECIPE)

    def deliver(i, outcome):
        if not lost:
            nodes.remove_node(second)
        lost.append((i, outcome))

    engine_b.send(asked, deliver)
    assert sorted(i for i, _ in lost) == list(range(len(asked)))
    texts = {i: json.loads(outcome.raw)["text"] for i, outcome in lost}
    assert [texts[i] for i in range(len(asked))] == [text for text, *_ in want]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replicas": 0}, "replicas must be 1 or more"),
        ({"batch_size": 8, "chunk": 4}, "chunk must be at least batch_size"),
        ({"engine": {"name": "hff", "model": "m"}}, "unknown engine 'hff'; did you mean 'hf'"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(PrefineError, match=message):
        engines.build({"name": "ray", "engine": HF, **settings})
