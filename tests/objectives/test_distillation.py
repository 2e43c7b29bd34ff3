"""Worked values: teacher rows (.6, .3, .1), (.2, .5, .3), student rows (.4, .4, .2), (.25, .25, .5).

Forward KL of the first row: .6 ln(.6/.4) + .3 ln(.3/.4) + .1 ln(.1/.2) = .243279 - .086305 - .069315 = .087660.
Its top 1 with a bucket for the rest: .6 ln(.6/.4) + .4 ln(.4/.6) = .081093.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine.errors import PrefineError
from prefine.objectives.base import Responses
from prefine.objectives.distillation import GKD, KD, buckets, log_probs, stored_buckets
from prefine.registry import objectives

TEACHER = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]
STUDENT = [[0.4, 0.4, 0.2], [0.25, 0.25, 0.5]]
DTYPES = [(torch.float64, 1e-6), (torch.float32, 2e-5)]
KINDS = [{"divergence": "forward_kl"}, {"divergence": "reverse_kl"}, {"divergence": "jsd", "jsd_beta": 0.3}]


def kd(**given):
    return KD("teacher", **given)


def rows(dtype=torch.float64):
    """Logits of student and teacher; a constant per row changes nothing."""
    shift = torch.tensor([[3.0], [-1.0]], dtype=dtype)
    return torch.tensor(STUDENT, dtype=dtype).log() + shift, torch.tensor(TEACHER, dtype=dtype).log() - shift


def numbers(limit, width=7, count=3):
    row = st.lists(st.floats(-limit, limit), min_size=width, max_size=width)
    return st.lists(row, min_size=count, max_size=count)


@pytest.mark.parametrize(("dtype", "slack"), DTYPES)
@pytest.mark.parametrize(
    ("given", "factor", "expected"),
    [
        ({}, 1, [0.0876597251, 0.1486971929]),
        ({"divergence": "reverse_kl"}, 1, [0.0915162218, 0.1379119046]),
        ({"divergence": "jsd"}, 1, [0.0221463852, 0.0352627175]),
        ({"divergence": "jsd", "jsd_beta": 0.1}, 1, [0.0078937746, 0.0132036405]),
        ({"temperature": 2.0}, 1, [0.0247953387, 0.0354451055]),
        ({"temperature": 2.0, "scale_by_t2": True}, 4, [0.0991813548, 0.1417804221]),
        ({"top_k": 1}, 1, [0.0810930216, 0.1438410362]),
        ({"top_k": 3}, 1, [0.0876597251, 0.1486971929]),
        ({"top_k": 1000}, 1, [0.0876597251, 0.1486971929]),
    ],
)
def test_worked_values(dtype, slack, given, factor, expected):
    """Of each token; of the objective, whose NLL counts for nothing at lam 1; and from the stored top k."""
    objective = kd(lam=1.0, **given)
    student, teacher = rows(dtype)
    tokens = objective.token_divergence(student, teacher)
    assert (factor * tokens).tolist() == pytest.approx(expected, abs=slack)
    responses = Responses(torch.zeros(2, 1, dtype=dtype), torch.tensor([[1], [1]]), divergence=tokens[:, None])
    assert objective(responses).losses.tolist() == pytest.approx(expected, abs=slack)
    if "top_k" in given:
        stored = objective.token_divergence_top_k(student, *objective.teacher_top_k(teacher))
        assert stored.tolist() == pytest.approx(expected, abs=slack)


def test_mean_over_tokens():
    student, teacher = rows()
    assert kd().token_divergence(student, teacher).mean().item() == pytest.approx(0.1181784590, abs=1e-6)


def test_the_loss_mixes_nll_and_divergence_over_tokens_or_over_responses():
    """Two responses of 1 and 3 tokens: per token NLL 2 and 1, divergence 0.4 and 0.2."""
    logps = torch.tensor([[-2.0], [-3.0]], requires_grad=True)
    responses = Responses(logps, torch.tensor([[1], [3]]), divergence=torch.tensor([[0.4], [0.6]]))
    out = kd(lam=0.25)(responses)
    assert out.losses.tolist() == pytest.approx([0.75 * 2 + 0.25 * 0.4, 0.75 * 1 + 0.25 * 0.2])
    assert out.weights is None and kd().weight(responses.lengths).tolist() == [1.0, 3.0]
    assert kd(reduction="seq_mean").weight(responses.lengths).tolist() == [1.0, 1.0]
    assert out.metrics["kd/divergence"].tolist() == pytest.approx([0.4, 0.2])
    assert out.metrics["nll"].tolist() == [2.0, 1.0] and out.metrics["lengths/chosen"].tolist() == [1.0, 3.0]
    assert not any(value.requires_grad for value in out.metrics.values())
    weights = kd().weight(responses.lengths)
    total = (weights * out.losses).sum() / weights.sum()
    assert total.item() == pytest.approx(0.75 * 5 / 4 + 0.25 * 1.0 / 4)
    total.backward()
    assert logps.grad.flatten().tolist() == pytest.approx([-0.75 / 4] * 2)
    scaled = kd(lam=0.25, temperature=2.0, scale_by_t2=True)(responses)
    assert scaled.losses.tolist() == pytest.approx([0.75 * 2 + 0.4, 0.75 * 1 + 0.2])


def test_without_nll_no_gradient_reaches_the_log_probs():
    logps = torch.tensor([[-2.0]], requires_grad=True)
    divergence = torch.tensor([[0.4]], requires_grad=True)
    kd(lam=1.0)(Responses(logps, torch.tensor([[2]]), divergence=divergence)).losses.sum().backward()
    assert logps.grad is None and divergence.grad.item() == pytest.approx(0.5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_gradient_of_the_forward_kl_is_the_difference_of_the_softmaxes(temperature):
    torch.manual_seed(0)
    student = torch.randn(5, 11, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(5, 11, dtype=torch.float64)
    kd(temperature=temperature).token_divergence(student, teacher).sum().backward()
    want = ((student / temperature).softmax(-1) - (teacher / temperature).softmax(-1)) / temperature
    torch.testing.assert_close(student.grad, want.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [None, 1, 4, 6])
def test_gradcheck(kind, top_k):
    torch.manual_seed(0)
    student = (2 * torch.randn(3, 6, dtype=torch.float64)).requires_grad_()
    teacher = 2 * torch.randn(3, 6, dtype=torch.float64)
    objective = kd(temperature=1.5, top_k=top_k, **kind)
    assert torch.autograd.gradcheck(lambda z: objective.token_divergence(z, teacher), student)
    if top_k is not None:
        stored = objective.teacher_top_k(teacher)
        assert torch.autograd.gradcheck(lambda z: objective.token_divergence_top_k(z, *stored), student)
        torch.testing.assert_close(
            objective.token_divergence_top_k(student, *stored), objective.token_divergence(student, teacher)
        )


@settings(max_examples=60, deadline=None)
@given(student=numbers(20), teacher=numbers(20), b=st.floats(0.01, 0.99), k=st.integers(1, 6))
def test_divergences_are_bounded_and_vanish_for_equal_logits(student, teacher, b, k):
    s, t = (torch.tensor(z, dtype=torch.float64) for z in (student, teacher))
    for kind in (*KINDS[:2], {"divergence": "jsd", "jsd_beta": b}):
        full = kd(**kind).token_divergence(s, t)
        part = kd(top_k=k, **kind)
        cut, stored = part.token_divergence(s, t), part.token_divergence_top_k(s, *part.teacher_top_k(t))
        assert (cut >= -1e-12).all()
        # Data processing: what two models differ in can only be lost by putting tokens together.
        assert (cut <= full + 1e-9).all()
        # The stored bucket is 1 - sum, known to the rounding of the sum.
        rest = t.log_softmax(-1).sort(-1).values[:, : 7 - k].exp().sum(-1)
        slack = 1e-9 + 16 * torch.finfo(t.dtype).eps / rest
        assert (stored >= -slack).all() and (stored <= full + slack).all()
        assert kd(**kind).token_divergence(t + 5, t).abs().max() < 1e-12
        assert part.token_divergence(t + 5, t).abs().max() < 1e-12
        if kind["divergence"] == "jsd":
            assert (full <= -b * math.log(b) - (1 - b) * math.log1p(-b) + 1e-12).all()


@settings(max_examples=40, deadline=None)
@given(student=numbers(2), teacher=numbers(2))
def test_the_jsd_tends_to_both_kls(student, teacher):
    s, t = (torch.tensor(z, dtype=torch.float64) for z in (student, teacher))
    for end, kind in ((1e-6, "forward_kl"), (1 - 1e-6, "reverse_kl")):
        jsd = kd(divergence="jsd", jsd_beta=end).token_divergence(s, t) / min(end, 1 - end)
        # They differ by about 1e-6 times the chi-square distance, which is at most e^8 for log-ratios of at most 8.
        torch.testing.assert_close(jsd, kd(divergence=kind).token_divergence(s, t), rtol=1e-2, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(student=numbers(1e4), teacher=numbers(1e4), b=st.floats(0.01, 0.99), k=st.integers(1, 7))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_apart_logits_stay_finite(dtype, student, teacher, b, k):
    t = torch.tensor(teacher, dtype=dtype)
    for kind in (*KINDS[:2], {"divergence": "jsd", "jsd_beta": b}):
        for top_k in (None, k):
            objective = kd(top_k=top_k, **kind)
            stored = objective.teacher_top_k(t) if top_k is not None else None
            for targets in (None, stored):
                s = torch.tensor(student, dtype=dtype, requires_grad=True)
                method = objective.token_divergence if targets is None else objective.token_divergence_top_k
                value = method(s, *((t,) if targets is None else targets))
                value.sum().backward()
                assert torch.isfinite(value).all() and torch.isfinite(s.grad).all()
                assert (value >= (-1e-4 if dtype == torch.float32 else -1e-9)).all()


def test_logits_of_half_precision_are_compared_in_float32():
    student, teacher = (z.bfloat16() for z in rows())
    value = kd().token_divergence(student, teacher)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, kd().token_divergence(student.float(), teacher.float()))


def test_the_bucket_of_the_rest_keeps_small_probabilities():
    """Of 1 - sum of the others nothing would be left in float32."""
    logits = torch.tensor([[0.0, -40.0, -41.0]], requires_grad=True)
    rest = buckets(log_probs(logits), torch.tensor([[0]]))[0, 1]
    assert rest.item() == pytest.approx(-40 + math.log1p(math.exp(-1)), abs=1e-5)
    rest.backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[0, 0].item() == pytest.approx(-1, abs=1e-5)


def test_a_stored_sum_above_one_leaves_the_rest_at_rounding():
    got = stored_buckets(torch.tensor([[math.log(0.75) + 1e-7, math.log(0.25)]]), 5)
    assert got[0, 2].item() == pytest.approx(math.log(torch.finfo(torch.float32).eps), abs=1e-3)
    assert stored_buckets(torch.zeros(1, 2), 2).shape == (1, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"teacher": ""}, "teacher must be"),
        ({"jsd_beta": 0.5}, "no effect without divergence: jsd"),
        ({"divergence": "jsd", "jsd_beta": 1.0}, "limits are forward_kl and reverse_kl"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"scale_by_t2": True}, "no effect at temperature 1"),
        ({"lam": 0.0}, "the objective is sft"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"source": "stored"}, "set top_k"),
        ({"on_policy": 1.5}, "on_policy must be in"),
        ({"on_policy": 0.5, "lam": 1.0, "source": "stored", "top_k": 5}, "no teacher's log-probs are stored"),
        ({"on_policy": 0.5}, "set lam: 1"),
        ({"sampling_temperature": 0.7}, "no effect without on_policy"),
        ({"max_new_tokens": 64}, "no effect without on_policy"),
        ({"on_policy": 0.5, "lam": 1.0, "max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"on_policy": 0.5, "lam": 1.0, "sampling_temperature": -1.0}, "sampling_temperature must not be"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_class_and_by_recipe(given, message):
    with pytest.raises(ValueError, match=message):
        KD(**{"teacher": "t", **given})
    with pytest.raises(PrefineError, match=message):
        objectives.check({"name": "kd", "teacher": "t", **given})


def test_a_teacher_is_required():
    for name in ("kd", "gkd"):
        with pytest.raises(PrefineError, match="needs the setting 'teacher'"):
            objectives.check({"name": name})


def test_gkd_is_kd_with_other_defaults():
    preset = objectives.build({"name": "gkd", "teacher": "t"})
    assert isinstance(preset, GKD) and isinstance(preset, KD) and preset.statistics == {"divergence"}
    chosen = {"teacher": "t", "divergence": "jsd", "jsd_beta": 0.5, "on_policy": 0.5, "lam": 1.0}
    same = objectives.build({"name": "kd", "max_new_tokens": 256, "sampling_temperature": 0.9, **chosen})
    public = {k: v for k, v in vars(same).items() if not k.startswith("_")}
    assert public == {k: v for k, v in vars(preset).items() if not k.startswith("_")}
    student, teacher = rows()
    assert preset.token_divergence(student, teacher).tolist() == pytest.approx([0.0221463852, 0.0352627175], abs=1e-6)
    with pytest.raises(PrefineError, match="no effect without on_policy"):
        objectives.check({"name": "gkd", "teacher": "t", "on_policy": 0.0, "max_new_tokens": 9})


def test_stored_targets_are_those_of_the_temperature():
    objective = kd(temperature=2.0, top_k=2, source="stored")
    _, teacher = rows()
    ids, logps = objective.teacher_top_k(teacher)
    assert ids.tolist() == [[0, 1], [1, 2]]
    torch.testing.assert_close(logps, (teacher / 2).log_softmax(-1).gather(1, ids))
