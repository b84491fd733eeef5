"""The optimiser of every run: where its gradients lie, and what it remembers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn


def adamw(trained: Sequence[tuple[Sequence[nn.Parameter], float]], eps: float = 1e-8) -> torch.optim.AdamW:
    """AdamW without weight decay over groups of parameters, each with its learning rate.

    On a processor it is torch's fused one: an adapter is hundreds of small tensors, and a dozen operations on each take
    several times as long as its one pass over them.
    """
    groups = [{"params": list(parameters), "lr": rate} for parameters, rate in trained]
    on_cpu = all(parameter.device.type == "cpu" for parameters, _ in trained for parameter in parameters)
    return torch.optim.AdamW(groups, weight_decay=0.0, eps=eps, fused=on_cpu or None)


def lay_out_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every parameter without a gradient one of zeros, to be filled in the backward and zeroed after the step.

    Made in the backward, these hundreds of small tensors land where large ones have just been freed, and in the room
    between them the next forward finds no place for its own. It is for parameters that the loss does reach: the
    optimiser leaves one alone that has no gradient, and not one whose gradient is 0.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """What an optimiser remembers, by the number of the parameter; it knows nothing of one that had no gradient yet."""
    return {str(index): remembered for index, remembered in optimizer.state_dict()["state"].items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Give an optimiser over the same parameters back what it remembered; its rates stay as they are."""
    groups = optimizer.state_dict()["param_groups"]
    remembered = {int(index): own for index, own in state.items()}
    optimizer.load_state_dict({"state": remembered, "param_groups": groups})
