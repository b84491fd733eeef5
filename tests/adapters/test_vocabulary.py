"""The projection onto the vocabulary beside the plain one, which makes all the logits and lets autograd go through."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from desktop_rlhf.adapters.vocabulary import EXACT, ROWS, Vocabulary

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_that_scores_are_the_same_bytes_with_and_without_a_gradient(dtype) -> None:
    """The first PPO ratio is exactly 1 because of it."""
    vocabulary, _ = made(dtype)
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


def short(bias=False, cap=None) -> tuple[Vocabulary, nn.Linear]:
    """Of a base in bfloat16 whose logits are all about 20, as a trained model's likely ones are."""
    vocabulary, projection = made(torch.bfloat16, bias, cap)
    projection.weight[:, 0] = 1.0
    return vocabulary, projection


def short_places(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states as a trunk in bfloat16 gives them."""
    hidden, targets = places(count)
    with torch.no_grad():
        hidden[:, 0] = 20.0
    return hidden.detach().bfloat16().float().requires_grad_(), targets


def exact_logits(hidden, projection, cap=None) -> torch.Tensor:
    logits = hidden.double() @ projection.weight.double().t()
    if projection.bias is not None:
        logits = logits + projection.bias.double()
    return torch.tanh(logits / cap) * cap if cap else logits


@pytest.mark.parametrize(("bias", "cap"), [(True, None), (False, 30.0), (True, 30.0)])
def test_that_no_logit_of_a_short_base_is_rounded_where_they_are_capped_or_have_a_bias(bias, cap) -> None:
    vocabulary, projection = short(bias, cap)
    hidden, _ = short_places(40)
    before = torch.get_float32_matmul_precision()
    found = vocabulary.logits(hidden)
    assert torch.get_float32_matmul_precision() == before
    assert found.dtype == torch.float32
    assert (found.double() - exact_logits(hidden, projection, cap)).abs().max() < 1e-4


def test_that_the_likeliest_logits_of_a_short_base_are_not_rounded() -> None:
    vocabulary, projection = short()
    hidden, _ = short_places(40)
    exact = exact_logits(hidden, projection)
    off = (vocabulary.logits(hidden).double() - exact).abs()
    order = exact.argsort(-1, descending=True)
    assert off.gather(-1, order[:, : EXACT // 2]).max() < 1e-4
    assert 1e-2 < off.max() < 0.07  # what rounding costs the others
    assert vocabulary.logits(hidden[:0]).shape == (0, TOKENS)


@pytest.mark.parametrize("count", [1, ROWS, 2 * ROWS + 5])
@pytest.mark.parametrize(("bias", "cap"), [(False, None), (True, None), (False, 30.0)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_that_scores_of_a_short_base_are_not_rounded_as_its_logits_are(count, bias, cap, temperature) -> None:
    """Of a token of p they are off by a 256th of ln p; of a likely one by next to nothing."""
    vocabulary, projection = short(bias, cap)
    hidden, targets = short_places(count)
    logits = exact_logits(hidden, projection, cap) / temperature
    likely = torch.arange(count) % 2 == 0
    targets[likely] = logits.argmax(-1)[likely]
    scores = vocabulary.scores(hidden, targets, temperature)
    scores.logprobs.sum().backward()
    found, hidden.grad = hidden.grad, None

    place, plain = targets.unsqueeze(-1), logits.log_softmax(-1)
    exact = plain.gather(-1, place).squeeze(-1)
    exact.sum().backward()
    off, near = (scores.logprobs.double() - exact).abs(), exact.abs() / 256 + 0.002
    assert (off < near).all()
    assert ((scores.entropy.double() + (plain.exp() * plain).sum(-1)).abs() < 2 * near).all()
    assert (found - hidden.grad).norm() < 0.01 * hidden.grad.norm()  # probabilities are rounded
    if count > 1:
        rounded = logits.detach().bfloat16().double().log_softmax(-1).gather(-1, place).squeeze(-1)
        assert (rounded - exact)[likely].abs().max() > 5 * off[likely].max()  # had they been


def test_that_a_gpu_gets_more_logits_at_once_unless_the_vocabulary_is_large() -> None:
    def rows(tokens: int, device: str) -> int:
        projection = SimpleNamespace(weight=torch.empty(tokens, 1, device="meta"))
        config = SimpleNamespace(get_text_config=lambda: SimpleNamespace())
        base = SimpleNamespace(get_output_embeddings=lambda: projection, config=config)
        return Vocabulary(base).rows_at_once(torch.device(device))

    assert [rows(tokens, "cpu") for tokens in (49_152, 262_144)] == [ROWS, ROWS]
    assert [rows(tokens, "cuda") for tokens in (49_152, 262_144, 10**6)] == [512, 256, ROWS]
