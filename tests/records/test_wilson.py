from __future__ import annotations

import math

import pytest

from desktop_rlhf.records.verdicts import wilson

SHARES = [(0, 10), (3, 10), (7.5, 10), (25, 50), (36, 50), (50, 50), (612, 1000)]


@pytest.mark.parametrize(("successes", "n"), SHARES)
def test_that_the_ends_of_an_interval_are_the_shares_that_lie_just_so_far_off(successes: float, n: int) -> None:
    """At each end, what was seen is 1.96 standard deviations away; the deviation is that of the end's own share."""
    found = wilson(successes, n)
    assert (found.value, found.n) == (successes / n, n)
    for end in (found.low, found.high):
        if end != found.value:
            assert abs(found.value - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(1.959964, rel=1e-5)


def test_that_fifty_comparisons_leave_thirteen_points_to_either_side() -> None:
    found = wilson(25, 50)
    assert (found.low, found.high) == pytest.approx((0.5 - 0.134, 0.5 + 0.134), abs=1e-3)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.72])
def test_that_an_interval_holds_the_true_share_about_95_times_in_100(share: float) -> None:
    n = 50
    chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    held = sum(p for k, p in enumerate(chances) if wilson(k, n).low <= share <= wilson(k, n).high)
    assert held == pytest.approx(0.95, abs=0.03)


def test_that_without_a_case_nothing_is_known() -> None:
    nothing = wilson(0, 0)
    assert (nothing.low, nothing.high, nothing.n) == (0.0, 1.0, 0)
