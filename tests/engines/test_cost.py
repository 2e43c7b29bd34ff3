"""Prices, budgets and estimates, worked out by hand."""

import pytest

from prefine.engines.base import Request, Sampling
from prefine.engines.cost import Budget, Price, approximate_tokens, load_price, most_tokens
from prefine.errors import PrefineError


@pytest.fixture
def prices(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("small: {input: 0.15, cached_input: 0.075, output: 0.6}\nlocal: {input: 0, output: 0}\n")
    return str(path)


def test_cached_tokens_have_their_own_price_and_are_part_of_the_prompt(prices):
    # 1,000 prompt tokens, 400 of them cached, 200 written: (600 * 0.15 + 400 * 0.075 + 200 * 0.6) / 1e6
    assert load_price(prices, "small").cost(1000, 400, 200) == pytest.approx(0.00024)


def test_without_a_price_of_their_own_cached_tokens_cost_what_others_cost(prices):
    assert load_price(prices, "local") == Price(0, 0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("small: {input: 1, output: 2}", "no price of 'smal'; did you mean 'small'?"),
        ("smal: {input: 1, ouput: 2}", "unknown key 'ouput'; did you mean 'output'?"),
        ("smal: {input: 1}", "output is missing"),
        ("smal: {input: -1, output: 2}", "input must be dollars per million tokens, not -1"),
        ("smal: {input: true, output: 2}", "input must be dollars"),
        ("smal: {input: .nan, output: 2}", "input must be dollars"),
        ("smal: 3", "a price is a mapping"),
        ("[1, 2]", "no mapping of models"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_mistake_in_the_prices_is_named(tmp_path, text, message):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(PrefineError, match=r"prices\.yaml") as error:
        load_price(str(path), "smal")
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PrefineError, match=r"none\.yaml cannot be read"):
        load_price(str(tmp_path / "none.yaml"), "m")


def test_a_call_is_held_at_its_highest_and_corrected_by_what_it_used():
    budget = Budget(tokens=1000)
    assert budget.reserve(300, 300) and not budget.reserve(300, 101)
    assert budget.reserve(300, 100)
    budget.give_back(300, 300)
    budget.spend(290, 0, 10)
    assert budget.spent_tokens == 300
    assert budget.reserve(200, 100) and not budget.reserve(0, 1)


def test_dollars_are_held_without_the_discount_for_cached_tokens():
    budget = Budget(usd=1.0, price=Price(input=1e6, output=2e6, cached_input=0))
    assert not budget.reserve(1, 1)
    assert budget.reserve(1, 0) and not budget.reserve(1, 0)
    budget.give_back(1, 0)
    budget.spend(1, 1, 0)
    assert budget.spent_usd == 0.0 and budget.reserve(1, 0)


def test_a_call_whose_bill_never_came_stays_counted_when_the_ledger_is_read_again():
    budget = Budget(tokens=1000)
    budget.spend_unbilled(100, 50)
    budget.start(200, 0, 20)
    assert budget.spent_tokens == 370


def test_dollars_need_a_price():
    with pytest.raises(PrefineError, match="needs the price"):
        Budget(usd=1.0)


def test_without_limits_everything_fits():
    budget = Budget()
    assert budget.reserve(10**12, 10**12) and not budget.limited and budget.cost(1, 0, 1) is None


def test_tokens_by_characters():
    # 9 characters are 3 quarters, rounded up, and 4 for the frame; nothing but the frame for an empty message.
    assert approximate_tokens([{"role": "user", "content": "123456789"}, {"role": "user", "content": ""}]) == 11


def test_the_bound_on_tokens_counts_bytes():
    request = Request(({"role": "user", "content": "äöü"},), Sampling(max_tokens=7))
    assert most_tokens(request) == (64 + (6 + 16) + 16, 7)
    scored = Request(({"role": "user", "content": ""},), Sampling(max_tokens=7), response="abc")
    assert most_tokens(scored) == (64 + 16 + (3 + 16), 1)
