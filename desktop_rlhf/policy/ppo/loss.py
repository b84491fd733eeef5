"""The PPO losses: clipped policy surrogate, clipped value error, and the rewards they are fed."""

from __future__ import annotations

import torch
from torch import Tensor

from desktop_rlhf.numerics.kl import kl_tokens
from desktop_rlhf.numerics.masked import masked_mean
from desktop_rlhf.numerics.surrogate import clipped_surrogate


def policy_loss(
    new_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cliprange: float
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate averaged over kept tokens, and the share of them that were clipped; [B, C] to scalars."""
    change = torch.where(mask, new_logprobs - old_logprobs, 0.0)
    losses, clipped = clipped_surrogate(change, torch.zeros_like(change), advantages, cliprange)
    return masked_mean(losses, mask), masked_mean(clipped.to(losses.dtype), mask)


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, cliprange: float
) -> tuple[Tensor, Tensor]:
    """Half the larger squared error of the value and of the value clipped to its old self, and the share clipped.

    All [B, C] to scalars over kept tokens.
    """
    near = old_values + (values - old_values).clamp(-cliprange, cliprange)
    free, clipped = (values - returns) ** 2, (near - returns) ** 2
    share = masked_mean((clipped > free).to(values.dtype), mask)
    return 0.5 * masked_mean(torch.maximum(free, clipped), mask), share


def token_rewards(
    scores: Tensor,
    policy_logprobs: Tensor,
    reference_logprobs: Tensor,
    mask: Tensor,
    kl_coef: float,
    estimator: str = "k1",
) -> Tensor:
    """-kl_coef times the KL estimate at every kept token, plus the score at each row's last kept token.

    Args:
        scores:    [B]; the others [B, C].
        estimator: ``k1`` or ``k3``.

    Returns:
        [B, C]; each row sums to score - kl_coef * (sum of the estimates).

    Source: Ziegler et al., "Fine-tuning language models from human preferences" (2019).
    """
    rewards = -kl_coef * kl_tokens(policy_logprobs, reference_logprobs, mask, estimator)
    last = mask.sum(dim=-1) - 1
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards
