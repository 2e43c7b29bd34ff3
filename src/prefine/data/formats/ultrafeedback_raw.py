"""UltraFeedback as its authors published it: four responses, four rated aspects each, and an overall score."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from prefine.data.build import Source, add_score, answered, to_number
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of, map_of, text_of
from prefine.registry import formats
from prefine.schema import Candidate, Group, Score

FIXED = "40b436560ca83a8dba36114c22ab3c66e43f6d5e"
"""The revision of openbmb/UltraFeedback from which on no overall score of 1 is written as 10."""
TEN = 10.0
SCORER = "ultrafeedback"


@formats.register("ultrafeedback_raw")
class UltraFeedbackRaw:
    """UltraFeedback with all its ratings: `fine_mean` (the mean of the rated aspects) is what pairs are made by.

    Columns: instruction, completions (list with model, response, annotations, overall_score), models, source.
    Scores: fine_mean; ultrafeedback.ASPECT, ultrafeedback.n_aspects, ultrafeedback.overall.
    Defaults: TruthfulQA's prompts are dropped (models are evaluated on them); an overall score of 10 is taken for the
    1 it was written over where the aspects say so, unless the revision is the repaired one.
    """

    rank = 20
    tells = "groups"
    columns = ("instruction", "completions", "models", "correct_answers", "incorrect_answers")
    license = "mit"
    url = "https://huggingface.co/datasets/openbmb/UltraFeedback"

    def __init__(self, keep_truthful_qa: bool = False) -> None:
        self.keep_truthful_qa = keep_truthful_qa

    def matches(self, table: Columns) -> bool:
        return table.has("instruction", "text") and table.has("completions", "dicts", "empty") and "models" in table

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        if row.get("source") == "truthful_qa" and not self.keep_truthful_qa:
            raise Dropped("truthful_qa")
        group = source.group(source.prompt(row.get("instruction"), "instruction"), row, self.columns)
        for item in list_of(row.get("completions"), "completions"):
            if not isinstance(item, dict):
                raise Dropped("bad_type_completions", type(item).__name__)
            model = text_of(item.get("model") or "", "model")
            # The system text differs between the responses to one prompt, so it is no part of the prompt.
            about = {
                "model": model,
                "principle": item.get("principle"),
                "system_principle": item.get("custom_system_prompt"),
            }
            candidate = source.one_of_many(group, item.get("response"), "response", model, about)
            if candidate is not None:
                self._rate(candidate, item, source)
        return answered(group)

    def _rate(self, candidate: Candidate, item: dict[str, Any], source: Source) -> None:
        rated = []
        for aspect, given in map_of(item.get("annotations"), "annotations").items():
            if not isinstance(given, dict):
                continue
            why = [given.get(k) for k in ("Rationale", "Rationale For Rating")]
            rationale = "\n".join(w for w in why if isinstance(w, str) and w.strip()) or None
            add_score(candidate, SCORER, given.get("Rating"), source.notes, "judge_aspect", aspect, rationale)
            rated.append(to_number(given.get("Rating"))[0])
        numbers = [r for r in rated if r is not None]
        mean = fmean(numbers) if numbers else None
        add_score(candidate, "fine_mean", mean, source.notes, "judge_aspect")
        add_score(candidate, SCORER, len(numbers), source.notes, "metric", "n_aspects")
        critique = item.get("critique")
        candidate.scores.append(
            self._overall(item.get("overall_score"), mean, critique if isinstance(critique, str) else None, source)
        )

    def _overall(self, value: Any, mean: float | None, critique: str | None, source: Source) -> Score:
        number, status = to_number(value)
        if number == TEN and source.revision != FIXED:
            if mean is not None and mean <= 2:
                source.notes["overall_10_repaired_to_1"] += 1
                number = 1.0
            elif mean is None or mean <= 4:
                source.notes["ambiguous_overall_10"] += 1
                number, status = None, "ambiguous_overall10"
        return Score(SCORER, number, "judge_single", "overall", status, critique)
