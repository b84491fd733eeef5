"""The optimiser of every run: where its gradients lie, and what it remembers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

BETAS = (0.9, 0.999)


@dataclass(slots=True)
class Group:
    """Parameters that are learned at one rate."""

    parameters: Sequence[nn.Parameter]
    rate: float


class AdamW:
    """AdamW without weight decay over groups of parameters, each with its learning rate.

    Its steps are torch's. torch's own class would load a compiler for the first of them, see ``libraries``. On a
    processor a step is the fused one: an adapter is hundreds of small tensors, and a dozen operations on each take
    several times as long as its one pass over them.

    Source: Loshchilov and Hutter (2019).
    """

    def __init__(self, trained: Sequence[tuple[Sequence[nn.Parameter], float]], eps: float = 1e-8) -> None:
        self.groups = [Group(list(parameters), rate) for parameters, rate in trained]
        self.eps = eps
        self.fused = all(parameter.device.type == "cpu" for parameter in self.parameters()) or None
        self._remembered: dict[int, dict[str, Tensor]] = {}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of all groups, in their order."""
        return (parameter for group in self.groups for parameter in group.parameters)

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        number = 0
        for group in self.groups:
            numbered = enumerate(group.parameters, start=number)
            number += len(group.parameters)
            moved = [(p, p.grad, self._of(i, p)) for i, p in numbered if p.grad is not None]
            if not moved:
                continue
            adamw(
                [parameter for parameter, _, _ in moved],
                [gradient for _, gradient, _ in moved],
                [remembered["exp_avg"] for _, _, remembered in moved],
                [remembered["exp_avg_sq"] for _, _, remembered in moved],
                [],
                [remembered["step"] for _, _, remembered in moved],
                fused=self.fused,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=group.rate,
                weight_decay=0.0,
                eps=self.eps,
                maximize=False,
            )

    def zero_gradients(self) -> None:
        """Set those that there are to 0; see ``lay_out_gradients``."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What it remembers, by the number of the parameter; it knows nothing of one that had no gradient yet."""
        return {str(number): remembered for number, remembered in self._remembered.items()}

    def restore(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Remember what ``state`` gave, of the same parameters; the rates stay as they are."""
        own = list(self.parameters())
        self._remembered = {
            int(number): {name: kept.clone().to(_place(name, own[int(number)])) for name, kept in remembered.items()}
            for number, remembered in state.items()
        }

    def _of(self, number: int, parameter: nn.Parameter) -> dict[str, Tensor]:
        """What is remembered of a parameter, under torch's names: steps, and both moments' moving averages."""
        if number not in self._remembered:
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            self._remembered[number] = {"step": torch.zeros(()), **moments}
        return self._remembered[number]


def _place(name: str, parameter: nn.Parameter) -> torch.device:
    """Steps are counted on the CPU, wherever the parameter is."""
    return torch.device("cpu") if name == "step" else parameter.device


def lay_out_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every parameter without a gradient one of zeros, to be filled in the backward and zeroed after the step.

    Made in the backward, these hundreds of small tensors land where large ones have just been freed, and in the room
    between them the next forward finds no place for its own. It is for parameters that the loss does reach: the
    optimiser leaves one alone that has no gradient, and not one whose gradient is 0.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
