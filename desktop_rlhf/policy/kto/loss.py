"""The KTO loss and its reference point."""

from __future__ import annotations

import torch
from torch import Tensor


def reference_point(mismatched_log_ratios: Tensor) -> Tensor:
    """What the policy gained on average on answers to other prompts: the biased estimate of its KL, never below 0.

    Args:
        mismatched_log_ratios: [M] nats, (policy - reference) summed over the tokens of completions that answer another
            prompt than the one they stand behind.

    Returns:
        scalar nats without a gradient; 0 where M is 0.

    Source: Ethayarajh et al., "KTO: Model alignment as prospect theoretic optimization" (2024), section 4.1.
    """
    gained = mismatched_log_ratios.detach()
    return gained.mean().clamp(min=0.0) if len(gained) else gained.new_zeros(())


def kto_loss(
    log_ratios: Tensor,
    desirable: Tensor,
    point: Tensor,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """w (1 - sigmoid(beta (r - point))) for a desirable completion, w (1 - sigmoid(beta (point - r))) for another.

    Args:
        log_ratios: [B] nats, (policy - reference) summed over the completion's tokens.
        desirable:  [B] bool.
        point:      scalar nats, of ``reference_point``.

    Returns:
        [B] from 0 to the weight; half the weight at the reference point.

    Source: as ``reference_point``, equations 7 and 8.
    """
    gains = beta * (log_ratios - point)
    return torch.where(desirable, desirable_weight * torch.sigmoid(-gains), undesirable_weight * torch.sigmoid(gains))
