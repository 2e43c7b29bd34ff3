"""METEOR as nltk computes it, with as much of its data as there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefine.errors import missing_extra
from prefine.evaluate.metrics.references import ReferenceMetric
from prefine.evaluate.metrics.wordnet import NoSynonyms, find_wordnet, has_data
from prefine.registry import metrics
from prefine.schema import Group


@metrics.register("meteor")
class Meteor(ReferenceMetric):
    """Matches of words in the same form, stem or meaning, with a penalty for broken order, 0 to 1.

    Formula: (1 - 0.5 (chunks / matches)^3) * P R / (0.9 P + 0.1 R) by nltk on lower-cased words; of several references
    the best
    Paper: Banerjee and Lavie 2005 (ACL W05-0909); Lavie and Agarwal 2007 (ACL W07-0734)
    Defaults: synonyms: null takes WordNet where it is installed and says in the signature whether it did; true makes it
    an error where it is missing; reference as for bleu
    Needs: references; the extra eval; for synonyms nltk's wordnet, or Debian's package wordnet-base
    """

    def __init__(self, reference: str = "reference", synonyms: bool | None = None, as_name: str = "meteor") -> None:
        self.reference, self.synonyms, self.name = reference, synonyms, as_name
        self._wordnet: Any = None
        self._whole_lines = True

    def check(self, groups: Sequence[Group]) -> None:
        super().check(groups)
        self._load()

    def against(self, group: Group, references: list[str], response: str) -> float:
        from nltk.translate import meteor_score as nltk_meteor

        meteor_score: Any = nltk_meteor.meteor_score
        if self._wordnet is None:
            self._load()
        return float(meteor_score([self._words(r) for r in references], self._words(response), wordnet=self._wordnet))

    def _words(self, text: str) -> list[str]:
        from nltk import word_tokenize

        return word_tokenize(text, preserve_line=self._whole_lines)

    def _load(self) -> None:
        try:
            import nltk  # noqa: F401
        except ImportError as error:
            raise missing_extra("nltk", "eval") from error
        self._whole_lines = not has_data("tokenizers/punkt_tab/english")
        found = None if self.synonyms is False else find_wordnet(required=self.synonyms is True)
        self._wordnet = NoSynonyms() if found is None else found

    def facts(self) -> dict[str, Any]:
        """The stages of matching, the tokenizer (punkt splits sentences first, where its data is there), and nltk."""
        import nltk

        stages = "exact+stem" if isinstance(self._wordnet, NoSynonyms) else f"exact+stem+wordnet{self._version()}"
        tokenizer = "treebank" if self._whole_lines else "punkt+treebank"
        return {"signature": f"meteor|stages={stages}|tok={tokenizer}|a=0.9|b=3|g=0.5|nltk={nltk.__version__}"}

    def _version(self) -> str:
        return str(self._wordnet.get_version() or "")
