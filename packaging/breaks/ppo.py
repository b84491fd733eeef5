"""Rows on PPO and what learns from rollouts beside it."""

from __future__ import annotations

from breaks.row import Advice, Break, Row

PPO: tuple[Row | Advice, ...] = (
    Row(
        "P6",
        "GAE is the sum of discounted errors of the value; the value behind a completion's last token is 0, whether it "
        "ended or was cut.",
        (
            Break(
                "The recursion forgets lambda",
                "tests/numerics/test_numerics.py::test_that_gae_equals_the_double_sum_on_ragged_batches",
                "desktop_rlhf/numerics/advantages.py",
                "gamma * lam * running",
                "gamma * running",
            ),
        ),
    ),
)
