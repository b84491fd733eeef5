"""Log-probabilities of given tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from desktop_rlhf.records.errors import EmptyCompletionError


def token_logprobs(logits: Tensor, target_ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each target under the policy at ``temperature``.

    Args:
        logits:     [..., V], any float type; the softmax is taken in fp32 or wider.
        target_ids: [...] the tokens that followed.

    Returns:
        [...] nats, never above 0.
    """
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    return (wide / temperature).log_softmax(dim=-1).gather(-1, target_ids.unsqueeze(-1)).squeeze(-1)


def mean_logprobs(logprobs: Tensor, mask: Tensor) -> Tensor:
    """Mean log-probability of each completion's tokens, so that long and short ones are measured alike.

    Args:
        logprobs: [N, C] nats.
        mask:     [N, C] bool, True = a real completion token.

    Returns:
        [N] nats per token.

    Raises:
        EmptyCompletionError: a row keeps no token; the mean would be 0/0.
    """
    if not bool(mask.any(dim=-1).all()):
        raise EmptyCompletionError("a completion keeps no token")
    return torch.where(mask, logprobs, 0.0).sum(dim=-1) / mask.sum(dim=-1)
