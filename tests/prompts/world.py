"""Recipes, folders and scripted engines that the tests of prompts and of generators share."""

from collections import Counter

from prefine.engines.session import Session
from prefine.ledger import Ledger
from prefine.recipe import Data, Generate, Model, Prompts, Recipe
from prefine.rundir import RunDir
from prefine.schema import make_group
from tests.engines.scripted import Scripted


class Stopped(Exception):
    """What a killed process looks like from inside."""


class World:
    """A run directory whose engines are scripted: `answers` maps the model of an engine block to a function.

    `calls` counts, over all sessions, how often each request was sent; after `limit` calls an engine raises.
    """

    def __init__(self, path, answers, limit=None):
        self.path, self.answers, self.limit = path, answers, limit
        self.calls, self.asked, self.open, self.log = Counter(), [], [], []

    def session(self, block, recipe):
        world, model = self, block["model"]
        answer = self.answers[model]

        def counted(request):
            if world.limit is not None and sum(world.calls.values()) >= world.limit:
                raise Stopped
            world.calls[model, request.key({"model": model})] += 1
            world.asked.append((model, request))
            world.log.append(("ask", model))
            return answer(request)

        class Engine(Scripted):
            features = frozenset({*Scripted.features, "user_turn"})

            def close(self):
                world.log.append(("close", model))

        self.path.mkdir(parents=True, exist_ok=True)
        return Session(Engine(counted, model), Ledger(self.path / "ledger.sqlite"))

    def recipe(self, *, maker=None, generator=None, include_seeds=False, **section):
        return Recipe(
            name="run",
            output_dir=str(self.path),
            model=Model(path="student"),
            data=Data(path="d", test_fraction=0.2),
            seed=3,
            prompts=Prompts(maker=maker, include_seeds=include_seeds) if maker else None,
            generate=Generate(generator=generator, **section) if generator else None,
        )

    def folders(self, stage, groups, name="x"):
        run = RunDir(self.path / "run")
        source, target = run.stage("data", name, "1" * 64), run.stage(stage, name, "2" * 64)
        if not source.parts:
            source.start()
            source.write_part(groups)
        target.start()
        return source, target


def seeds(*texts, test=()):
    """Groups with these prompts; those named in `test` are held out."""
    groups = [make_group([{"role": "user", "content": text}], source={"dataset": "d"}) for text in texts]
    for group in groups:
        group.split = "test" if group.prompt in test else "train"
    return groups


def rows(folder):
    """What a folder holds, without the split, which is the stage's."""
    return list(folder.groups())
