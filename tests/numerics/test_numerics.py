from __future__ import annotations

import random

import pytest
import torch

from desktop_rlhf.numerics.advantages import gae
from desktop_rlhf.numerics.kl import kl_k1, kl_k3
from desktop_rlhf.numerics.masked import masked_mean, masked_whiten
from desktop_rlhf.records.errors import EmptyCompletionError


def ragged_mask(generator: torch.Generator, rows: int, width: int) -> torch.Tensor:
    lengths = torch.randint(1, width + 1, (rows, 1), generator=generator)
    return torch.arange(width) < lengths


def test_that_gae_equals_the_double_sum_on_ragged_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    pick = random.Random(0)
    for trial in range(1000):
        width, gamma, lam = pick.randint(1, 7), pick.random(), pick.random()
        if trial < 4:
            gamma, lam = divmod(trial, 2)  # plain returns less the value, one step's error, and nothing at all
        mask = ragged_mask(generator, 3, width)
        rewards = torch.randn(3, width, dtype=torch.float64, generator=generator)
        values = torch.randn(3, width, dtype=torch.float64, generator=generator)
        expected = torch.zeros_like(rewards)
        for row in range(3):
            length = int(mask[row].sum())
            following = [*values[row, 1:length].tolist(), 0.0]
            deltas = [rewards[row, t].item() + gamma * following[t] - values[row, t].item() for t in range(length)]
            for t in range(length):
                expected[row, t] = sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, length))
        assert torch.allclose(gae(rewards, values, mask, gamma=gamma, lam=lam), expected, rtol=0, atol=1e-12)


def test_that_gae_ignores_what_stands_in_the_padding() -> None:
    mask = torch.tensor([[True, True, False]])
    clean = gae(torch.ones(1, 3), torch.zeros(1, 3), mask, gamma=1.0, lam=0.95)
    dirty = gae(torch.tensor([[1.0, 1.0, 9.0]]), torch.tensor([[0.0, 0.0, 9.0]]), mask, gamma=1.0, lam=0.95)
    assert torch.equal(clean, dirty)


def test_that_k1_and_k3_estimate_the_exact_kl() -> None:
    generator = torch.Generator().manual_seed(1)
    policy = torch.randn(6, dtype=torch.float64, generator=generator).mul(0.3).log_softmax(-1)
    reference = torch.randn(6, dtype=torch.float64, generator=generator).mul(0.3).log_softmax(-1)
    exact = (policy.exp() * (policy - reference)).sum().item()
    assert exact > 0
    drawn = torch.multinomial(policy.exp(), 2_000_000, replacement=True, generator=generator)
    pi, ref, mask = policy[drawn].unsqueeze(1), reference[drawn].unsqueeze(1), torch.ones(len(drawn), 1).bool()
    for estimate in (kl_k1(pi, ref, mask), kl_k3(pi, ref, mask)):
        four_sigma = 4 * estimate.std().item() / len(drawn) ** 0.5
        assert abs(estimate.mean().item() - exact) < four_sigma
    assert (kl_k3(pi, ref, mask) >= 0).all()
    assert kl_k3(pi, ref, mask).std() < kl_k1(pi, ref, mask).std() / 2
    assert (kl_k1(pi, ref, mask) < 0).any()


def test_that_k3_is_not_below_zero_in_float32_where_the_two_nearly_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    policy = -0.2 * torch.rand(20_000, 1, generator=generator)
    reference = policy + 1e-3 * torch.randn(20_000, 1, generator=generator)
    assert (kl_k3(policy, reference, torch.ones(20_000, 1).bool()) >= 0).all()


def test_that_a_mean_over_no_token_is_an_error() -> None:
    nothing = torch.zeros(1, 2).bool()
    with pytest.raises(EmptyCompletionError):
        masked_mean(torch.ones(1, 2), nothing)
    with pytest.raises(EmptyCompletionError):
        kl_k3(torch.zeros(1, 2), torch.zeros(1, 2), nothing)


def test_that_whitening_leaves_padding_at_zero_and_survives_one_token() -> None:
    values, mask = torch.tensor([[1.0, 3.0, 99.0]]), torch.tensor([[True, True, False]])
    assert torch.allclose(masked_whiten(values, mask), torch.tensor([[-1.0, 1.0, 0.0]]))
    kept_mean = masked_whiten(values, mask, shift_mean=False)
    assert torch.allclose(kept_mean, torch.tensor([[1.0, 3.0, 0.0]]))
    assert torch.isfinite(masked_whiten(values, torch.tensor([[True, False, False]]))).all()
