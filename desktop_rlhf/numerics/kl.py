"""Estimates of KL(policy || reference) from tokens that the policy sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from desktop_rlhf.records.errors import EmptyCompletionError


def kl_tokens(policy_logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor, estimator: str) -> Tensor:
    """``k1`` or ``k3`` of every token, 0 at padding.

    Args and source as ``kl_k1``.

    Returns:
        [B, C] nats; k3 is never negative.
    """
    log_ratio = torch.where(mask, reference_logprobs - policy_logprobs, 0.0)
    return -log_ratio if estimator == "k1" else torch.expm1(log_ratio) - log_ratio


def kl_k1(policy_logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor) -> Tensor:
    """The log-ratio summed over each completion: unbiased, may be negative for one completion.

    Args:
        policy_logprobs, reference_logprobs: [B, C] nats.
        mask: [B, C] bool, True = a real completion token.

    Returns:
        [B] nats per completion.

    Source: J. Schulman, "Approximating KL divergence" (2020).
    """
    return kl_tokens(policy_logprobs, reference_logprobs, mask, "k1").sum(dim=-1)


def kl_k3(policy_logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor) -> Tensor:
    """exp(r) - 1 - r with r = reference - policy, averaged over each completion's tokens: never negative.

    Args and source as ``kl_k1``; unbiased only for tokens drawn from the policy itself.

    Returns:
        [B] nats per token.

    Raises:
        EmptyCompletionError: a row keeps no token; the mean would be 0/0.
    """
    if not bool(mask.any(dim=-1).all()):
        raise EmptyCompletionError("a completion keeps no token")
    return kl_tokens(policy_logprobs, reference_logprobs, mask, "k3").sum(dim=-1) / mask.sum(dim=-1)
