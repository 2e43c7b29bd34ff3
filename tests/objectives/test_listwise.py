"""Objectives on ranked lists: PL-DPO, LiPO, RRHF, PRO, NCA and InfoNCA on lists.

Most values are for three responses with log-ratios (or averages) 0.5, -0.2, -1.0 and scores 0.9, 0.1, 0.5.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefine.errors import PrefineError
from prefine.objectives.base import Responses
from prefine.objectives.dpo import DPO
from prefine.objectives.lipo import LiPO, lambda_weights
from prefine.objectives.nca_list import InfoNCA, NCAList
from prefine.objectives.pl_dpo import PLDPO
from prefine.objectives.pro import PRO
from prefine.objectives.rrhf import RRHF
from prefine.registry import objectives

DTYPES = [(torch.float64, 1e-6), (torch.float32, 2e-5)]
U, LABELS = [0.5, -0.2, -1.0], [0.9, 0.1, 0.5]
S, REWARDS = [-1.0, -1.2, -0.8], [0.9, 0.5, 0.1]
RANKED = [3.0, 2.0, 1.0]


def given_lists(rows, scores, lengths=None, dtype=torch.float64):
    """Log-ratios as sums over a reference of -7, or with lengths averages, whose sums then have a reference of zero."""
    values = torch.tensor(rows, dtype=dtype)
    n = torch.ones(values.shape, dtype=torch.long) if lengths is None else torch.tensor(lengths)
    logps = (values * n).requires_grad_()
    return Responses(logps, n, torch.zeros_like(values), torch.tensor(scores, dtype=dtype))


def losses(objective, *lists, **more):
    return objective(given_lists(*lists, **more)).losses.tolist()


@pytest.mark.parametrize(("dtype", "slack"), DTYPES)
@pytest.mark.parametrize(
    ("objective", "u", "scores", "expected"),
    [
        (PLDPO(beta=0.1), U, RANKED, 1.6810997006),
        (PLDPO(beta=0.1), U, RANKED[::-1], 1.9059122888),
        (PLDPO(beta=0.1), [0.0] * 3, RANKED, 1.7917594692),
        (PLDPO(beta=1.0), U, RANKED, 0.9132595151),
        (PLDPO(beta=0.1), [0.2, -1.0], [1.0, 0.0], 0.6349461016),
        (LiPO(beta=1.0), U, LABELS, 0.3119184888),
        (LiPO(beta=1.0, weighting="pairs"), U, LABELS, 1.7756999928),
        (LiPO(beta=1.0, weighting="softmax"), U, LABELS, 1.1649083410),
        (LiPO(weighting="softmax"), [0.0] * 3, LABELS, 1.0986122887),
        (RRHF(), S, REWARDS, 1.6),
        (NCAList(beta=1.0), U, LABELS, 1.4366496766),
        (InfoNCA(beta=1.0), U, LABELS, 1.1649083410),
        (NCAList(), [0.0] * 3, LABELS, 2 * math.log(2)),
        (PRO(nll_weight=0.0), S, REWARDS, 2.0434712576),
    ],
)
def test_values(objective, u, scores, expected, dtype, slack):
    assert losses(objective, [u], [scores], dtype=dtype) == pytest.approx([expected], abs=slack)


def test_pro_with_its_sft_term():
    out = PRO()(given_lists([S], [REWARDS], lengths=[[3, 2, 4]]))
    assert out.losses.item() == pytest.approx(2.643471257623917, abs=1e-9)
    assert out.metrics["loss/rank"].item() == pytest.approx(2.0434712576, abs=1e-9)
    parts = [losses(PRO(nll_weight=0.0), [S[i:]], [REWARDS[i:]])[0] for i in (0, 1)]
    assert parts[0] - parts[1] == pytest.approx(1.2671274845831775, abs=1e-9)
    assert parts[1] == pytest.approx(0.7763437730407395, abs=1e-9)


def test_rrhf_settings():
    lists = {"rows": [S], "scores": [REWARDS], "lengths": [[4, 4, 4]]}
    assert RRHF(rank_weight=100.0)(given_lists(**lists)).losses.item() == pytest.approx(61.0)
    assert RRHF(kappa=0.5)(given_lists(**lists)).losses.item() == pytest.approx(2 * 0.6 + 1.0)
    out = RRHF()(given_lists(**lists))
    assert out.metrics["loss/rank"].item() == pytest.approx(0.6) and out.metrics["loss/nll"].item() == 1.0


def test_two_responses_are_dpo():
    pair = given_lists([[0.2, -1.0], [-1.2, 0.6]], [[1.0, 0.0]] * 2)
    expected = DPO(beta=0.1)(pair).losses
    for objective in (PLDPO(beta=0.1), LiPO(beta=0.1, weighting="pairs"), InfoNCA(beta=0.1, temperature=1e-3)):
        assert torch.allclose(objective(pair).losses, expected, atol=1e-9)


def test_starting_from_the_reference():
    for n in (2, 3, 5):
        zeros, scores = [[0.0] * n], [[float(i) for i in range(n)]]
        assert losses(PLDPO(), zeros, scores) == pytest.approx([math.lgamma(n + 1)])
        assert losses(InfoNCA(), zeros, scores) == pytest.approx([math.log(n)])
        assert losses(NCAList(), zeros, scores) == pytest.approx([NCAList().start_loss()])
        assert losses(LiPO(weighting="pairs"), zeros, scores) == pytest.approx([n * (n - 1) / 2 * math.log(2)])
        responses = given_lists(zeros, scores)
        LiPO()(responses).losses.sum().backward()
        assert (responses.logps.grad[:, -1] < 0).all() and (responses.logps.grad[:, 0] > 0).all()


def test_pl_dpo_stages_and_ties():
    u = [[0.5, -0.2, -1.0]]
    first = math.log(sum(math.exp(x - 0.5) for x in u[0]))
    assert losses(PLDPO(beta=1.0, top_k=1), u, [RANKED]) == pytest.approx([first])
    assert losses(PLDPO(beta=1.0, top_k=5), u, [RANKED]) == losses(PLDPO(beta=1.0), u, [RANKED])
    orders = [losses(PLDPO(beta=1.0), u, [scores])[0] for scores in ([3.0, 2.0, 1.0], [3.0, 1.0, 2.0])]
    assert losses(PLDPO(beta=1.0), u, [[3.0, 1.0, 1.0]]) == pytest.approx([sum(orders) / 2])
    assert losses(PLDPO(beta=1.0, ties="skip"), u, [[3.0, 1.0, 1.0]]) == pytest.approx([first])
    assert losses(PLDPO(beta=1.0, ties="skip"), u, [[1.0] * 3]) == [0.0]
    assert losses(PLDPO(beta=1.0, ties="skip"), u, [RANKED]) == pytest.approx([0.9132595151])
    two_best = [[2.0, 2.0, 1.0]]
    softplus = [math.log1p(math.exp(-1.0 - x)) for x in (0.5, -0.2)]
    assert losses(PLDPO(beta=1.0, ties="skip", top_k=1), u, two_best) == pytest.approx([sum(softplus)])


def test_lipo_weights_by_hand():
    weights = lambda_weights(torch.tensor([U], dtype=torch.float64), torch.tensor([LABELS], dtype=torch.float64))[0]
    discount = [1 / math.log(2), 1 / math.log(3), 1 / math.log(4)]
    gain = [2**y for y in LABELS]
    for i in range(3):
        for j in range(3):
            expected = abs(gain[i] - gain[j]) * abs(discount[i] - discount[j])
            assert weights[i, j].item() == pytest.approx(expected, abs=1e-12)


def test_equal_scores_are_not_compared():
    alike = [[0.5, 0.5, 0.5]]
    for objective in (LiPO(), LiPO(weighting="pairs"), RRHF(), PRO(nll_weight=0.0)):
        expected = 1.0 if isinstance(objective, RRHF) else 0.0
        assert losses(objective, [[-1.2, -1.0, -0.8]], alike) == pytest.approx([expected], abs=1e-12)
    # The second and third response are only compared with the first.
    tied = losses(PRO(nll_weight=0.0), [S], [[0.9, 0.5, 0.5]])
    terms = [-0.4, -0.48, -0.32]
    assert tied == pytest.approx([math.log(sum(math.exp(x + 0.4) for x in terms))])


ALL = [
    PLDPO(),
    PLDPO(ties="skip"),
    PLDPO(top_k=2),
    LiPO(),
    LiPO(weighting="pairs"),
    LiPO(weighting="softmax"),
    RRHF(),
    PRO(),
    NCAList(),
    InfoNCA(),
]
NAMES = [f"{type(o).__name__}{i}" for i, o in enumerate(ALL)]


@pytest.mark.parametrize("objective", ALL, ids=NAMES)
@given(data=st.data())
def test_permuting_items_changes_nothing(objective, data):
    n = data.draw(st.integers(2, 6))
    u = data.draw(st.lists(st.floats(-20, -0.1), min_size=n, max_size=n))
    scores = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    order = data.draw(st.permutations(range(n)))
    expected = losses(objective, [u], [scores], lengths=[lengths])
    moved = [[[x[i] for i in order]] for x in (u, scores, lengths)]
    assert losses(objective, *moved[:2], lengths=moved[2]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("objective", ALL, ids=NAMES)
def test_shifts_that_change_nothing(objective):
    base = given_lists([U, S], [LABELS, REWARDS])
    expected = objective(base).losses
    if objective.needs_reference:
        both = Responses(base.logps + 3.0, base.lengths, base.ref_logps + 3.0, base.scores)
        assert torch.allclose(objective(both).losses, expected)
    if not isinstance(objective, LiPO) or objective.weighting != "lambda":
        raised = Responses(base.logps, base.lengths, base.ref_logps, base.scores + 4.0)
        assert torch.allclose(objective(raised).losses, expected)
    if isinstance(objective, PLDPO | LiPO | InfoNCA):
        shifted = Responses(base.logps + 3.0, base.lengths, base.ref_logps, base.scores)
        assert torch.allclose(objective(shifted).losses, expected)


@pytest.mark.parametrize("objective", ALL, ids=NAMES)
def test_gradcheck_and_metrics(objective):
    logps = torch.tensor([[-3.2, -2.0, -4.4, -6.0], [-1.0, -3.1, -2.5, -5.0]], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([[-3.5, -2.2, -4.1, -5.0], [-1.3, -3.0, -2.0, -5.5]], dtype=torch.float64)
    lengths = torch.tensor([[3, 2, 5, 4], [1, 2, 3, 4]])
    scores = torch.tensor([[0.2, -0.4, 0.9, -1.1], [0.5, 0.5, 0.1, 0.5]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: objective(Responses(x, lengths, ref, scores)).losses, (logps,))
    out = objective(Responses(logps, lengths, ref, scores))
    assert out.weights is None and out.losses.shape == (2,)
    for value in out.metrics.values():
        assert value.shape == (2,) and not value.requires_grad
    best = out.metrics["logps/chosen"].tolist()
    assert best == [-4.4, -1.0] and out.metrics["logps/rejected"].tolist() == [-6.0, -2.5]
    assert {"ranking/kendall_tau", "ranking/top1_agree", "rewards/margins"} <= out.metrics.keys()


@pytest.mark.parametrize("objective", ALL, ids=NAMES)
@given(
    rows=st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-5, 5)), min_size=2, max_size=5),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
def test_losses_and_gradients_stay_finite(objective, rows, dtype):
    responses = given_lists([[a for a, _ in rows]], [[b for _, b in rows]], dtype=dtype)
    out = objective(responses)
    (grad,) = torch.autograd.grad(out.losses.sum(), responses.logps)
    assert torch.isfinite(out.losses).all() and torch.isfinite(grad).all() and out.losses.dtype == dtype


@pytest.mark.parametrize("objective", ALL, ids=NAMES)
def test_rows_do_not_mix(objective):
    together = losses(objective, [U, S], [LABELS, REWARDS])
    assert together == pytest.approx([*losses(objective, [U], [LABELS]), *losses(objective, [S], [REWARDS])], abs=1e-12)


@pytest.mark.parametrize(
    "block",
    [
        {"name": "pl_dpo", "beta": 0.0},
        {"name": "pl_dpo", "top_k": 0},
        {"name": "lipo", "beta": -1.0},
        {"name": "lipo", "weighting": "ndcg"},
        {"name": "rrhf", "kappa": -1.0},
        {"name": "rrhf", "rank_weight": 0.0},
        {"name": "pro", "nll_weight": -0.1},
        {"name": "nca_list", "temperature": 0.0},
        {"name": "info_nca", "beta": 0.0},
    ],
)
def test_settings_out_of_range_are_errors_when_a_recipe_is_read(block):
    with pytest.raises(PrefineError):
        objectives.check(block)


def test_what_lists_they_take():
    for name in ("pl_dpo", "lipo", "rrhf", "pro", "nca_list", "info_nca"):
        attributes = objectives.find(name).attributes
        assert attributes["group_size"] is None and attributes["needs_scores"] is True
        assert attributes.get("needs_reference", False) == (name not in ("rrhf", "pro"))
        assert objectives.build({"name": name}) is not None
