"""What a log-probability is, whatever format the logits come in."""

from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.numerics.logprobs import token_scores


def test_that_scores_equal_a_table_worked_by_hand() -> None:
    rows, targets = [(1.0, 0.0, -1.0), (0.0, 2.0, 0.0)], [0, 2]
    logprobs, entropies = [], []
    for row, target in zip(rows, targets, strict=True):
        total = sum(map(math.exp, row))
        logprobs.append(row[target] - math.log(total))
        entropies.append(-sum(math.exp(x) / total * (x - math.log(total)) for x in row))
    scores, probabilities = token_scores(torch.tensor(rows, dtype=torch.float64), torch.tensor(targets))
    assert scores.logprobs.tolist() == pytest.approx(logprobs, rel=1e-12)
    assert scores.entropy.tolist() == pytest.approx(entropies, rel=1e-12)
    assert scores.hits.tolist() == [True, False]
    assert probabilities.sum(-1).tolist() == pytest.approx([1.0, 1.0], rel=1e-12)
    flat, _ = token_scores(torch.zeros(1, 7), torch.tensor([3]))
    assert flat.entropy.item() == pytest.approx(math.log(7), rel=1e-6)


def test_that_logits_are_divided_by_the_temperature() -> None:
    logits, targets = torch.tensor([[2.0, 0.0, -1.0, 0.5]]), torch.tensor([1])
    by_hand = (logits / 0.5).log_softmax(-1)
    scores, probabilities = token_scores(logits.clone(), targets, temperature=0.5)
    assert torch.allclose(scores.logprobs, by_hand[:, 1])
    assert torch.allclose(probabilities, by_hand.exp())
    assert torch.allclose(scores.entropy, -(by_hand.exp() * by_hand).sum(-1))


def test_that_logprobs_of_short_logits_are_those_of_the_same_numbers_in_float64() -> None:
    """The logits are what they are; only the softmax must not be rounded as they were."""
    generator = torch.Generator().manual_seed(0)
    short = (4 * torch.randn(200, 1000, generator=generator)).bfloat16()
    targets = torch.randint(0, 1000, (200,), generator=generator)
    exact = short.double().log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    found = token_scores(short, targets)[0].logprobs
    assert found.dtype == torch.float32
    assert (found.double() - exact).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_that_no_logprob_is_above_zero_even_where_one_token_is_certain(dtype) -> None:
    for target in range(3):
        certain = torch.tensor([[500.0, 0.0, -500.0], [80.0, 79.9, 0.0]], dtype=dtype)
        scores, _ = token_scores(certain, torch.full((2,), target))
        assert (scores.logprobs <= 0).all()
        assert (scores.entropy >= 0).all()
        assert torch.isfinite(torch.stack([scores.logprobs, scores.entropy])).all()
