"""Log-probabilities of given tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from desktop_rlhf.records.errors import EmptyCompletionError

ROWS_IN_CACHE = 8
"""Of logits, that become probabilities at a time: they stay in the processor's cache, and need little memory beside.
A GPU takes all at once."""


class TokenScores(NamedTuple):
    """What the distribution over V tokens says at each of M places.

    Attributes:
        logprobs: [M] nats of the token that followed, never above 0.
        entropy:  [M] nats, from 0 to ln V.
        hits:     [M] bool, whether no token was likelier than the one that followed.
    """

    logprobs: Tensor
    entropy: Tensor
    hits: Tensor


def token_scores(logits: Tensor, target_ids: Tensor, temperature: float = 1.0) -> tuple[TokenScores, Tensor]:
    """What the policy at ``temperature`` says of each target, and its probabilities; no gradient goes through.

    Args:
        logits:     [M, V], any float type; the softmax is taken in fp32 or wider. They are overwritten.
        target_ids: [M] the tokens that followed.

    Returns:
        The scores, and [M, V] probabilities, which lie where the logits lay, in their type.
    """
    together = ROWS_IN_CACHE if logits.device.type == "cpu" else len(logits)
    few = zip(logits.split(together), target_ids.split(together), strict=True)
    parts = [_few_scores(rows, targets, temperature) for rows, targets in few]
    return TokenScores(*(torch.cat(found) for found in zip(*parts, strict=True))), logits


def _few_scores(narrow: Tensor, target_ids: Tensor, temperature: float) -> TokenScores:
    """The scores of some rows, whose logits become probabilities."""
    logits = narrow if narrow.dtype.itemsize >= 4 else narrow.float()
    if temperature != 1.0:
        logits.div_(temperature)
    # The logarithm of the sum follows from the largest probability, which is never small, so that nothing is lost to
    # rounding.
    probabilities = logits.softmax(dim=-1)
    largest = logits.amax(dim=-1)
    log_sum = largest - probabilities.amax(dim=-1).log()
    of_target = logits.gather(-1, target_ids.unsqueeze(-1)).squeeze(-1)
    entropy = log_sum - logits.mul_(probabilities).sum(dim=-1)
    narrow.copy_(probabilities)
    return TokenScores(of_target - log_sum, entropy.clamp(min=0), of_target == largest)


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
