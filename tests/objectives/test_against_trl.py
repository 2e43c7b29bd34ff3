"""The losses against those of TRL 1.16, run from its own code on the same random numbers.

TRL computes them inside methods of its trainers. They are called on a stand-in for the trainer, with a model that gives
back fixed log-probs (or logits), so that nothing is trained and nothing is copied.
"""

import math
import warnings
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from prefine.errors import PrefineError
from prefine.objectives import evaluate

trl = pytest.importorskip("trl", reason="the comparison with TRL needs the extra `compare`")

with warnings.catch_warnings():
    # The package says that a part of it is experimental.
    warnings.simplefilter("ignore")
    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_trainer import KTOTrainer

PROMPT, LONGEST, PAIRS, VOCABULARY = 3, 7, 6, 11
SEEDS = [0, 1, 2]


class Accelerator:
    device = torch.device("cpu")

    @staticmethod
    def gather(x):
        return x

    gather_for_metrics = gather


class GivesBack(torch.nn.Module):
    """A model whose log-probs per token are known."""

    is_gradient_checkpointing = False

    def __init__(self, log_probs, log_sum_sq_probs=None):
        super().__init__()
        zeros = torch.zeros_like(log_probs)
        self.output = SimpleNamespace(
            log_probs=log_probs,
            log_sum_sq_probs=zeros if log_sum_sq_probs is None else log_sum_sq_probs,
            entropy=zeros,
            mean_logits=zeros,
            is_top1=zeros.bool(),
        )

    def forward(self, **kwargs):
        return self.output


def trainer(**settings):
    defaults = {
        "accelerator": Accelerator(),
        "args": SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=0.05),
        "aux_loss_enabled": False,
        "precompute_ref_logps": False,
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
        "is_encoder_decoder": False,
        "pad_token_id": 0,
        "padding_value": 0,
    }
    return SimpleNamespace(**{**defaults, **settings})


def sides(seed, spread=1.0, dtype=torch.float64):
    """Token log-probs of policy and reference (pairs, 2, T), zero behind the end, and lengths, which all differ."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, LONGEST + 1, (PAIRS, 2), generator=g)
    inside = torch.arange(LONGEST) < lengths[..., None]
    policy = torch.where(inside, -0.05 - 2 * torch.rand(inside.shape, generator=g, dtype=torch.float64), 0.0)
    moved = spread * torch.randn(inside.shape, generator=g, dtype=torch.float64)
    reference = torch.where(inside, (policy + moved).clamp(max=-0.01), 0.0)
    return policy.to(dtype), reference.to(dtype), lengths


def stacked(tokens):
    """TRL's layout: chosen, then rejected, each behind a prompt; the first position predicts nothing."""
    rows = torch.cat([tokens[:, 0], tokens[:, 1]])
    return torch.cat([rows.new_zeros(len(rows), PROMPT - 1), rows], 1)


