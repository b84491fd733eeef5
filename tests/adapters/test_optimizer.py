from __future__ import annotations

import pytest
import torch
from torch import nn

from desktop_rlhf.adapters.optimizer import adamw, optimizer_state, restore_optimizer

RATES = (1e-2, 1e-1)
GRADIENTS = ((0.5, -2.0, 1e-3), (-0.25, 4.0, 0.0))


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor(values)) for values in ([1.0, -1.0, 3.0], [0.5, 2.0, -7.0])]


def by_hand(values: list[float], gradients: list[float], rate: float, eps: float) -> list[float]:
    """Adam's steps along one number's gradients. Source: Kingma and Ba (2015), algorithm 1."""
    first = second = 0.0
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        values.append(values[-1] - rate * first / (1 - 0.9**step) / ((second / (1 - 0.999**step)) ** 0.5 + eps))
    return values


@pytest.mark.parametrize("eps", [1e-8, 1e-5])
def test_that_every_group_takes_adams_steps_at_its_own_rate_without_decay(eps) -> None:
    own = parameters()
    optimizer = adamw([([parameter], rate) for parameter, rate in zip(own, RATES, strict=True)], eps=eps)
    for step, values in enumerate(GRADIENTS, start=1):
        for parameter in own:
            parameter.grad = torch.tensor(values)
        optimizer.step()
        for parameter, began, rate in zip(own, parameters(), RATES, strict=True):
            right = [
                by_hand([number], [made[place] for made in GRADIENTS[:step]], rate, eps)[-1]
                for place, number in enumerate(began.tolist())
            ]
            assert parameter.tolist() == pytest.approx(right, rel=1e-6)


def test_that_an_optimiser_that_remembers_goes_on_to_the_same_bits_and_leaves_alone_what_has_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(4, 3, 50, generator=generator) for _ in range(2)]

    def stepped(steps: int) -> tuple[list[nn.Parameter], torch.optim.AdamW]:
        own = [nn.Parameter(torch.ones(3, 50)), nn.Parameter(torch.ones(3, 50)), nn.Parameter(torch.ones(3))]
        optimizer = adamw([(own, 1e-2)])
        for number in range(steps):
            for parameter, gradients in zip(own, drawn, strict=False):
                parameter.grad = gradients[number].clone()
            optimizer.step()
        return own, optimizer

    whole, _ = stepped(4)
    half, before = stepped(2)
    after = adamw([(half, 1e-2)])
    restore_optimizer(after, optimizer_state(before))
    for number in (2, 3):
        for parameter, gradients in zip(half, drawn, strict=False):
            parameter.grad = gradients[number].clone()
        after.step()
    assert all(torch.equal(one, other) for one, other in zip(whole, half, strict=True))
    assert whole[2].tolist() == [1.0] * 3
