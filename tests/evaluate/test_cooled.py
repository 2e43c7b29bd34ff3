import pytest

from prefine.evaluate.cooled import match_diversity


def test_bisection_finds_the_temperature():
    tried = []

    def distinct_at(t: float) -> float:
        tried.append(t)
        return 1 + 3 * t

    found = match_diversity(distinct_at, 2.875, 1.0)
    # 1 + 3 t = 2.875 at t = .625: 1 -> 4, .5 -> 2.5, .75 -> 3.25, .625 -> 2.875
    assert tried == [1.0, 0.5, 0.75, 0.625]
    assert (found.temperature, found.distinct, found.target) == (0.625, 2.875, 2.875)


def test_a_model_as_diverse_as_the_start_needs_no_cooling():
    for target in (4.0, 4.3):
        assert match_diversity(lambda t: 4 * t, target, 1.0).steps == [(1.0, 4.0)]


def test_the_closest_temperature_is_kept_when_steps_run_out():
    # jumps from 1 to 3 at .4: no temperature gives 2.1
    found = match_diversity(lambda t: 3.0 if t > 0.4 else 1.0, 2.1, 1.0, steps=4)
    assert len(found.steps) == 5
    assert found.distinct == 3.0 and found.temperature > 0.4


@pytest.mark.parametrize("target", [1.0, 1.3, 2.0, 3.9])
def test_within_the_tolerance_on_a_smooth_curve(target):
    found = match_diversity(lambda t: 1 + 3 * t**2, target, 1.0, steps=12)
    assert abs(found.distinct - target) <= 0.05
