"""An engine for tests: a function writes the replies."""

import json
from collections import Counter
from dataclasses import asdict

from prefine.engines.base import Engine, Outcome, Reply


class Scripted(Engine):
    """`answer(request)` returns a text, a `Reply`, or an `Outcome` for a failure. `calls` counts what was sent."""

    features = frozenset({"first_token", "score", "seed"})

    def __init__(self, answer, model="scripted"):
        self.answer, self.model, self.calls = answer, model, Counter()

    def identity(self):
        return {"model": self.model}

    def send(self, requests, deliver):
        for i, request in enumerate(requests):
            self.calls[request.key(self.identity())] += 1
            found = self.answer(request)
            if not isinstance(found, Outcome):
                found = Reply(found, "stop") if isinstance(found, str) else found
                found = Outcome(raw=json.dumps(asdict(found)))
            deliver(i, found)

    def read(self, request, raw):
        return Reply(**json.loads(raw))
