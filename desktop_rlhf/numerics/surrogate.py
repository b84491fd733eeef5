"""The clipped surrogate of policy gradients."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(
    new_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, cliprange: float
) -> tuple[Tensor, Tensor]:
    """max(-A ratio, -A clip(ratio, 1 - c, 1 + c)) for every action, be it a token or a whole completion.

    Args:
        new_logprobs, old_logprobs, advantages: [...] of shapes that broadcast together.

    Returns:
        The losses, and a bool tensor: True where the clipped term is the larger, so that no gradient flows.

    Source: Schulman et al., "Proximal policy optimization algorithms" (2017), equation 7.
    """
    ratio = torch.exp(new_logprobs - old_logprobs)
    free = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return torch.maximum(free, clipped), clipped > free
