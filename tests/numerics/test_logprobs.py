"""What a log-probability is, whatever format the logits come in."""

from __future__ import annotations

import pytest
import torch

from desktop_rlhf.numerics.logprobs import token_logprobs


def test_that_logprobs_of_short_logits_are_those_of_the_same_numbers_in_float64() -> None:
    """The logits are what they are; only the softmax must not be rounded as they were."""
    generator = torch.Generator().manual_seed(0)
    short = (4 * torch.randn(200, 1000, generator=generator)).bfloat16()
    targets = torch.randint(0, 1000, (200,), generator=generator)
    exact = short.double().log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    assert (token_logprobs(short, targets).double() - exact).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_that_no_logprob_is_above_zero_even_where_one_token_is_certain(dtype) -> None:
    certain = torch.tensor([[500.0, 0.0, -500.0], [80.0, 79.9, 0.0]], dtype=dtype)
    for target in range(3):
        logprobs = token_logprobs(certain, torch.full((2,), target))
        assert (logprobs <= 0).all()
        assert torch.isfinite(logprobs).all()
