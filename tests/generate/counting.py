"""A generator that remembers what it was asked for."""

from prefine.generate.base import Generator
from prefine.schema import make_candidate

ASKED = []


class Counting(Generator):
    """Says the same twice to prompts with an odd number, and two things to others."""

    def generate(self, groups, num_responses, step):
        ASKED.extend(g.prompt for g in groups)
        return [
            [make_candidate(g.id, str(i * (1 - int(g.prompt[-1]) % 2)), key=str(i)) for i in (0, 1)] for g in groups
        ]
