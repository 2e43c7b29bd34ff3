"""Distributions over orders: the walk over sets against the list of all orders, and what has to hold of either."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefine.objectives.plackett_luce import (
    all_orders_logp,
    combinations,
    jensen_shannon,
    kendall_tau,
    order_entropy,
    order_kl,
    order_logp,
    permutations,
    ranking_nll,
    stages,
    top1_agree,
)

numbers = st.floats(-30, 30)
rows = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6)


def row(values, dtype=torch.float64):
    return torch.tensor([list(values)], dtype=dtype)


def two(pairs):
    return row(a for a, _ in pairs), row(b for _, b in pairs)


def test_order_probabilities_by_hand():
    student = all_orders_logp(row([-10.0, -12.0, -11.0])).exp()[0].tolist()
    assert student == pytest.approx([0.178911, 0.486330, 0.065818, 0.024213, 0.215556, 0.029172], abs=1e-6)
    teacher = all_orders_logp(row(math.log(p) for p in (0.7, 0.2, 0.6))).exp()[0].tolist()
    assert teacher == pytest.approx([0.116667, 0.350000, 0.071795, 0.061538, 0.311111, 0.088889], abs=1e-6)
    assert permutations(3).tolist() == [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]


@given(rows, numbers)
def test_orders_are_a_distribution_that_shifts_do_not_change(pairs, shift):
    values, _ = two(pairs)
    log_p = all_orders_logp(values)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert torch.allclose(all_orders_logp(values + shift), log_p, atol=1e-9)


@given(rows)
def test_walk_over_sets_equals_the_list_of_orders(pairs):
    s, t = two(pairs)
    p, q = all_orders_logp(s), all_orders_logp(t)
    walk = stages(s)
    for reach, choice in walk:
        assert reach.exp().sum().item() == pytest.approx(1, abs=1e-9)
        assert torch.allclose(choice.exp().sum(-1), torch.ones_like(reach))
    assert order_kl(walk, stages(t)).item() == pytest.approx((p.exp() * (p - q)).sum().item(), abs=1e-9, rel=1e-9)
    assert order_entropy(walk).item() == pytest.approx(-(p.exp() * p).sum().item(), abs=1e-9)


@given(st.lists(numbers, min_size=3, max_size=5), st.randoms())
def test_the_order_of_a_few_items_is_plackett_luce_too(values, random):
    k = len(values)
    few = sorted(random.sample(range(k), random.randint(2, k - 1)))
    whole, part = all_orders_logp(row(values))[0].exp(), all_orders_logp(row(values[i] for i in few))[0].exp()
    total = dict.fromkeys(itertools.permutations(few), 0.0)
    for order, p in zip(permutations(k).tolist(), whole.tolist(), strict=True):
        total[tuple(i for i in order if i in few)] += p
    assert list(total.values()) == pytest.approx(part.tolist(), abs=1e-9)


def test_one_before_another_by_hand():
    log_p = all_orders_logp(row([0.3, 2.0, -0.7, 1.1]))[0]
    before = [order.index(0) < order.index(2) for order in permutations(4).tolist()]
    assert log_p.exp()[torch.tensor(before)].sum().item() == pytest.approx(0.731058578630, abs=1e-9)


@given(rows, numbers)
def test_jensen_shannon_is_bounded_symmetric_and_shift_invariant(pairs, shift):
    s, t = two(pairs)
    p, q = all_orders_logp(s), all_orders_logp(t)
    value = jensen_shannon(p, q).item()
    assert -1e-12 <= value <= math.log(2) + 1e-12
    assert value == pytest.approx(jensen_shannon(q, p).item(), abs=1e-12)
    assert value == pytest.approx(jensen_shannon(all_orders_logp(s + shift), q).item(), abs=1e-9)
    assert jensen_shannon(p, p).item() == pytest.approx(0, abs=1e-12)


def test_jensen_shannon_of_opposites_is_ln_2():
    far = row([60.0, 40.0, 20.0, 0.0])
    assert jensen_shannon(all_orders_logp(far), all_orders_logp(far.flip(-1))).item() == pytest.approx(
        math.log(2), abs=1e-9
    )


def test_twelve_items_have_their_divergence_and_entropy():
    uniform = torch.zeros(2, 12, dtype=torch.float64)
    assert order_entropy(stages(uniform)).tolist() == pytest.approx([math.lgamma(13)] * 2, abs=1e-9)
    # Eleven items far below the first are never before it, so that only the first choice differs.
    ahead = torch.tensor([[50.0] + [0.0] * 11], dtype=torch.float64)
    assert order_kl(stages(ahead), stages(uniform[:1])).item() == pytest.approx(math.log(12), abs=1e-9)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from([torch.float64, torch.float32]))
def test_divergences_and_gradients_stay_finite(a, b, dtype):
    s = row([a, 0.0, b, -a], dtype).requires_grad_()
    t = row([b, a, 0.0, 1.0], dtype)
    p, q = all_orders_logp(s), all_orders_logp(t)
    values = [jensen_shannon(p, q), order_kl(stages(s), stages(t)), order_kl(stages(t), stages(s)), ranking_nll(s, t)]
    for value in values:
        (gradient,) = torch.autograd.grad(value.sum(), s, retain_graph=True)
        assert torch.isfinite(value).all() and torch.isfinite(gradient).all()


def listed_nll(values, scores, top_k):
    """The same by listing every order, without tensors."""
    found = []
    for order in itertools.permutations(range(len(values))):
        if all(scores[i] >= scores[j] for i, j in itertools.pairwise(order)):
            left = [values[i] for i in order]
            terms = [math.log(sum(math.exp(x - v) for x in left[i:])) for i, v in enumerate(left)]
            found.append(sum(terms[:top_k]))
    return sum(found) / len(found)


@given(st.lists(st.tuples(numbers, st.integers(0, 2)), min_size=2, max_size=6), st.integers(1, 6))
def test_ranking_nll_is_the_mean_over_orders_that_agree(pairs, top_k):
    values, scores = two(pairs)
    expected = listed_nll(values[0].tolist(), scores[0].tolist(), top_k)
    assert ranking_nll(values, scores, top_k).item() == pytest.approx(expected, abs=1e-9)


@given(rows)
def test_ranking_nll_without_ties_is_the_probability_of_the_order(pairs):
    values, _ = two(pairs)
    scores = -torch.arange(values.shape[1], dtype=torch.float64)[None]
    assert ranking_nll(values, scores).item() == pytest.approx(-order_logp(values).item(), abs=1e-9)


def test_ranking_nll_of_twelve_equals_counts_every_subset():
    assert ranking_nll(row([0.0] * 12), row([1.0] * 12)).item() == pytest.approx(math.lgamma(13), abs=1e-9)


def test_agreement_of_orders():
    a = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    b = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.9, 0.1], [0.9, 0.5, 0.1]])
    assert kendall_tau(a, b).tolist() == pytest.approx([1, 2 / 3, -1])
    assert top1_agree(a, b).tolist() == [1, 1, 0]
    assert combinations(4, 2).shape == (6, 2)