def batch_of(lengths):
    n = torch.cat([lengths[:, 0], lengths[:, 1]])
    place = torch.arange(PROMPT + LONGEST)
    mask = ((place >= PROMPT) & (place < PROMPT + n[:, None])).long()
    return {"input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask}


def trl_dpo(loss, numbers, **settings):
    policy, reference, lengths = numbers
    overlap = settings.pop("overlap", None)
    model = GivesBack(stacked(policy), None if overlap is None else stacked(overlap))
    stand_in = trainer(
        model=model,
        ref_model=GivesBack(stacked(reference)),
        loss_types=[loss],
        loss_weights=[1.0],
        **{
            "beta": 0.1,
            "label_smoothing": 0.0,
            "ld_alpha": None,
            "f_divergence_type": "reverse_kl",
            "f_alpha_divergence_coef": 0.5,
            "use_weighting": False,
            **settings,
        },
    )
    return DPOTrainer._compute_loss(stand_in, model, batch_of(lengths), return_outputs=False).item()


def ours(name, numbers, **settings):
    policy, reference, lengths = numbers
    arrays = {"token_logps": policy, "ref_token_logps": reference} if settings.pop("tokens", False) else {}
    sums = {"logps": policy.sum(-1), "ref_logps": reference.sum(-1), "lengths": lengths}
    return evaluate(name, **sums, **arrays, **settings)


def alone(name, numbers, **settings):
    """An objective on the chosen responses only."""
    policy, _, lengths = numbers
    return evaluate(name, logps=policy[:, :1].sum(-1), lengths=lengths[:, :1], **settings)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("loss", "name", "theirs", "settings"),
    [
        ("sigmoid", "dpo", {}, {}),
        ("sigmoid", "sigmoid", {"beta": 0.5}, {"beta": 0.5}),
        ("hinge", "hinge", {}, {}),
        ("hinge", "hinge", {"beta": 2.0}, {"beta": 2.0}),
        ("ipo", "ipo", {}, {}),
        ("ipo", "ipo", {"beta": 0.7}, {"tau": 0.7}),
        ("exo_pair", "exo_pair", {"label_smoothing": 1e-3}, {}),
        ("exo_pair", "exo", {"beta": 0.5, "label_smoothing": 0.1}, {"beta": 0.5, "label_smoothing": 0.1}),
        ("nca_pair", "nca_pair", {}, {"beta": 0.1}),
        ("robust", "robust", {"label_smoothing": 0.1}, {}),
        ("robust", "robust", {"label_smoothing": 0.3}, {"label_smoothing": 0.3}),
        ("bco_pair", "bco_pair", {}, {"delta": "zero"}),
        ("sppo_hard", "sppo_hard", {"beta": 1e-3}, {}),
        ("sppo_hard", "sppo", {"beta": 0.1}, {"beta": 0.1, "allow_large_beta": True}),
        ("aot", "aot", {}, {}),
        ("aot", "aot", {"label_smoothing": 0.2}, {"label_smoothing": 0.2}),
        ("aot_unpaired", "aot_unpaired", {}, {}),
        ("aot_unpaired", "aot_pair", {"label_smoothing": 0.2}, {"label_smoothing": 0.2}),
        ("apo_zero", "apo_zero", {}, {}),
        ("apo_down", "apo_down", {}, {}),
        ("discopop", "discopop", {"beta": 0.05}, {}),
        ("discopop", "discopop", {"beta": 0.5}, {"beta": 0.5}),
        ("sigmoid_norm", "sigmoid_norm", {"beta": 5.0}, {}),
        ("sigmoid_norm", "dpo_norm", {}, {"beta": 0.1}),
    ],
)
def test_losses_of_the_dpo_trainer(seed, loss, name, theirs, settings):
    numbers = sides(seed)
    assert ours(name, numbers, **settings).loss.item() == pytest.approx(trl_dpo(loss, numbers, **theirs), rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_sft_of_the_dpo_trainer(seed):
    numbers = sides(seed)
    assert alone("sft", numbers).loss.item() == pytest.approx(trl_dpo("sft", numbers), rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_discounted_tails(seed):
    numbers = sides(seed)
    expected = trl_dpo("sigmoid", numbers, ld_alpha=0.4)
    assert ours("ld_dpo", numbers, tokens=True, ld_alpha=0.4).loss.item() == pytest.approx(expected, rel=1e-5)
    # TRL divides IPO's discounted sums by the length;
    # here discounts belong to sums, and the two settings together are refused.
    with pytest.raises(PrefineError, match="norm: sum"):
        ours("ipo", numbers, tokens=True, ld_alpha=0.4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "discopop", "exo_pair"])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("forward_kl", {"f_divergence": "forward_kl"}),
        ("js_divergence", {"f_divergence": "js"}),
        # TRL's coefficient is one minus ours, which is the paper's.
        ("alpha_divergence", {"f_divergence": "alpha", "f_alpha": 0.7}),
    ],
)
def test_divergences(seed, loss, kind, settings):
    numbers = sides(seed, spread=0.3, dtype=torch.float32)
    smoothing = {"label_smoothing": 0.1} if loss in ("robust", "exo_pair") else {}
    expected = trl_dpo(loss, numbers, f_divergence_type=kind, f_alpha_divergence_coef=0.3, **smoothing)
    beta = {"tau" if loss == "ipo" else "beta": 0.1}
    if loss == "sigmoid_norm":
        # Ours applies f to the log-ratio per token, TRL divides f of the whole log-ratio by the length: with f of an
        # exponential, the latter overflows for long responses, which the division was to prevent.
        assert ours(loss, numbers, **beta, **settings).loss.item() != pytest.approx(expected, rel=1e-5)
        first = torch.arange(LONGEST) == 0
        numbers = (*(torch.where(first, x, 0.0) for x in numbers[:2]), torch.ones_like(numbers[2]))
        expected = trl_dpo(loss, numbers, f_divergence_type=kind, f_alpha_divergence_coef=0.3)
    assert ours(loss, numbers, **beta, **settings, **smoothing).loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_by_the_policy_are_alike_up_to_the_cut(seed):
    policy, reference, lengths = sides(seed)
    overlap = torch.where(policy != 0, policy + 0.3, 0.0)
    expected = trl_dpo("sigmoid", (policy, reference, lengths), beta=0.01, use_weighting=True, overlap=overlap)
    found = ours("wpo", (policy, reference, lengths), overlap=overlap.sum(-1))
    assert found.loss.item() == pytest.approx(expected, rel=1e-5)
    assert found.metrics["wpo/weight"].tolist() == pytest.approx([math.exp(-0.6)] * PAIRS)
    # Above one TRL does not cut the weights; the paper's equation 4 does.
    overlap = torch.where(policy != 0, policy - 0.3, 0.0)
    expected = trl_dpo("sigmoid", (policy, reference, lengths), beta=0.01, use_weighting=True, overlap=overlap)
    cut = ours("wpo", (policy, reference, lengths), overlap=overlap.sum(-1)).loss.item()
    assert expected == pytest.approx(math.exp(0.6) * cut, rel=1e-5)


