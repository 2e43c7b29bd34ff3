import numpy as np
import pytest

from prefine.evaluate.seeds import over_seeds


def test_three_seeds_by_hand():
    # means of the runs 1, 2, 3: sd 1; t(.975, 2) = 4.3027; half width 4.3027 / sqrt(3)
    found = over_seeds([[0.0, 2.0], [1.0, 3.0], [2.0, 4.0]])
    assert (found.value, found.sd, found.seeds) == (2, 1, 3)
    assert found.high == pytest.approx(2 + 4.30265 / 3**0.5, abs=1e-4) and found.low == pytest.approx(4 - found.high)
    assert found.bootstrap_low is not None and found.low is not None and found.bootstrap_low > found.low
    # prompts have means 1 and 3 over the seeds
    assert found.prompts.value == 2 and found.prompts.n == 2


def test_fewer_seeds_have_no_interval():
    two = over_seeds([[1.0, 2.0], [3.0, 4.0]])
    assert two.sd == pytest.approx(2**0.5) and two.low is None and two.bootstrap_high is None
    one = over_seeds([[1.0, 2.0]])
    assert one.sd is None and one.value == 1.5


def test_noise_of_prompts_and_of_seeds_is_kept_apart():
    prompts = np.random.default_rng(0).normal(0, 10, 200)
    found = over_seeds([(prompts + shift).tolist() for shift in (-0.1, 0.0, 0.1)])
    # prompts differ a lot, seeds hardly
    assert found.sd == pytest.approx(0.1) and found.low is not None and found.high is not None
    assert found.high - found.low < 0.6
    assert found.prompts.low is not None and found.prompts.high is not None
    assert found.prompts.high - found.prompts.low > 2


def test_a_table_is_wanted():
    with pytest.raises(ValueError, match="seeds, prompts"):
        over_seeds([])
