"""PKU-SafeRLHF: two answers, judged apart for helpfulness and for safety."""

from __future__ import annotations

from typing import Any, Literal

from prefine.data.build import Source, add_score, must_differ, to_number
from prefine.data.detect import Columns
from prefine.data.harms import add_safety
from prefine.data.messages import Dropped, text_of
from prefine.registry import formats
from prefine.schema import Candidate, Comparison, Group

JUDGES = {"helpful": ("better_response_id", "human:helpful"), "safe": ("safer_response_id", "human:safe")}


@formats.register("pku_safe_rlhf")
class PKUSafeRLHF:
    """PKU-SafeRLHF: two judgements per row, by `human:helpful` and by `human:safe`.

    Columns: prompt, response_0, response_1, is_response_0_safe, is_response_1_safe, better_response_id,
    safer_response_id; response_N_source, response_N_harm_category, response_N_severity_level if there are any.
    Scores: human.safe, human.no_CATEGORY, human.mildness (minus the severity). Where the judgements disagree,
    `task_meta` has objective_conflict. The setting `objective` keeps one of them, so that pairs follow it alone.
    """

    rank = 50
    tells = "preferences"
    columns = (
        "prompt",
        "response_0",
        "response_1",
        "is_response_0_safe",
        "is_response_1_safe",
        "better_response_id",
        "safer_response_id",
        "response_0_source",
        "response_1_source",
        "response_0_harm_category",
        "response_1_harm_category",
        "response_0_severity_level",
        "response_1_severity_level",
        "response_0_sha256",
        "response_1_sha256",
    )
    license = "cc-by-nc-4.0"
    url = "https://huggingface.co/datasets/PKU-Alignment/PKU-SafeRLHF"

    def __init__(self, objective: Literal["both", "helpful", "safe"] = "both") -> None:
        self.objective = objective

    def matches(self, table: Columns) -> bool:
        return all(table.has(f"response_{i}", "text") for i in (0, 1)) and all(
            table.has(column, "number", "text") for column, _ in JUDGES.values()
        )

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(source.prompt(row.get("prompt")), row, self.columns)
        texts = [source.response(row.get(f"response_{i}"), f"response_{i}") for i in (0, 1)]
        must_differ(texts[0], texts[1])
        writers = [text_of(str(row.get(f"response_{i}_source") or ""), "source") for i in (0, 1)]
        sides = [source.candidate(group, t, writer) for t, writer in zip(texts, writers, strict=True)]
        for i, candidate in enumerate(sides):
            self._rate(candidate, row, i, source)
        winners = {name: _index(row.get(column), column) for name, (column, _) in JUDGES.items()}
        if winners["helpful"] != winners["safe"]:
            group.task_meta["objective_conflict"] = "true"
            source.notes["objective_conflicts"] += 1
        for name, (_, judge) in JUDGES.items():
            if self.objective in ("both", name):
                better, worse = sides[winners[name]], sides[1 - winners[name]]
                group.comparisons.append(Comparison(better.id, worse.id, "a", judge))
        return group

    def _rate(self, candidate: Candidate, row: dict[str, Any], i: int, source: Source) -> None:
        add_safety(candidate, row.get(f"is_response_{i}_safe"), row.get(f"response_{i}_harm_category"), source.notes)
        severity = to_number(row.get(f"response_{i}_severity_level"))[0]
        if severity is not None:
            add_score(candidate, "human", -severity, source.notes, "human", "mildness")


def _index(value: Any, name: str) -> int:
    number = to_number(value)[0]
    if number not in (0, 1):
        raise Dropped(f"bad_{name}", repr(value)[:50])
    return int(number)
