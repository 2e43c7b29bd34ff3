"""BLEU and chrF as sacrebleu computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prefine.errors import PrefineError, missing_extra, nearest
from prefine.evaluate.metrics.corpus import CountedMetric
from prefine.evaluate.metrics.references import language_code, languages_of
from prefine.registry import metrics
from prefine.schema import Group

TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""For target languages without spaces between words, or with words that particles stick to; 13a for all others."""


class SacreBleu(CountedMetric):
    """A metric of sacrebleu: counts by segment, and signatures by what they were counted with."""

    def __init__(self, reference: str, as_name: str) -> None:
        super().__init__()
        self.reference, self.name = reference, as_name
        self._made: dict[str, tuple[Any, Any]] = {}
        self._references: dict[str, set[int]] = {}

    def make(self, variant: str) -> tuple[Any, Any]:
        """sacrebleu's metric for a corpus, and for a single segment, of a variant (a tokenizer's name, or nothing)."""
        raise TypeError(f"{type(self).__name__} has no method make(variant)")

    def variant(self, group: Group) -> str:
        """What the text of this prompt's responses has to be counted with."""
        return ""

    def check(self, groups: Sequence[Group]) -> None:
        super().check(groups)
        for variant in sorted({self.variant(g) for g in groups}):
            self._metrics(variant)

    def against(self, group: Group, references: list[str], response: str) -> float:
        """The score of the segment by itself."""
        return float(self._metrics(self.variant(group))[1]._compute_score_from_stats(self._sums(group, response)).score)

    def count(self, group: Group, references: list[str], response: str) -> Sequence[float]:
        variant = self.variant(group)
        self._references.setdefault(variant, set()).add(len(references))
        corpus, _ = self._metrics(variant)
        return corpus._extract_corpus_statistics([response], [[r] for r in references])[0]

    def total(self, part: str, counts: np.ndarray) -> float:
        corpus, _ = self._metrics(self._variant_of_part(part))
        return float(corpus._compute_score_from_stats([int(c) for c in counts]).score)

    def facts(self) -> dict[str, Any]:
        """sacrebleu's signature; by tokenizer where there were several."""
        found = {}
        for variant, counts in sorted(self._references.items()):
            corpus, _ = self._metrics(variant)
            corpus.num_refs = next(iter(counts)) if len(counts) == 1 else -1
            found[variant] = str(corpus.get_signature())
        return {"signature": next(iter(found.values())) if len(found) == 1 else found}

    def _sums(self, group: Group, response: str) -> list[int]:
        found = self.counts_of(group, response)
        assert found is not None, "a response is scored against references only"
        return [int(c) for c in found]

    def _variant_of_part(self, part: str) -> str:
        return ""

    def _metrics(self, variant: str) -> tuple[Any, Any]:
        if variant not in self._made:
            try:
                self._made[variant] = self.make(variant)
            except ImportError as error:
                raise missing_extra("sacrebleu", "eval") from error
            except RuntimeError as error:
                # sacrebleu refuses to import a tokenizer whose package is missing.
                raise PrefineError(
                    f"{self.name}: the tokenizer '{variant}' needs another package: "
                    f"pip install 'sacrebleu[{variant.split('-')[0]}]'"
                ) from error
        return self._made[variant]


@metrics.register("bleu")
class Bleu(SacreBleu):
    """BLEU of a corpus, 0 to 100, and of each response with the effective order of its n-grams.

    Formula: exp(min(0, 1 - reference length / length)) * (p1 p2 p3 p4)^(1/4) over the whole corpus, with exponential
    smoothing, by sacrebleu, whose signature is kept; pairs of languages are a corpus each, the value is their mean
    Paper: Papineni et al. 2002 (ACL P02-1040); Post 2018 (arXiv:1804.08771)
    Defaults: reference: the entry of task_meta, further ones reference_1, reference_2 ... or a list references, or the
    data's responses; lang: null is the prompt's tgt_lang; tokenize: null is zh, ja-mecab, ko-mecab for these languages,
    else 13a
    Needs: references; the extra eval
    """

    def __init__(
        self,
        reference: str = "reference",
        lang: str | None = None,
        tokenize: str | None = None,
        lowercase: bool = False,
        as_name: str = "bleu",
    ) -> None:
        super().__init__(reference, as_name)
        self.lang, self.tokenize, self.lowercase = language_code(lang or ""), tokenize, lowercase

    def variant(self, group: Group) -> str:
        return self._tokenizer(self.lang or languages_of(group)[1])

    def _variant_of_part(self, part: str) -> str:
        return self._tokenizer(self.lang or part.rpartition("-")[2])

    def _tokenizer(self, language: str) -> str:
        return self.tokenize or TOKENIZERS.get(language, "13a")

    def make(self, variant: str) -> tuple[Any, Any]:
        from sacrebleu.metrics.bleu import BLEU

        if variant not in BLEU.TOKENIZERS:
            raise PrefineError(f"bleu: tokenize: sacrebleu has no '{variant}'{nearest(variant, BLEU.TOKENIZERS)}")
        return tuple(BLEU(self.lowercase, tokenize=variant, effective_order=e) for e in (False, True))  # type: ignore[return-value]


@metrics.register("chrf")
class ChrF(SacreBleu):
    """chrF, the F-score of character n-grams, 0 to 100, of a corpus and of each response.

    Formula: (1 + b^2) P R / (b^2 P + R), b = 2, with precision and recall averaged over n-grams of 1 to 6 characters,
    by sacrebleu, whose signature is kept; of several references the best for each segment
    Paper: Popovic 2015 (ACL W15-3049)
    Defaults: reference as for bleu
    Needs: references; the extra eval
    """

    word_order = 0

    def __init__(self, reference: str = "reference", as_name: str = "chrf") -> None:
        super().__init__(reference, as_name)

    def make(self, variant: str) -> tuple[Any, Any]:
        from sacrebleu.metrics.chrf import CHRF

        made = CHRF(word_order=self.word_order)
        return made, made


@metrics.register("chrf++")
class ChrFPlusPlus(ChrF):
    """chrF++, the F-score of character and word n-grams, 0 to 100, of a corpus and of each response.

    Formula: as chrf, with n-grams of 1 and 2 words in the averages
    Paper: Popovic 2017 (ACL W17-4770)
    Defaults: reference as for bleu
    Needs: references; the extra eval
    """

    word_order = 2

    def __init__(self, reference: str = "reference", as_name: str = "chrf++") -> None:
        super().__init__(reference, as_name)
