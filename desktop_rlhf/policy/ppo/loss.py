"""The PPO losses: clipped policy surrogate, clipped value error, and the rewards they are fed."""

from __future__ import annotations

import torch
from torch import Tensor

from desktop_rlhf.numerics.masked import masked_mean


def policy_loss(
    new_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cliprange: float
) -> Tensor:
    """max(-A ratio, -A clip(ratio, 1 - c, 1 + c)) averaged over kept tokens; inputs [B, C], result scalar.

    Source: Schulman et al., "Proximal policy optimization algorithms" (2017).
    """
    ratio = torch.exp(torch.where(mask, new_logprobs - old_logprobs, 0.0))
    clipped = ratio.clamp(1 - cliprange, 1 + cliprange)
    return masked_mean(torch.maximum(-advantages * ratio, -advantages * clipped), mask)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, cliprange: float) -> Tensor:
    """Half the larger squared error of the value and of the value clipped to its old self; [B, C] to scalar."""
    clipped = old_values + (values - old_values).clamp(-cliprange, cliprange)
    return 0.5 * masked_mean(torch.maximum((values - returns) ** 2, (clipped - returns) ** 2), mask)


def token_rewards(
    scores: Tensor, policy_logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """-kl_coef (log pi - log ref) at every kept token, plus the score at each row's last kept token.

    Args:
        scores: [B]; the others [B, C].

    Returns:
        [B, C]; each row sums to score - kl_coef * kl_k1.
    """
    rewards = torch.where(mask, -kl_coef * (policy_logprobs - reference_logprobs), 0.0)
    last = mask.sum(dim=-1) - 1
    rewards[torch.arange(len(scores)), last] += scores
    return rewards
