"""ROUGE as the package rouge-score computes it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

from prefine.errors import missing_extra
from prefine.evaluate.metrics.references import ReferenceMetric, references_of
from prefine.registry import metrics
from prefine.schema import Group


class Rouge(ReferenceMetric):
    """One kind of ROUGE; of several references the one with the highest F1 counts."""

    kind: str

    def __init__(self, reference: str = "reference", stem: bool = False, as_name: str | None = None) -> None:
        self.reference, self.stem = reference, stem
        self.name = as_name or self.kind
        self._scorer: Any = None
        self._without_words: set[str] = set()

    def check(self, groups: Sequence[Group]) -> None:
        super().check(groups)
        scorer = self._made()
        for group in groups:
            if any(not scorer._tokenizer.tokenize(r) for r in references_of(group, self.reference)):
                self._without_words.add(group.id)

    def against(self, group: Group, references: list[str], response: str) -> float:
        return float(self._made().score_multi(references, response)[self.kind].fmeasure)

    def facts(self) -> dict[str, Any]:
        """The signature, and how many prompts have a reference of which no word is left, so that nothing matches it."""
        split = "|split=newline" if self.kind == "rougeLsum" else ""
        version = metadata.version("rouge-score")
        out: dict[str, Any] = {"signature": f"{self.kind}|stem={'yes' if self.stem else 'no'}{split}|v{version}"}
        return out | ({"references_without_words": len(self._without_words)} if self._without_words else {})

    def _made(self) -> Any:
        if self._scorer is None:
            try:
                from rouge_score.rouge_scorer import RougeScorer
            except ImportError as error:
                raise missing_extra("rouge-score", "eval") from error
            self._scorer = RougeScorer([self.kind], use_stemmer=self.stem)
        return self._scorer


@metrics.register("rouge1")
class Rouge1(Rouge):
    """Words that a response shares with its reference, 0 to 1.

    Formula: F1 = 2 P R / (P + R) over words, by rouge-score
    Paper: Lin 2004 (ACL W04-1013)
    Defaults: no stemming; reference as for bleu
    Needs: references in Latin script, since all other letters are dropped; the extra eval
    """

    kind = "rouge1"


@metrics.register("rouge2")
class Rouge2(Rouge):
    """Pairs of words that a response shares with its reference, 0 to 1.

    Formula: F1 = 2 P R / (P + R) over pairs of words, by rouge-score
    Paper: Lin 2004 (ACL W04-1013)
    Defaults: no stemming; reference as for bleu
    Needs: references in Latin script, since all other letters are dropped; the extra eval
    """

    kind = "rouge2"


@metrics.register("rougeL")
class RougeL(Rouge):
    """The longest sequence of words that a response and its reference have in common, with gaps, 0 to 1.

    Formula: F1 = 2 P R / (P + R), P and R the sequence's share of the words of either, by rouge-score
    Paper: Lin 2004 (ACL W04-1013)
    Defaults: no stemming; reference as for bleu
    Needs: references in Latin script, since all other letters are dropped; the extra eval
    """

    kind = "rougeL"


@metrics.register("rougeLsum")
class RougeLsum(Rouge):
    """As rougeL, sentence by sentence: for each of the reference's the words that any of the response's contributes.

    Formula: F1 = 2 P R / (P + R) of the union of common sequences, by rouge-score; lines are sentences
    Paper: Lin 2004 (ACL W04-1013), section 3.2
    Defaults: no stemming; reference as for bleu
    Needs: references in Latin script, since all other letters are dropped; the extra eval
    """

    kind = "rougeLsum"
