"""Golden values. Two pairs worked by hand (token log-probs, policy over reference):

pair 1 chosen -0.5 -1.0 -1.5 over -0.6 -1.2 -1.4, rejected -2.0 -1.5 over -1.5 -1.0
pair 2 chosen -1.0 -3.0 over -0.8 -2.0, rejected -0.5 -0.5 -1.0 -1.0 over -0.7 -0.6 -1.2 -1.1
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefine.objectives.base import Responses
from prefine.objectives.dpo import DPO
from prefine.objectives.pad import PAD, tied_order_nll
from prefine.objectives.plackett_luce import all_orders_logp, jensen_shannon
from prefine.objectives.sft import SFT
from prefine.objectives.simpo import SimPO
from prefine.registry import objectives

LOGPS = [[-3.0, -3.5], [-4.0, -3.0]]
REF = [[-3.2, -2.5], [-2.8, -3.6]]
LENGTHS = [[3, 2], [2, 4]]
DTYPES = [(torch.float64, 1e-6), (torch.float32, 2e-5)]


def pairs(dtype=torch.float64, logps=LOGPS, ref=REF, lengths=LENGTHS):
    return Responses(
        torch.tensor(logps, dtype=dtype, requires_grad=True), torch.tensor(lengths), torch.tensor(ref, dtype=dtype)
    )


def ranked(student, scores, dtype=torch.float64):
    """Students' length-averaged log-probs given as sums over one token."""
    s = torch.tensor(student, dtype=dtype, requires_grad=True)
    return Responses(s, torch.ones(s.shape, dtype=torch.long), scores=torch.tensor(scores, dtype=dtype))


def losses(objective, responses):
    return objective(responses)[0].tolist()


def gradient(objective, responses):
    objective(responses)[0].sum().backward()
    return responses.logps.grad.tolist()


@pytest.mark.parametrize(("dtype", "slack"), DTYPES)
@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (DPO(beta=0.1), [0.6349461016, 0.7871917248]),
        (DPO(beta=0.5), [0.4374879505, 1.2411538747]),
        (DPO(beta=0.1, label_smoothing=0.1), [0.6469461016, 0.7691917248]),
        (SimPO(beta=2.0, gamma=1.0), [0.4740769841, 3.5297504183]),
        (SimPO(beta=0.1, gamma=0.5), [0.9280574002, 1.0537006783]),
        (SimPO(beta=10.0, gamma=3.0), [0.0110477448, 15.5000001855]),
    ],
)
def test_pair_losses(objective, expected, dtype, slack):
    assert losses(objective, pairs(dtype)) == pytest.approx(expected, abs=slack)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (DPO(beta=0.1), [[-0.047004, 0.047004], [-0.054488, 0.054488]]),
        (DPO(beta=0.1, label_smoothing=0.1), [[-0.037004, 0.037004], [-0.044488, 0.044488]]),
        (SimPO(beta=2.0, gamma=1.0), [[-0.251694, 0.377541], [-0.970688, 0.485344]]),
    ],
)
def test_pair_gradients(objective, expected):
    for got, want in zip(gradient(objective, pairs()), expected, strict=True):
        assert got == pytest.approx(want, abs=1e-5)


def test_dpo_at_the_reference_is_ln_2():
    for smoothing in (0.0, 0.2):
        objective = DPO(label_smoothing=smoothing)
        assert losses(objective, pairs(ref=LOGPS)) == pytest.approx([math.log(2)] * 2, abs=1e-12)
        assert objective.start_loss() == math.log(2)


def test_sft_reductions():
    responses = Responses(torch.tensor([[-3.0], [-4.0]]), torch.tensor([[3], [2]]))
    expected = {"token_mean": 1.4, "seq_mean": 1.5, "seq_sum": 3.5}
    for reduction, value in expected.items():
        objective = SFT(reduction)
        weights = objective.weight(responses.lengths)
        mean = (objective(responses)[0] * weights).sum() / weights.sum()
        assert mean.item() == pytest.approx(value, abs=1e-6)


def test_pair_metrics_count_ties_as_wrong():
    metrics = DPO()(pairs(logps=[[-3.0, -3.5], [-4.0, -3.0]], ref=[[-3.2, -2.5], [-4.0, -3.0]]))[1]
    assert metrics["rewards/accuracies"].tolist() == [1.0, 0.0]
    assert metrics["rewards/ties"].tolist() == [0.0, 1.0]
    assert metrics["rewards/margins"].tolist() == pytest.approx([0.12, 0.0], abs=1e-6)


L1 = ([[-1.0, -1.2, -1.1]], [[math.log(0.7), math.log(0.2), math.log(0.6)]])


@pytest.mark.parametrize(
    ("settings", "value", "grad"),
    [
        ({"loss": "ppd", "beta": 10.0, "teacher_beta": 10.0}, 0.1261784375, [-0.454854, 0.999674, -0.544818]),
        ({"loss": "ppd", "beta": 1.0, "teacher_beta": 1.0}, 0.0433505857, [-0.047323, 0.088275, -0.040951]),
        ({"loss": "vpd", "beta": 10.0}, 0.7208676520, [-3.347590, 3.589720, -0.242130]),
        ({"loss": "vpd", "beta": 1.0}, 1.6463395083, None),
    ],
)
def test_pad_on_three_responses(settings, value, grad):
    responses = ranked(*L1)
    assert losses(PAD(**settings), responses) == pytest.approx([value], abs=1e-6)
    if grad is not None:
        assert gradient(PAD(**settings), responses)[0] == pytest.approx(grad, abs=1e-5)


