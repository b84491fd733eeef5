"""The optimiser of every run, and where its gradients lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn


def adamw(trained: Sequence[tuple[Sequence[nn.Parameter], float]], eps: float = 1e-8) -> torch.optim.AdamW:
    """AdamW without weight decay over groups of parameters, each with its learning rate."""
    groups = [{"params": list(parameters), "lr": rate} for parameters, rate in trained]
    return torch.optim.AdamW(groups, weight_decay=0.0, eps=eps)


def lay_out_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every parameter without a gradient one of zeros, to be filled in the backward and zeroed after the step.

    Made in the backward, these hundreds of small tensors land where large ones have just been freed, and in the room
    between them the next forward finds no place for its own. It is for parameters that the loss does reach: the
    optimiser leaves one alone that has no gradient, and not one whose gradient is 0.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
