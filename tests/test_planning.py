"""How many seeds a bound takes: by hand, and by drawing new comparisons of that size."""

import numpy as np
import pytest
from test_statistics import made

from favor_mini.lab.planning import describe_plan, half_width, plan_seeds, seeds_needed


def test_half_widths_by_hand():
    assert half_width(2.0, 0.0, 4) == pytest.approx(3.182 * 2 / 2, abs=1e-3)  # t, 3 degrees
    assert half_width(0.0, 1.5, 4) == 1.5
    assert half_width(2.0, 3.0, 4) == pytest.approx(np.hypot(3.182, 3.0), abs=1e-3)


def test_the_number_of_seeds_is_the_smallest_that_is_enough():
    n = seeds_needed(3.0, 1.0, 2.0)
    assert half_width(3.0, 1.0, n) <= 2.0 < half_width(3.0, 1.0, n - 1)
    assert seeds_needed(0.0, 0.0, 2.0) == 3
    assert seeds_needed(1.0, 2.5, 2.0) is None  # the clips alone


def drawn(seeds, rng, clips=200, spread=0.04):
    """Two arms with the same true accuracy; the accuracy of each training varies by `spread`."""
    level = rng.normal(0.5, spread, (2, seeds, 1))
    return made((rng.random((2, seeds, clips * 3)) < level).astype(int), clips=clips)


def test_as_many_seeds_as_it_says_give_the_interval_that_was_asked_for():
    rng = np.random.default_rng(4)
    plan = plan_seeds(drawn(12, rng), 6.0, ["all"]).iloc[0]
    assert 3 <= plan.seeds <= plan.cautious
    wide = [(r.high - r.low) / 2 for _ in range(20)
            for r in drawn(int(plan.seeds), rng).differences(["all"]).itertuples()]
    assert 4.0 < np.mean(wide) < 7.5  # near the 6 points


def test_more_clips_are_asked_for_where_they_are_what_lacks():
    rng = np.random.default_rng(1)
    few = plan_seeds(drawn(6, rng, clips=12), 2.0, ["all"]).iloc[0]
    assert few.clips > 12
    assert plan_seeds(drawn(6, rng, clips=400), 8.0, ["all"]).iloc[0].clips == 0
    assert "to know each difference to +-2 points" in describe_plan(drawn(3, rng), 2.0)


def test_a_pilot_has_two_seeds_or_more():
    with pytest.raises(ValueError, match="the spread over seeds is unknown"):
        plan_seeds(made(np.zeros((2, 1, 60), int)), 2.0)
    with pytest.raises(ValueError, match="bound=0"):
        plan_seeds(made(np.zeros((2, 3, 60), int)), 0)
