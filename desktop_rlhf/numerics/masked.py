"""Means over what a mask keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from desktop_rlhf.records.errors import EmptyCompletionError


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` is True; both [...], result scalar.

    Raises:
        EmptyCompletionError: the mask keeps nothing.
    """
    kept = mask.sum()
    if kept == 0:
        raise EmptyCompletionError("the mask keeps no token")
    return torch.where(mask, values, 0.0).sum() / kept


def masked_whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True, eps: float = 1e-8) -> Tensor:
    """Scale kept values to variance 1 and, with ``shift_mean``, to mean 0; [...], padding becomes 0.

    The biased variance is used, so that a mask of one token divides by sqrt(eps), not by 0.
    """
    mean = masked_mean(values, mask)
    apart = values - values[mask][0]  # values that are all the same leave no rounding to be scaled up
    centred = apart - masked_mean(apart, mask)
    variance = masked_mean(centred**2, mask)
    whitened = centred * torch.rsqrt(variance + eps)
    if not shift_mean:
        whitened = whitened + mean
    return torch.where(mask, whitened, 0.0)


def whiten_together(values: Sequence[Tensor], masks: Sequence[Tensor], *, shift_mean: bool = True) -> list[Tensor]:
    """``masked_whiten`` with one mean and one variance over several tensors, each [B, C] with a C of its own."""
    kept = torch.cat([v[m] for v, m in zip(values, masks, strict=True)])
    whitened = masked_whiten(kept, torch.ones_like(kept, dtype=torch.bool), shift_mean=shift_mean)
    parts = whitened.split([int(m.sum()) for m in masks])
    return [torch.zeros_like(v).masked_scatter(m, w) for v, m, w in zip(values, masks, parts, strict=True)]
