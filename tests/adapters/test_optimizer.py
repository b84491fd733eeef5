from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import nn

from desktop_rlhf.adapters.optimizer import AdamW

BEGAN = ((1.0, -1.0, 3.0), (0.5, 2.0, -7.0))
RATES = (1e-2, 1e-1)
GRADIENTS = ((0.5, -2.0, 1e-3), (-0.25, 4.0, 0.0))


def by_hand(number: float, gradients: Iterable[float], rate: float, eps: float) -> float:
    """Where Adam's steps along these gradients lead. Source: Kingma and Ba (2015), algorithm 1."""
    first = second = 0.0
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        number -= rate * first / (1 - 0.9**step) / ((second / (1 - 0.999**step)) ** 0.5 + eps)
    return number


@pytest.mark.parametrize("eps", [1e-8, 1e-5])
def test_that_every_group_takes_adams_steps_at_its_own_rate_without_decay(eps) -> None:
    own = [nn.Parameter(torch.tensor(values)) for values in BEGAN]
    optimizer = AdamW([([parameter], rate) for parameter, rate in zip(own, RATES, strict=True)], eps=eps)
    for gradients in GRADIENTS:
        for parameter in own:
            parameter.grad = torch.tensor(gradients)
        optimizer.step()
    for parameter, numbers, rate in zip(own, BEGAN, RATES, strict=True):
        each = zip(numbers, zip(*GRADIENTS, strict=True), strict=True)
        assert parameter.tolist() == pytest.approx([by_hand(*one, rate, eps) for one in each], rel=1e-6)


def test_that_an_optimiser_that_remembers_goes_on_to_the_same_bits_and_leaves_alone_what_has_no_gradient() -> None:
    gradients = torch.randn(4, 2, 3, 50, generator=torch.Generator().manual_seed(0))

    def take(steps: range, own: list[nn.Parameter], optimizer: AdamW) -> None:
        for step in steps:
            for parameter, gradient in zip(own, gradients[step], strict=False):  # the last one has none
                parameter.grad = gradient.clone()
            optimizer.step()

    whole, halves = ([nn.Parameter(torch.ones(3, 50)) for _ in range(3)] for _ in range(2))
    take(range(4), whole, AdamW([(whole, 1e-2)]))
    before, after = AdamW([(halves, 1e-2)]), AdamW([(halves, 1e-2)])
    take(range(2), halves, before)
    after.restore(before.state())
    take(range(2, 4), halves, after)
    assert all(torch.equal(one, other) for one, other in zip(whole, halves, strict=True))
    assert not torch.equal(whole[0], whole[1])
    assert torch.equal(whole[2], torch.ones(3, 50))


@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("meta", None)])
def test_that_a_processor_takes_a_step_in_one_pass_and_other_devices_as_torch_would(device, fused) -> None:
    assert AdamW([([nn.Parameter(torch.ones(2, device=device))], 1e-2)]).fused is fused


def test_that_it_remembers_what_torchs_own_does_and_goes_on_from_that() -> None:
    own, its = ([nn.Parameter(torch.tensor(values)) for values in BEGAN] for _ in range(2))
    ours, torchs = AdamW([(own, 1e-2)]), torch.optim.AdamW(its, 1e-2, weight_decay=0.0, fused=True)
    for gradients in GRADIENTS:
        for one, other in zip(own, its, strict=True):
            one.grad, other.grad = torch.tensor(gradients), torch.tensor(gradients)
        ours.step()
        torchs.step()
        remembered = {str(number): kept for number, kept in torchs.state_dict()["state"].items()}
        assert ours.state().keys() == remembered.keys()
        for number, kept in remembered.items():
            assert kept.keys() == ours.state()[number].keys()
            assert all(torch.equal(kept[name], ours.state()[number][name]) for name in kept)
        ours = AdamW([(own, 1e-2)])
        ours.restore(remembered)
    assert all(torch.equal(one, other) for one, other in zip(own, its, strict=True))