# Where the definitions differ


def test_label_smoothing_is_ignored_by_trl_under_sigmoid():
    # A setting that does nothing is a trap, and conservative DPO is defined by it.
    numbers = sides(0)
    assert trl_dpo("sigmoid", numbers, label_smoothing=0.3) == trl_dpo("sigmoid", numbers)
    smoothed, plain = (ours("dpo", numbers, label_smoothing=e).loss.item() for e in (0.3, 0.0))
    assert abs(smoothed - plain) > 1e-3
    assert plain == pytest.approx(trl_dpo("sigmoid", numbers), rel=1e-5)


def test_bco_has_no_threshold_in_trl():
    # The threshold is what keeps the classifier's classes apart when all rewards drift; TRL dropped it in 0.29.
    policy, _, lengths = sides(1)
    drifted = (policy, torch.where(policy != 0, policy - 3.0, 0.0), lengths)
    default = ours("bco_pair", drifted, beta=1.0)
    assert default.metrics["bco/delta"][0] > 5
    assert abs(default.loss.item() - trl_dpo("bco_pair", drifted, beta=1.0)) > 1
    zero = ours("bco_pair", drifted, beta=1.0, delta="zero").loss.item()
    assert zero == pytest.approx(trl_dpo("bco_pair", drifted, beta=1.0), rel=1e-5)


def test_trl_s_default_beta_of_sppo_is_refused():
    # TRL's beta of 0.1 regresses on 5 nats instead of the paper's 500; the authors also halve the sum.
    numbers = sides(0)
    with pytest.raises(PrefineError, match="allow_large_beta"):
        ours("sppo", numbers, beta=0.1)
    assert trl_dpo("sppo_hard", numbers) < 200 < 4e5 < ours("sppo", numbers).loss.item()
    halved = ours("sppo", numbers, half_sum=True).loss.item()
    assert 2 * halved == pytest.approx(trl_dpo("sppo_hard", numbers, beta=1e-3), rel=1e-5)


