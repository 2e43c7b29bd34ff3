"""Token-level distillation: the student's next-token distributions are trained towards those of a teacher."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from prefine.objectives.base import Objective, Output, Responses
from prefine.objectives.links import log1mexp
from prefine.registry import objectives


def forward_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of log-probs (..., V) -> (...)."""
    return (teacher.exp() * (teacher - student)).sum(-1)


def reverse_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(student || teacher) of log-probs (..., V) -> (...)."""
    return forward_kl(teacher, student)


def generalized_jsd(student: Tensor, teacher: Tensor, b: float) -> Tensor:
    """b KL(teacher || M) + (1 - b) KL(student || M), M = (1 - b) student + b teacher; log-probs (..., V) -> (...).

    Divided by b it tends to the forward KL as b goes to 0; divided by 1 - b, to the reverse one as b goes to 1.
    """
    mixture = torch.logaddexp(student + math.log1p(-b), teacher + math.log(b))
    return b * forward_kl(mixture, teacher) + (1 - b) * forward_kl(mixture, student)


def log_probs(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) over the last dimension, at least in float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.log_softmax(logits / temperature, -1)


def buckets(logps: Tensor, ids: Tensor) -> Tensor:
    """Log-probs of the tokens `ids` (..., k) and, last, of all others together; logps: (..., V) -> (..., k + 1).

    The rest is summed over its tokens, not taken as 1 minus the others, which would lose small values and their
    gradients. With k = V nothing is left, and there is no last bucket.
    """
    kept = logps.gather(-1, ids)
    if ids.shape[-1] == logps.shape[-1]:
        return kept
    rest = torch.logsumexp(logps.scatter(-1, ids, -math.inf), -1, keepdim=True)
    return torch.cat([kept, rest], -1)


def stored_buckets(logps: Tensor, vocab_size: int) -> Tensor:
    """The same from the log-probs (..., k) of the most likely tokens alone.

    What is left for the others is known up to rounding, so it counts as no less than that.
    """
    logps = logps.to(torch.promote_types(logps.dtype, torch.float32))
    if logps.shape[-1] == vocab_size:
        return logps
    total = torch.logsumexp(logps, -1, keepdim=True)
    return torch.cat([logps, log1mexp(total.clamp(max=-torch.finfo(logps.dtype).eps))], -1)


@objectives.register("kd")
class KD(Objective):
    """Knowledge distillation on the next-token distributions of the response; the teacher shares the vocabulary.

    teacher: path of the teacher model. divergence: forward_kl is KL(T || S), reverse_kl is KL(S || T), jsd the
    generalized Jensen-Shannon divergence with weight jsd_beta (towards 0 like forward_kl, towards 1 like reverse_kl).
    lam: share of the divergence, the rest is NLL. scale_by_t2: multiply the divergence by temperature^2. top_k: compare
    the teacher's k most likely tokens and one bucket for all others, which bounds the divergence from below. source:
    `stored` computes the teacher's top k once, before training. on_policy: share of the examples whose response the
    student writes anew, with max_new_tokens and sampling_temperature. reduction: token_mean over the global batch or
    seq_mean.

    Formula: (1-lam) NLL + lam D(softmax(teacher/tau), softmax(student/tau)), times tau^2 in D with scale_by_t2
    Paper: Hinton et al. 2015, arXiv:1503.02531; on_policy and jsd: Agarwal et al. 2023, arXiv:2306.13649
    Defaults: forward KL at temperature 1, lam 0.5, token_mean; learning rates as for sft; jsd_beta 0.5; with on_policy
    256 new tokens at temperature 0.9
    Disagreements: the KD baseline of PAD's code has the arguments of the KL swapped and the student one token late;
    torchtune's forward KL is a cross-entropy, off by the teacher's entropy; TRL's GKD calls token_mean batchmean; top k
    without a bucket for the rest is biased and not offered
    """

    group_size: ClassVar[int | None] = 1
    statistics: frozenset[str] = frozenset({"divergence"})

    def __init__(
        self,
        teacher: str,
        divergence: Literal["forward_kl", "reverse_kl", "jsd"] = "forward_kl",
        jsd_beta: float | None = None,
        temperature: float = 1.0,
        scale_by_t2: bool = False,
        lam: float = 0.5,
        top_k: int | None = None,
        source: Literal["online", "stored"] = "online",
        on_policy: float = 0.0,
        max_new_tokens: int | None = None,
        sampling_temperature: float | None = None,
        reduction: Literal["token_mean", "seq_mean"] = "token_mean",
    ) -> None:
        super().__init__()
        if not teacher:
            raise ValueError("teacher must be the path of a model")
        if jsd_beta is not None and divergence != "jsd":
            raise ValueError("jsd_beta has no effect without divergence: jsd")
        if jsd_beta is not None and not 0 < jsd_beta < 1:
            raise ValueError(f"jsd_beta must be in (0, 1), not {jsd_beta}; its limits are forward_kl and reverse_kl")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        if scale_by_t2 and temperature == 1:
            raise ValueError("scale_by_t2 has no effect at temperature 1")
        if not 0 < lam <= 1:
            raise ValueError(f"lam must be in (0, 1], not {lam}; without a divergence the objective is sft")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        if source == "stored" and top_k is None:
            raise ValueError("source: stored keeps the teacher's top_k log-probs; set top_k")
        if not 0 <= on_policy <= 1:
            raise ValueError(f"on_policy must be in [0, 1], not {on_policy}")
        if on_policy > 0 and source == "stored":
            raise ValueError("on_policy samples new responses, for which no teacher's log-probs are stored")
        if on_policy > 0 and lam != 1:
            raise ValueError("on_policy trains on the student's own text, of which NLL teaches it nothing; set lam: 1")
        if on_policy == 0 and (max_new_tokens is not None or sampling_temperature is not None):
            raise ValueError("max_new_tokens and sampling_temperature have no effect without on_policy")
        if max_new_tokens is not None and max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
        if sampling_temperature is not None and sampling_temperature < 0:
            raise ValueError(f"sampling_temperature must not be negative, not {sampling_temperature}")
        self.teacher, self.divergence = teacher, divergence
        self.jsd_beta = 0.5 if jsd_beta is None else jsd_beta
        self.temperature, self.scale_by_t2, self.lam = temperature, scale_by_t2, lam
        self.top_k, self.source, self.reduction = top_k, source, reduction
        self.on_policy = on_policy
        self.max_new_tokens = 256 if max_new_tokens is None else max_new_tokens
        self.sampling_temperature = 0.9 if sampling_temperature is None else sampling_temperature

    def weight(self, lengths: Tensor) -> Tensor:
        return lengths[:, 0].float() if self.reduction == "token_mean" else super().weight(lengths)

    def token_divergence(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """(n, V), (n, V) -> (n,), before any factor."""
        student, teacher = (log_probs(z, self.temperature) for z in (student_logits, teacher_logits))
        if self.top_k is not None and self.top_k < teacher.shape[-1]:
            ids = teacher.topk(self.top_k, -1).indices
            student, teacher = buckets(student, ids), buckets(teacher, ids)
        return self._compare(student, teacher)

    def teacher_top_k(self, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
        """(n, V) -> ids (n, k) and log-probs (n, k), to be stored; they are those at this objective's temperature."""
        assert self.top_k is not None
        logps, ids = log_probs(teacher_logits, self.temperature).topk(min(self.top_k, teacher_logits.shape[-1]), -1)
        return ids, logps

    def token_divergence_top_k(self, student_logits: Tensor, ids: Tensor, logps: Tensor) -> Tensor:
        """(n, V) logits against what `teacher_top_k` gave -> (n,)."""
        student = buckets(log_probs(student_logits, self.temperature), ids)
        return self._compare(student, stored_buckets(logps, student_logits.shape[-1]).to(student.dtype))

    def _compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.divergence == "jsd":
            return generalized_jsd(student, teacher, self.jsd_beta)
        return (forward_kl if self.divergence == "forward_kl" else reverse_kl)(student, teacher)

    def forward(self, responses: Responses) -> Output:
        assert responses.divergence is not None
        lengths = responses.lengths[:, 0]
        nll, divergence = -responses.logps[:, 0] / lengths, responses.divergence[:, 0] / lengths
        factor = self.lam * (self.temperature**2 if self.scale_by_t2 else 1.0)
        losses = factor * divergence
        if self.lam < 1:
            losses = losses + (1 - self.lam) * nll
        metrics = {"kd/divergence": divergence, "nll": nll, "lengths/chosen": lengths.to(nll.dtype)}
        return Output(losses, {name: value.detach() for name, value in metrics.items()})


@objectives.register("gkd")
class GKD(KD):
    """Generalized knowledge distillation: `kd` with the defaults of its on-policy paper.

    Formula: D(teacher, student) on the response, which the student writes anew for the share on_policy of the examples
    Paper: Agarwal et al. 2023, arXiv:2306.13649
    Defaults: jsd with jsd_beta 0.5, on_policy 0.5, sampling temperature 0.9, no NLL (lam 1)
    Disagreements: in TRL a jsd_beta of 0 or 1 means the forward or reverse KL; here those are divergences of their own
    """

    def __init__(
        self,
        divergence: Literal["forward_kl", "reverse_kl", "jsd"] = "jsd",
        on_policy: float = 0.5,
        lam: float = 1.0,
        **settings: Any,
    ) -> None:
        super().__init__(divergence=divergence, on_policy=on_policy, lam=lam, **settings)