def test_pad_order_probabilities():
    student = all_orders_logp(10 * torch.tensor(L1[0], dtype=torch.float64)).exp()[0]
    assert student.tolist() == pytest.approx([0.178911, 0.486330, 0.065818, 0.024213, 0.215556, 0.029172], abs=1e-6)
    assert student.sum().item() == pytest.approx(1.0, abs=1e-12)


def test_pad_rows_do_not_mix():
    student = [[-1.0, -1.2, -1.1], [-0.9, -1.3, -1.0]]
    scores = [[math.log(x) for x in row] for row in ([0.7, 0.2, 0.6], [0.3, 0.8, 0.4])]
    got = losses(PAD(beta=10.0, teacher_beta=10.0), ranked(student, scores))
    assert got == pytest.approx([0.1261784375, 0.6664432178], abs=1e-6)


def test_pad_of_two_responses():
    responses = ranked([[-1.0, -1.5]], [[math.log(0.8), math.log(0.4)]])
    assert losses(PAD(beta=2.0, teacher_beta=2.0), responses) == pytest.approx([0.0033194094], abs=1e-6)
    vpd = losses(PAD(loss="vpd", beta=2.0), responses)
    assert vpd == pytest.approx([math.log1p(math.exp(-1))], abs=1e-9)
    assert vpd == pytest.approx(losses(SimPO(beta=2.0, gamma=0.0), ranked([[-1.0, -1.5]], [[0.0, 0.0]])), abs=1e-9)


def test_pad_of_four_responses():
    lp = all_orders_logp(torch.tensor([[0.3, -1.2, 2.0, 0.1]], dtype=torch.float64))
    assert jensen_shannon(lp, lp).item() == pytest.approx(0.0, abs=1e-12)
    far = torch.tensor([[60.0, 40.0, 20.0, 0.0]], dtype=torch.float64)
    opposite = jensen_shannon(all_orders_logp(far), all_orders_logp(far.flip(-1)))
    assert opposite.item() == pytest.approx(math.log(2), abs=1e-9)


def test_vpd_with_ties_is_the_mean_over_orders_that_agree():
    student = torch.tensor([[-1.0, -2.0, -1.5]], dtype=torch.float64)
    tied = tied_order_nll(student, torch.tensor([[1.0, 1.0, 0.0]]))
    first = tied_order_nll(student, torch.tensor([[2.0, 1.0, 0.0]]))
    second = tied_order_nll(student, torch.tensor([[1.0, 2.0, 0.0]]))
    assert tied.item() == pytest.approx((first.item() + second.item()) / 2, abs=1e-12)
    alike = tied_order_nll(student, torch.tensor([[0.5, 0.5, 0.5]]))
    assert torch.isfinite(alike).all()


numbers = st.floats(-50, 50)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=5), numbers)
def test_ppd_is_bounded_symmetric_and_shift_invariant(rows, shift):
    s = torch.tensor([[a for a, _ in rows]], dtype=torch.float64)
    t = torch.tensor([[b for _, b in rows]], dtype=torch.float64)
    p, q = all_orders_logp(s), all_orders_logp(t)
    value = jensen_shannon(p, q).item()
    assert -1e-9 <= value <= math.log(2) + 1e-9
    assert value == pytest.approx(jensen_shannon(q, p).item(), abs=1e-9)
    assert value == pytest.approx(jensen_shannon(all_orders_logp(s + shift), q).item(), abs=1e-7)


@given(st.floats(-1e6, 1e6), st.sampled_from([torch.float64, torch.float32]))
def test_losses_and_gradients_stay_finite(gap, dtype):
    for objective in (DPO(), DPO(label_smoothing=0.1), SimPO()):
        responses = pairs(dtype, logps=[[gap, 0.0]], ref=[[0.0, 0.0]], lengths=[[1, 1]])
        loss, _ = objective(responses)
        loss.sum().backward()
        assert torch.isfinite(loss).all() and torch.isfinite(responses.logps.grad).all()


@pytest.mark.parametrize("settings", [{"loss": "ppd"}, {"loss": "vpd"}])
def test_pad_gradcheck(settings):
    scores = torch.tensor([[0.2, -0.4, 0.9, -1.1]], dtype=torch.float64)
    lengths = torch.tensor([[3, 2, 5, 4]])

    def loss(logps):
        return PAD(beta=3.0, **settings)(Responses(logps, lengths, scores=scores))[0]

    logps = torch.tensor([[-3.0, -2.0, -4.0, -6.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (logps,))


def test_settings_out_of_range_are_errors():
    for make in (lambda: DPO(beta=0.0), lambda: DPO(label_smoothing=0.5), lambda: SimPO(gamma=-1), lambda: PAD(beta=0)):
        with pytest.raises(ValueError):
            make()


def test_every_objective_is_registered_with_a_formula():
    assert set(objectives.entries()) >= {"sft", "dpo", "simpo", "pad"}
    for name, entry in objectives.entries().items():
        assert "Formula:" in entry.doc and "Paper:" in entry.doc, name
        assert objectives.build({"name": name}) is not None