def test_exo_without_smoothing_is_infinite_in_trl_s_loss():
    # TRL refuses it when the trainer is made, older versions put 1e-3 in its place; 1e-3 is the default here.
    assert trl_dpo("exo_pair", sides(0), label_smoothing=0.0) == math.inf
    with pytest.raises(PrefineError, match="infinite"):
        ours("exo", sides(0), label_smoothing=0.0)


@pytest.mark.parametrize(("loss", "name"), [("aot", "aot"), ("aot_unpaired", "aot_unpaired")])
def test_aot_depends_on_micro_batches_in_trl(loss, name):
    # Sorting the batch is the method, so that the loss should not depend on how a batch is cut to fit into memory.
    numbers = sides(2)
    halves = [tuple(x[s] for x in numbers) for s in (slice(0, 3), slice(3, 6))]
    whole, cut = trl_dpo(loss, numbers), sum(trl_dpo(loss, h) for h in halves) / 2
    assert abs(whole - cut) > 1e-4
    assert ours(name, numbers).loss.item() == pytest.approx(whole, rel=1e-5)


def test_sft_of_unequal_micro_batches():
    # TRL averages the means of micro-batches; here the tokens of the whole batch count alike.
    numbers = sides(0)
    halves = [tuple(x[s] for x in numbers) for s in (slice(0, 3), slice(3, 6))]
    tokens = [int(h[2][:, 0].sum()) for h in halves]
    assert tokens[0] != tokens[1]
    parts = [trl_dpo("sft", h) for h in halves]
    whole = alone("sft", numbers).loss.item()
    assert abs(whole - sum(parts) / 2) > 1e-3
    assert whole == pytest.approx(sum(n * x for n, x in zip(tokens, parts, strict=True)) / sum(tokens), rel=1e-5)


def test_ipo_with_sums():
    # TRL has the mean over tokens only, which is the default here too; the DPO authors sum.
    numbers = sides(0)
    summed = ours("ipo", numbers, norm="sum").loss.item()
    assert summed != pytest.approx(trl_dpo("ipo", numbers), rel=1e-3)


def test_apo_down_mixes_scores_and_log_ratios_nowhere():
    # Under a divergence TRL leaves apo_zero and apo_down on log-ratios; here the combination is refused.
    numbers = sides(0, dtype=torch.float32)
    for loss in ("apo_zero", "apo_down", "nca_pair"):
        assert trl_dpo(loss, numbers, f_divergence_type="js_divergence") == trl_dpo(loss, numbers)
        with pytest.raises(PrefineError, match="f_divergence"):
            ours(loss, numbers, f_divergence="js")


# KTO


