"""The RLOO loss."""

from __future__ import annotations

from torch import Tensor

from desktop_rlhf.numerics.advantages import leave_one_out
from desktop_rlhf.numerics.kl import kl_k1
from desktop_rlhf.numerics.surrogate import clipped_surrogate


def rloo_advantages(
    scores: Tensor, policy_logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor, beta: float
) -> Tensor:
    """Score less beta times the completion's KL (k1), less the same of the other completions in the mean.

    Args:
        scores: [N] of one prompt's completions; the others [N, C].

    Returns:
        [N], adding up to 0.

    Source: Ahmadian et al., "Back to basics: revisiting REINFORCE style optimization" (2024).
    """
    return leave_one_out(scores - beta * kl_k1(policy_logprobs, reference_logprobs, mask))


def rloo_loss(
    new_logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cliprange: float
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate with a whole completion as one action, and the share clipped.

    Args:
        new_logprobs, old_logprobs: [N, C]; advantages: [N].

    Returns:
        Two scalars, means over completions.
    """
    change = (new_logprobs - old_logprobs).masked_fill(~mask, 0.0).sum(-1)
    losses, clipped = clipped_surrogate(change, change.new_zeros(()), advantages, cliprange)
    return losses.mean(), clipped.to(losses.dtype).mean()
