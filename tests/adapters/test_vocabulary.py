"""The projection onto the vocabulary beside the plain one, which makes all the logits and lets autograd go through."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from desktop_rlhf.adapters.vocabulary import ROWS, Vocabulary

HIDDEN, TOKENS = 24, 300


def made(dtype=torch.float32, bias=False, cap=None) -> tuple[Vocabulary, nn.Linear]:
    torch.manual_seed(0)
    projection = nn.Linear(HIDDEN, TOKENS, bias=bias).to(dtype).requires_grad_(False)
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(final_logit_softcapping=cap))
    return Vocabulary(SimpleNamespace(get_output_embeddings=lambda: projection, config=config)), projection


def places(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = (4 * torch.randn(count, HIDDEN, generator=generator)).requires_grad_()
    return hidden, torch.randint(0, TOKENS, (count,), generator=generator)


@pytest.mark.parametrize("count", [1, ROWS, 2 * ROWS + 5])
@pytest.mark.parametrize(("bias", "cap"), [(False, None), (True, None), (True, 3.0)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_that_scores_and_gradient_equal_the_plain_ones(count, bias, cap, temperature) -> None:
    vocabulary, projection = made(bias=bias, cap=cap)
    hidden, targets = places(count)
    weights = torch.randn(count, generator=torch.Generator().manual_seed(2))
    scores = vocabulary.scores(hidden, targets, temperature)
    (weights * scores.logprobs).sum().backward()
    found, hidden.grad = hidden.grad, None

    logits = projection(hidden)
    if cap:
        logits = torch.tanh(logits / cap) * cap
    plain = (logits / temperature).log_softmax(-1)
    (weights * plain.gather(-1, targets.unsqueeze(-1)).squeeze(-1)).sum().backward()
    assert torch.allclose(scores.logprobs, plain.gather(-1, targets.unsqueeze(-1)).squeeze(-1), atol=1e-5)
    assert torch.allclose(scores.entropy, -(plain.exp() * plain).sum(-1), atol=1e-5)
    assert torch.equal(scores.hits, plain.argmax(-1) == targets)
    assert torch.allclose(found, hidden.grad, atol=1e-5)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("cap", [None, 60.0])
def test_that_the_gradient_of_likely_tokens_is_not_lost_to_rounding(dtype, near, cap) -> None:
    """Of a token that is nearly certain W_target and the mean of all W are nearly the same."""
    vocabulary, projection = made(dtype, cap=cap)
    weight = projection.weight.double()
    targets = torch.arange(6)
    strength = torch.tensor([0.0, 5.0, 10.0, 15.0, 20.0, 30.0])  # from unlikely to certain
    hidden = (strength.unsqueeze(1) * weight[targets] / weight[targets].norm(dim=1, keepdim=True) ** 2).float()
    hidden = hidden.bfloat16().float().requires_grad_()
    vocabulary.scores(hidden, targets).logprobs.sum().backward()
    found, exact = hidden.grad.double(), hidden.detach().double().requires_grad_()
    logits = exact @ weight.t()
    if cap:
        logits = torch.tanh(logits / cap) * cap
    logprobs = logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1))
    logprobs.sum().backward()
    assert logprobs[-1].exp() > 0.999
    assert ((found - exact.grad).norm(dim=1) < near * exact.grad.norm(dim=1)).all()


def test_that_scores_are_the_same_bytes_with_and_without_a_gradient() -> None:
    """The first PPO ratio is exactly 1 because of it."""
    vocabulary, _ = made()
    hidden, targets = places(ROWS + 9)
    with torch.no_grad():
        without = vocabulary.scores(hidden, targets)
    assert not without.logprobs.requires_grad
    assert torch.equal(vocabulary.scores(hidden, targets).logprobs, without.logprobs)


def test_that_no_gradient_goes_through_what_is_only_measured() -> None:
    vocabulary, _ = made()
    scores = vocabulary.scores(*places(3))
    assert scores.logprobs.requires_grad
    assert not scores.entropy.requires_grad
    assert not scores.hits.requires_grad


@pytest.mark.parametrize("bias", [False, True])
def test_that_a_short_base_is_projected_without_rounding_what_comes_out(bias) -> None:
    vocabulary, projection = made(torch.bfloat16, bias)
    hidden, targets = places(40)
    hidden = hidden.detach().bfloat16().float().requires_grad_()  # as a trunk in bfloat16 gives it
    before = torch.get_float32_matmul_precision()
    found = vocabulary.logits(hidden)
    assert torch.get_float32_matmul_precision() == before
    exact = hidden.double() @ projection.weight.double().t()
    if bias:
        exact = exact + projection.bias.double()
    assert found.dtype == torch.float32
    assert (found.double() - exact).abs().max() < 1e-4
    assert (found.bfloat16().double() - exact).abs().max() > 1e-2  # what rounding would have cost

    vocabulary.scores(hidden, targets).logprobs.sum().backward()
    gradient, hidden.grad = hidden.grad, None
    logprobs = nn.functional.linear(hidden.double(), projection.weight.double()).float()
    if bias:
        logprobs = logprobs + projection.bias.float()
    logprobs.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).sum().backward()
    assert (gradient - hidden.grad).norm() < 0.01 * hidden.grad.norm()  # probabilities are rounded once


def test_that_a_gpu_gets_more_logits_at_once_unless_the_vocabulary_is_large() -> None:
    def rows(tokens: int, device: str) -> int:
        projection = SimpleNamespace(weight=torch.empty(tokens, 1, device="meta"))
        config = SimpleNamespace(get_text_config=lambda: SimpleNamespace())
        base = SimpleNamespace(get_output_embeddings=lambda: projection, config=config)
        return Vocabulary(base).rows_at_once(torch.device(device))

    assert [rows(tokens, "cpu") for tokens in (49_152, 262_144)] == [ROWS, ROWS]
    assert [rows(tokens, "cuda") for tokens in (49_152, 262_144, 10**6)] == [512, 256, ROWS]
