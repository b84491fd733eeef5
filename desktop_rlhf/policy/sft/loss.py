"""The SFT loss and what is measured beside it, all per token."""

from __future__ import annotations

import torch
from torch import Tensor

from desktop_rlhf.numerics.logprobs import token_logprobs


def token_losses(logits: Tensor, target_ids: Tensor) -> Tensor:
    """Cross-entropy of each target.

    Args:
        logits:     [M, V] at the completion tokens.
        target_ids: [M].

    Returns:
        [M] nats, never below 0.
    """
    return -token_logprobs(logits, target_ids)


def token_entropies(logits: Tensor) -> Tensor:
    """[M] nats: how undecided the distribution of each row of ``logits`` [M, V] is; from 0 to ln V."""
    logprobs = logits.log_softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def token_hits(logits: Tensor, target_ids: Tensor) -> Tensor:
    """[M] bool: whether the likeliest token of each row of ``logits`` [M, V] is its target [M]."""
    return logits.argmax(dim=-1) == target_ids
