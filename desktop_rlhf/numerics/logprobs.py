"""Log-probabilities of given tokens."""

from __future__ import annotations

from torch import Tensor


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
