"""PAD's golden values and properties. L1: average log-probs -1, -1.2, -1.1, scores log 0.7, 0.2, 0.6."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefine.errors import PrefineError
from prefine.objectives.base import Responses
from prefine.objectives.pad import PAD
from prefine.registry import objectives

DTYPES = [(torch.float64, 1e-6), (torch.float32, 2e-5)]
L1 = ([-1.0, -1.2, -1.1], [0.7, 0.2, 0.6])
L2 = ([-0.9, -1.3, -1.0], [0.3, 0.8, 0.4])


def ranked(*rows, dtype=torch.float64):
    """Average log-probs as sums over one token, scores as logs of the given numbers."""
    s = torch.tensor([r[0] for r in rows], dtype=dtype, requires_grad=True)
    scores = torch.tensor([r[1] for r in rows], dtype=dtype).log()
    return Responses(s, torch.ones(s.shape, dtype=torch.long), scores=scores)


def random_lists(b, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    s, t = (torch.randn(b, n, generator=generator, dtype=torch.float64) for _ in range(2))
    return Responses(s.requires_grad_(), torch.randint(1, 9, (b, n), generator=generator), scores=t)


def losses(settings, responses):
    return PAD(**settings)(responses).losses.tolist()


def gradient(settings, responses):
    (out,) = torch.autograd.grad(PAD(**settings)(responses).losses.sum(), responses.logps)
    return out


@pytest.mark.parametrize(("dtype", "slack"), DTYPES)
@pytest.mark.parametrize(
    ("settings", "value", "grad"),
    [
        ({"beta": 10.0, "teacher_beta": 10.0}, 0.1261784375, [-0.454854328, 0.999672734, -0.544818405]),
        ({"divergence": "fkl", "beta": 10.0, "teacher_beta": 10.0}, 0.3983732439, [-1.794572, 3.325524, -1.530951]),
        ({"divergence": "rkl", "beta": 10.0, "teacher_beta": 10.0}, 2.7233640301, None),
        ({"divergence": "jsd_released", "beta": 10.0, "teacher_beta": 10.0}, 0.6542558810, None),
        ({"loss": "vpd", "beta": 10.0}, 0.7208676520, [-3.347590442, 3.589719946, -0.242129504]),
        ({"beta": 1.0}, 0.0433505857, [-0.047323275, 0.088274694, -0.040951419]),
        ({"divergence": "fkl", "beta": 1.0}, 0.1729356589, None),
        ({"divergence": "jsd_released", "beta": 1.0}, 0.0449301990, None),
        ({"loss": "vpd", "beta": 1.0}, 1.6463395083, None),
    ],
)
def test_three_responses(settings, value, grad, dtype, slack):
    responses = ranked(L1, dtype=dtype)
    assert losses(settings, responses) == pytest.approx([value], abs=slack)
    if grad is not None:
        assert gradient(settings, responses)[0].tolist() == pytest.approx(grad, abs=max(slack, 1e-5))


@pytest.mark.parametrize(("dtype", "slack"), DTYPES)
@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"teacher_beta": 2.0}, 0.0033194094),
        ({"divergence": "fkl", "teacher_beta": 2.0}, 0.0128592640),
        ({"divergence": "jsd_released", "teacher_beta": 2.0}, 0.0033385111),
        ({"loss": "vpd"}, 0.3132616875),
    ],
)
def test_two_responses(settings, value, dtype, slack):
    responses = ranked(([-1.0, -1.5], [0.8, 0.4]), dtype=dtype)
    assert losses({"beta": 2.0, **settings}, responses) == pytest.approx([value], abs=slack)


def test_rows_do_not_mix():
    both = {"beta": 10.0, "teacher_beta": 10.0}
    assert losses(both, ranked(L1, L2)) == pytest.approx([0.1261784375, 0.6664432178], abs=1e-6)
    released = losses({**both, "divergence": "jsd_released"}, ranked(L1, L2))
    assert released == pytest.approx([0.6542558810, 4.5387245676], abs=1e-6)


def test_a_confidently_wrong_student_gets_no_gradient_from_jsd_but_from_vpd():
    wrong = ranked(([-2.0, -1.0, -1.5], [0.7, 0.2, 0.6]))
    settings = {"beta": 10.0, "teacher_beta": 10.0}
    assert losses(settings, wrong) == pytest.approx([0.6931082358], abs=1e-6)
    assert gradient(settings, wrong)[0].tolist() == pytest.approx([-0.000115, 0.000148, -0.000032], abs=1e-6)
    vpd = gradient({"loss": "vpd", "beta": 10.0}, wrong)[0].tolist()
    assert vpd == pytest.approx([-9.999549, 19.865695, -9.866146], abs=1e-5)
    assert PAD(**settings)(wrong).metrics["pad/saturated"].tolist() == [1]
    assert PAD(**settings)(ranked(L1)).metrics["pad/saturated"].tolist() == [0]


def test_teacher_score_mixes_likelihood_and_choice():
    choice = [0.675000015, 0.225000015, 0.525000015]
    responses = ranked(([-1.0, -1.2, -1.1], choice))
    responses.teacher_logps = torch.tensor([[-0.9, -1.4, -1.0]], dtype=torch.float64)
    mixed = ranked(([-1.0, -1.2, -1.1], [math.exp(x) for x in (-0.6465212829, -1.4458274051, -0.8221784939)]))
    assert losses({"alpha": 0.5}, responses) == pytest.approx(losses({}, mixed), abs=1e-9)
    likelihood = ranked(([-1.0, -1.2, -1.1], [math.exp(x) for x in (-0.9, -1.4, -1.0)]))
    assert losses({"alpha": 1.0}, responses) == pytest.approx(losses({}, likelihood), abs=1e-12)
    assert PAD(alpha=0.1).needs_teacher_logps and not PAD().needs_teacher_logps


def test_an_outlying_teacher_score_is_cut_and_the_rest_kept():
    far, near = ([-1.0, -1.2, -1.1], [0.7, 1e-300, 0.6]), ([-1.0, -1.2, -1.1], [0.7, 0.6 * math.exp(-20), 0.6])
    assert losses({"divergence": "rkl"}, ranked(far)) == pytest.approx(losses({"divergence": "rkl"}, ranked(near)))


def test_equal_distributions_have_no_divergence():
    row = ([-1.0, -1.2, -1.1, -0.4], [math.exp(x) for x in (-1.0, -1.2, -1.1, -0.4)])
    for divergence in ("jsd", "fkl", "rkl", "jsd_released"):
        settings = {"divergence": divergence, "beta": 2.0, "teacher_beta": 2.0}
        assert losses(settings, ranked(row)) == pytest.approx([0], abs=1e-12)
        assert gradient(settings, ranked(row)).abs().max().item() == pytest.approx(0, abs=1e-12)


SETTINGS = [
    {},
    {"divergence": "fkl"},
    {"divergence": "rkl"},
    {"divergence": "jsd_released"},
    {"subset_size": 2},
    {"subset_size": 3},
    {"loss": "vpd"},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("n", [2, 4, 7])
def test_permuting_items_and_shifting_rows_change_nothing(settings, n):
    whole = random_lists(3, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([[5.0], [-3.0], [0.7]], dtype=torch.float64)
    permuted = Responses(whole.logps[:, order], whole.lengths[:, order], scores=whole.scores[:, order])
    shifted = Responses(whole.logps + shift * whole.lengths, whole.lengths, scores=whole.scores - 2 * shift)
    expected = losses({"beta": 2.0, **settings}, whole)
    assert losses({"beta": 2.0, **settings}, permuted) == pytest.approx(expected, abs=1e-9)
    assert losses({"beta": 2.0, **settings}, shifted) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("settings", SETTINGS)
def test_rows_are_independent_of_their_batch(settings):
    whole = random_lists(4, 5)
    parts = [Responses(whole.logps[i], whole.lengths[i], scores=whole.scores[i]) for i in (slice(0, 1), slice(1, 4))]
    expected = [x for part in parts for x in losses(settings, part)]
    assert losses(settings, whole) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradcheck(settings):
    scores = torch.tensor([[0.2, -0.4, 0.9, -1.1], [0.5, 0.5, 0.1, 0.5]], dtype=torch.float64)
    lengths = torch.tensor([[3, 2, 5, 4], [1, 2, 3, 4]])
    logps = torch.tensor([[-3.0, -2.0, -4.0, -6.0], [-1.0, -3.0, -2.5, -5.0]], dtype=torch.float64, requires_grad=True)
    objective = PAD(beta=3.0, **settings)
    assert torch.autograd.gradcheck(lambda x: objective(Responses(x, lengths, scores=scores)).losses, (logps,))


def test_subsets_average_the_divergence_of_smaller_lists():
    whole = random_lists(2, 5)
    for k in (2, 3):
        parts = [
            losses({"beta": 2.0}, Responses(whole.logps[:, i], whole.lengths[:, i], scores=whole.scores[:, i]))
            for i in map(list, itertools.combinations(range(5), k))
        ]
        mean = [sum(column) / len(parts) for column in zip(*parts, strict=True)]
        assert losses({"beta": 2.0, "subset_size": k}, whole) == pytest.approx(mean, abs=1e-9)
    assert losses({"subset_size": 5}, whole) == pytest.approx(losses({}, whole), abs=1e-12)
    seven = random_lists(2, 7)
    assert losses({}, seven) == pytest.approx(losses({"subset_size": 3}, seven), abs=1e-12)


def test_random_subsets_are_the_same_for_the_same_seed_and_right_on_average():
    lists = random_lists(2, 8)
    drawn = {"beta": 2.0, "subset_size": 3, "num_subsets": 20}
    assert losses(drawn, lists) == losses(drawn, lists) != losses({**drawn, "subset_seed": 1}, lists)
    draws = torch.tensor([losses({**drawn, "subset_seed": i}, lists) for i in range(300)])
    exact = torch.tensor(losses({"beta": 2.0, "subset_size": 3}, lists))
    assert ((draws.mean(0) - exact).abs() < 4 * draws.std(0) / 300**0.5).all()
    assert losses({**drawn, "num_subsets": 99}, lists) == pytest.approx(exact.tolist(), abs=1e-6)


def test_twelve_responses():
    lists = random_lists(4, 12)
    for settings in SETTINGS:
        out = PAD(beta=2.0, **settings)(lists)
        (grad,) = torch.autograd.grad(out.losses.sum(), lists.logps)
        assert torch.isfinite(out.losses).all() and torch.isfinite(grad).all() and (out.losses > 0).all()
        assert (out.metrics["pad/student_entropy"] <= math.lgamma(13)).all()


def test_vpd_with_ties_does_not_depend_on_their_order():
    row = ([-1.0, -2.0, -1.5], [0.8, 0.8, 0.2])
    first, second = ([-1.0, -2.0, -1.5], [0.9, 0.8, 0.2]), ([-1.0, -2.0, -1.5], [0.8, 0.9, 0.2])
    tied, a, b = losses({"loss": "vpd"}, ranked(row, first, second))
    assert tied == pytest.approx((a + b) / 2, abs=1e-12)


def test_metrics():
    out = PAD(beta=10.0, teacher_beta=10.0)(ranked(L1, L2))
    values = {k: v.tolist() for k, v in out.metrics.items()}
    assert values["pad/jsd"] == pytest.approx([0.1261784375, 0.6664432178], abs=1e-6)
    assert values["pad/fkl"][0] == pytest.approx(0.3983732439, abs=1e-6)
    assert values["pad/rkl"][0] == pytest.approx(2.7233640301, abs=1e-6)
    student = [0.178911, 0.486330, 0.065818, 0.024213, 0.215556, 0.029172]
    assert values["pad/student_entropy"][0] == pytest.approx(-sum(p * math.log(p) for p in student), abs=1e-5)
    teacher = [1.3948877e-05, 0.8236672543, 2.4594566e-06, 5.264671e-07, 0.1763151718, 6.391595e-07]
    assert values["pad/teacher_entropy"][0] == pytest.approx(-sum(p * math.log(p) for p in teacher), abs=1e-6)
    assert values["pad/top1_agree"] == [1, 0]
    assert values["pad/kendall_tau"] == pytest.approx([1, -1])
    assert values["rewards/chosen"] == pytest.approx([-10, -13])
    assert values["rewards/margins"] == pytest.approx([2, -4])
    assert values["rewards/accuracies"] == [1, 0]
    for settings in SETTINGS:
        for value in PAD(**settings)(ranked(L1, L2)).metrics.values():
            assert value.shape == (2,) and not value.requires_grad
    vpd = PAD(loss="vpd")(ranked(L1)).metrics
    assert "pad/student_entropy" in vpd and "pad/jsd" not in vpd and "pad/teacher_entropy" not in vpd


def test_examples_can_weigh_as_their_tokens():
    lengths = torch.tensor([[10, 20], [4, 6]])
    uniform, tokens = PAD().weight(lengths), PAD(example_weighting="tokens").weight(lengths)
    micro = torch.tensor([0.2, 0.6])
    assert ((micro * tokens).sum() / tokens.sum()).item() == pytest.approx(0.3)
    assert ((micro * uniform).sum() / uniform.sum()).item() == pytest.approx(0.4)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=4), st.booleans())
def test_losses_and_gradients_stay_finite(pairs, single):
    dtype = torch.float32 if single else torch.float64
    for settings in SETTINGS:
        logps = torch.tensor([[a for a, _ in pairs]], dtype=dtype, requires_grad=True)
        scores = torch.tensor([[b for _, b in pairs]], dtype=dtype)
        out = PAD(**settings)(Responses(logps, torch.ones_like(logps).long(), scores=scores))
        (grad,) = torch.autograd.grad(out.losses.sum(), logps)
        assert torch.isfinite(out.losses).all() and torch.isfinite(grad).all()
        assert out.losses.dtype == dtype and all(torch.isfinite(v).all() for v in out.metrics.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": 0.0},
        {"teacher_beta": 0.0},
        {"alpha": 1.5},
        {"loss": "vpd", "divergence": "jsd"},
        {"loss": "vpd", "teacher_beta": 1.0},
        {"loss": "vpd", "alpha": 0.5},
        {"loss": "vpd", "subset_size": 2},
        {"divergence": "fkl", "subset_size": 2},
        {"subset_size": 1},
        {"subset_size": 7},
        {"num_subsets": 3},
        {"subset_size": 2, "num_subsets": 0},
        {"subset_size": 2, "subset_seed": 3},
    ],
)
def test_settings_that_are_errors_are_so_when_a_recipe_is_read(settings):
    with pytest.raises(ValueError):
        PAD(**settings)
    with pytest.raises(PrefineError):
        objectives.check({"name": "pad", **settings})


def test_a_recipe_builds_it():
    pad = objectives.build({"name": "pad", "loss": "ppd", "beta": 10.0, "teacher_beta": 2.0})
    assert (pad.divergence, pad.teacher_beta, objectives.find("pad").attributes["max_group_size"]) == ("jsd", 2.0, 12)
