"""The GRPO loss."""

from __future__ import annotations

import torch
from torch import Tensor

from desktop_rlhf.numerics.kl import kl_tokens
from desktop_rlhf.numerics.masked import masked_mean
from desktop_rlhf.numerics.surrogate import clipped_surrogate


def grpo_loss(
    new_logprobs: Tensor,
    old_logprobs: Tensor,
    reference_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    cliprange: float,
    beta: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Clipped surrogate + beta k3 at every kept token, averaged over tokens; the mean k3; the share clipped.

    Every token weighs the same, however long its completion, so that length is neither rewarded nor punished.

    Args:
        new_logprobs, old_logprobs, reference_logprobs: [N, C] of one prompt's completions.
        advantages: [N], the same for every token of a completion.

    Returns:
        Three scalars; the gradient flows through the first.

    Source: Shao et al., "DeepSeekMath" (2024), equation 3; the mean over tokens: Yu et al., "DAPO" (2025).
    """
    change = torch.where(mask, new_logprobs - old_logprobs, 0.0)
    losses, clipped = clipped_surrogate(change, torch.zeros_like(change), advantages.unsqueeze(-1), cliprange)
    kl = masked_mean(kl_tokens(new_logprobs, reference_logprobs, mask, "k3"), mask)
    return masked_mean(losses, mask) + beta * kl, kl, masked_mean(clipped.to(losses.dtype), mask)
