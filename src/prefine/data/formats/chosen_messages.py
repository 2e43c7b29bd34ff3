"""Pairs as two whole conversations in parts, each message with the weight of its loss."""

from __future__ import annotations

import json
from typing import Any

from prefine.data.build import Source, shared_prefix
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of, to_messages
from prefine.registry import formats
from prefine.schema import Candidate, Group


@formats.register("chosen_messages")
class ChosenMessages:
    """Pairs as two conversations (LLaMA-Factory's second format): their shared turns are the prompt.

    Columns: chosen_messages, rejected_messages (role, content as text or parts, loss_weight). Weights other than 1 for
    the assistant's turns of a response are kept in the response's `generator` as loss_weights, and counted; training
    does not follow them.
    """

    rank = 185
    tells = "preferences"
    columns = ("chosen_messages", "rejected_messages")

    def matches(self, table: Columns) -> bool:
        return all(table.has(c, "messages") for c in self.columns)

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        sides = [to_messages(row.get(c), c, source.notes) for c in self.columns]
        n = shared_prefix(sides[0], sides[1])
        if not n or n in (len(sides[0]), len(sides[1])):
            raise Dropped("no_divergence", "the conversations share no prompt, or one begins with the other")
        group = source.group(source.context(sides[0][:n]), row, self.columns)
        pair = source.prefer(group, source.completion(sides[0][n:]), source.completion(sides[1][n:]))
        for candidate, name in zip(pair, self.columns, strict=True):
            _keep_weights(candidate, list_of(row.get(name), name))
        return group


def _keep_weights(candidate: Candidate, items: list[Any]) -> None:
    """Note the weights of the response's messages where one of them is not what training does anyway."""
    tail = items[-len(candidate.completion) :]
    usual = [float(m["role"] == "assistant") for m in candidate.completion]
    weights = [
        w if isinstance(w := item.get("loss_weight"), (int, float)) else u for item, u in zip(tail, usual, strict=False)
    ]
    if weights != usual:
        candidate.generator["loss_weights"] = json.dumps(weights)
