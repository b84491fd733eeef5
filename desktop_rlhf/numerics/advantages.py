"""Advantages: how much better than expected a token or a completion did."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float) -> Tensor:
    """Advantages of every completion token.

    A_t = sum_k (gamma lam)^k delta_{t+k} with delta_t = r_t + gamma V_{t+1} - V_t. The value after a completion's last
    token is 0, whether the model ended or was cut: the reward was given for the text as it stands.

    Args:
        rewards, values: [B, C].
        mask:            [B, C] bool, True = a real completion token; kept tokens stand first in each row.

    Returns:
        [B, C], 0 at padding.

    Source: Schulman et al., "High-dimensional continuous control using generalized advantage estimation" (2016).
    """
    rewards = torch.where(mask, rewards, 0.0)
    values = torch.where(mask, values, 0.0)
    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        following = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(running)
        running = rewards[:, t] + gamma * following - values[:, t] + gamma * lam * running
        running = torch.where(mask[:, t], running, 0.0)
        advantages[:, t] = running
    return advantages


def leave_one_out(rewards: Tensor) -> Tensor:
    """Each completion's reward less the mean reward of the others in its group.

    Args:
        rewards: [N] of one prompt's completions, N at least 2.

    Returns:
        [N], adding up to 0; exactly 0 where all rewards are the same.

    Source: Ahmadian et al., "Back to basics: revisiting REINFORCE style optimization" (2024).
    """
    return (rewards.unsqueeze(1) - rewards).sum(dim=1) / (len(rewards) - 1)


def group_relative(rewards: Tensor, *, scale: bool, eps: float = 1e-4) -> Tensor:
    """Each completion's reward less its group's mean and, with ``scale``, over the group's standard deviation + eps.

    Args:
        rewards: [N] of one prompt's completions, N at least 2; the deviation is the unbiased one.

    Returns:
        [N], adding up to 0; exactly 0 where all rewards are the same.

    Source: Shao et al., "DeepSeekMath" (2024), section 4.1; without ``scale``: Liu et al., "Understanding
    R1-Zero-like training" (2025).
    """
    centred = (rewards.unsqueeze(1) - rewards).sum(dim=1) / len(rewards)  # no rounding where all are the same
    return centred / (rewards.std() + eps) if scale else centred
