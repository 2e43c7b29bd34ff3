"""Samples of the model itself with a reward model's scores, as SimPO's authors store them."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, add_score, answered
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of
from prefine.registry import formats
from prefine.schema import Group


@formats.register("simpo_onpolicy")
class SimPOOnPolicy:
    """SimPO's on-policy data: all samples with their rewards; best and worst are found again from these.

    Columns: prompt, all_generated_responses; all_rm_scores if there are any. chosen and rejected are not read.
    Scores: rm.
    Paper: SimPO, Meng et al. 2024 (arXiv:2405.14734)
    """

    rank = 150
    tells = "groups"
    columns = ("prompt", "all_generated_responses", "all_rm_scores", "chosen", "rejected")

    def matches(self, table: Columns) -> bool:
        return table.has("prompt", "text", "messages") and table.has("all_generated_responses", "texts", "lists")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(source.prompt(row.get("prompt")), row, self.columns)
        responses = list_of(row.get("all_generated_responses"), "all_generated_responses")
        scores = list_of(row.get("all_rm_scores"), "all_rm_scores")
        if scores and len(scores) != len(responses):
            raise Dropped("scores_do_not_fit_responses", f"{len(scores)} for {len(responses)}")
        for i, response in enumerate(responses):
            made = source.one_of_many(group, response, "all_generated_responses", about={"role": "student"})
            if made is not None and scores:
                add_score(made, "rm", scores[i], source.notes, "rm")
        return answered(group)
