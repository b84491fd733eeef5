from __future__ import annotations

import math

import pytest

from desktop_rlhf.records.verdicts import judgements_to_call_even, judgements_to_tell, wilson

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


@pytest.mark.parametrize("share", [0.6, 0.75, 1.0, 0.3])
def test_that_the_number_that_tells_is_the_first_whose_interval_leaves_a_half_out(share: float) -> None:
    def told(n: int) -> bool:
        return wilson(share * n, n).low > 0.5 or wilson(share * n, n).high < 0.5

    needed = judgements_to_tell(share)
    assert needed is not None
    assert told(needed)
    assert not told(needed - 1)
    assert judgements_to_tell(0.5) is None


@pytest.mark.parametrize("share", [0.5, 0.53, 0.48])
def test_that_the_number_that_calls_it_even_is_the_first_whose_whole_interval_is_near_a_half(share: float) -> None:
    def near(n: int) -> bool:
        return wilson(share * n, n).low >= 0.4 and wilson(share * n, n).high <= 0.6

    needed = judgements_to_call_even(share)
    assert needed is not None
    assert near(needed)
    assert not near(needed - 1)
    assert judgements_to_call_even(0.7) is None