def trl_kto(numbers, labels, loss="kto", rank_means=None, **settings):
    policy, reference, lengths = (x[:, 0] for x in numbers[:3])
    other, other_reference = (x[:, 1] for x in numbers[:2])

    def lay_out(x):
        return torch.cat([x.new_zeros(len(x), PROMPT - 1), x], 1)

    def masks(n):
        place = torch.arange(PROMPT + LONGEST)
        return ((place >= PROMPT) & (place < PROMPT + n[:, None])).long()

    class Two(GivesBack):
        """Gives the log-probs of the mismatched responses first, since TRL asks for those first."""

        def __init__(self, mismatched, matched, twice):
            super().__init__(lay_out(matched))
            self.queue = [GivesBack(lay_out(mismatched)).output, self.output] if twice else [self.output]

        def forward(self, **kwargs):
            return self.queue.pop(0)

    mask = masks(lengths)
    batch = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "KL_input_ids": torch.ones_like(mask),
        "KL_attention_mask": torch.ones_like(mask),
        "KL_completion_mask": masks(numbers[2][:, 1]),
        "label": labels,
    }
    accelerator = Accelerator()
    if rank_means is not None:
        accelerator.gather_for_metrics = lambda x: rank_means if x.dim() == 0 and x.is_floating_point() else x
    has_kl = loss == "kto"
    model = Two(other, policy, has_kl)
    stand_in = trainer(
        model=model,
        ref_model=Two(other_reference, reference, has_kl),
        accelerator=accelerator,
        loss_type=loss,
        calculate_KL=has_kl,
        **{"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0, **settings},
    )
    stand_in._compute_kl_logps = lambda m, b: KTOTrainer._compute_kl_logps(stand_in, m, b)
    return KTOTrainer._compute_loss(stand_in, model, batch, return_outputs=False).item()


def our_kto(numbers, labels, **settings):
    policy, reference, lengths = numbers
    return evaluate(
        "kto",
        logps=policy[:, :1].sum(-1),
        ref_logps=reference[:, :1].sum(-1),
        lengths=lengths[:, :1],
        labels=labels[:, None],
        kl_logps=policy[:, 1].sum(-1),
        kl_ref_logps=reference[:, 1].sum(-1),
        **settings,
    )


LABELS = torch.tensor([True, False, False, True, False, True])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("drift", [-2.0, 0.0, 2.0])
def test_kto(seed, drift):
    policy, reference, lengths = sides(seed)
    numbers = (policy, torch.where(reference != 0, reference - drift, 0.0), lengths)
    weights = {"desirable_weight": 1.3, "undesirable_weight": 0.8, "beta": 0.3}
    found = our_kto(numbers, LABELS, **weights)
    assert found.loss.item() == pytest.approx(trl_kto(numbers, LABELS, **weights), rel=1e-5)
    if drift:
        assert (found.metrics["kl/z0"][0] > 0) == (drift > 0)


def test_kto_without_a_reference_point_is_unpaired_apo_zero():
    numbers = sides(0)
    expected = trl_kto(numbers, LABELS, loss="apo_zero_unpaired")
    assert our_kto(numbers, LABELS, z0="zero").loss.item() == pytest.approx(expected, rel=1e-5)


def test_kto_of_one_class():
    numbers = sides(1)
    for labels in (torch.ones(PAIRS, dtype=torch.bool), torch.zeros(PAIRS, dtype=torch.bool)):
        assert our_kto(numbers, labels).loss.item() == pytest.approx(trl_kto(numbers, labels), rel=1e-5)


def test_kto_s_reference_point_over_processes():
    # TRL averages the processes' means, whatever their batches' sizes; here every response counts alike.
    policy, reference, lengths = sides(1)
    numbers = (policy, torch.where(reference != 0, reference - 2.0, 0.0), lengths)
    u = (policy - numbers[1])[:, 1].sum(-1)
    means = torch.stack([u[:1].mean(), u[1:].mean()])
    theirs = trl_kto(numbers, LABELS, rank_means=means)
    found = our_kto(numbers, LABELS)
    assert found.metrics["kl/z0"][0].item() == pytest.approx(u.mean().item())
    assert abs(means.mean() - u.mean()) > 0.1 and abs(theirs - found.loss.item()) > 1e-4


# CPO, SimPO, AlphaPO and ORPO, whose trainers take logits


def logits_batch(seed):
    """Chosen and rejected sequences (pairs, prompt + response), logits for them, and what our side needs."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, LONGEST + 1, (PAIRS, 2), generator=g)
    prompts = torch.randint(1, VOCABULARY, (PAIRS, PROMPT), generator=g)
    size = PROMPT + LONGEST
    batch, sums, prompt_logps = {}, [], None
    logits = 2 * torch.randn(2, PAIRS, size, VOCABULARY, generator=g)
    for i, side in enumerate(("chosen", "rejected")):
        ids = torch.cat([prompts, torch.randint(1, VOCABULARY, (PAIRS, LONGEST), generator=g)], 1)
        present = torch.arange(size) < PROMPT + lengths[:, i, None]
        ids = torch.where(present, ids, 0)
        response = present & (torch.arange(size) >= PROMPT)
        batch[f"{side}_input_ids"], batch[f"{side}_attention_mask"] = ids, present.long()
        batch[f"{side}_labels"] = torch.where(response, ids, -100)
        each = logits[i, :, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        sums.append(torch.where(response[:, 1:], each, 0.0).sum(1))
        if i == 0:
            prompt_logps = each[:, : PROMPT - 1].sum(1)
    given = {"logps": torch.stack(sums, 1), "lengths": lengths}
    prompt = {"prompt_logps": prompt_logps, "prompt_lengths": torch.full((PAIRS,), PROMPT - 1)}
    return batch, logits.flatten(0, 1), given, prompt


def trl_logits(cls, seed, **settings):
    batch, logits, _, _ = logits_batch(seed)
    stand_in = trainer(
        **{"beta": 0.1, "label_smoothing": 0.0, "alpha": 0.0, "cpo_alpha": 1.0, "simpo_gamma": 0.5, **settings}
    )
    stand_in.concatenated_inputs = cls.concatenated_inputs
    stand_in.get_batch_logps = cls.get_batch_logps
    for method in ("concatenated_forward", "cpo_loss", "odds_ratio_loss"):
        if hasattr(cls, method):
            setattr(stand_in, method, getattr(cls, method).__get__(stand_in))
    return cls.get_batch_loss_metrics(stand_in, lambda *a, **k: SimpleNamespace(logits=logits), batch)[0].item()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("theirs", "name", "settings"),
    [
        ({"loss_type": "sigmoid"}, "cpo", {}),
        ({"loss_type": "sigmoid", "cpo_alpha": 0.2, "beta": 0.4}, "cpo", {"beta": 0.4, "nll_weight": 0.2}),
        ({"loss_type": "sigmoid", "label_smoothing": 0.2}, "cpo", {"label_smoothing": 0.2}),
        ({"loss_type": "hinge"}, "slic", {"beta": 0.1, "nll_weight": 1.0}),
        ({"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0}, "simpo", {}),
        (
            {"loss_type": "simpo", "beta": 10.0, "simpo_gamma": 5.4, "cpo_alpha": 0.05},
            "simpo",
            {"beta": 10.0, "gamma": 5.4, "nll_weight": 0.05, "nll_reduction": "token_mean"},
        ),
        (
            {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0, "alpha": 0.25},
            "alphapo",
            {},
        ),
        (
            {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.5, "simpo_gamma": 0.25, "alpha": -0.5},
            "alphapo",
            {"beta": 2.5, "gamma": 0.25, "alpha": -0.5},
        ),
    ],
)
def test_losses_of_the_cpo_trainer(seed, theirs, name, settings):
    given = logits_batch(seed)[2]
    expected = trl_logits(CPOTrainer, seed, **theirs)
    assert evaluate(name, **given, **settings).loss.item() == pytest.approx(expected, rel=1e-5)


def test_trl_leaves_an_nll_on_under_simpo():
    # SimPO has none; TRL's default of 1 for CPO stays unless it is set to 0.
    given = logits_batch(0)[2]
    plain = evaluate("simpo", gamma=0.5, **given).loss.item()
    theirs = trl_logits(CPOTrainer, 0, loss_type="simpo", beta=2.0)
    nll = evaluate("sft", logps=given["logps"][:, :1], lengths=given["lengths"][:, :1]).loss.item()
    assert theirs - plain == pytest.approx(nll, rel=1e-5) and nll > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_orpo(seed):
    _, _, given, prompt = logits_batch(seed)
    expected = trl_logits(ORPOTrainer, seed)
    assert evaluate("orpo", nll_on_prompt=True, **given, **prompt).loss.item() == pytest.approx(expected, rel=1e-5)
    # By default the prompt, which is not the model's to write, is not trained on.
    default = evaluate("orpo", **given).loss.item()
    assert abs(default - expected) > 1e-3
    odds = evaluate("orpo", nll_weight=0.0, **given).loss.item()
    tokens = given["lengths"][:, 0].sum()
    assert default - odds == pytest.approx((-given["logps"][:, 0].sum() / tokens).item(), rel=1e-5)
