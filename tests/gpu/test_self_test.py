"""The start-up self-test on the device that the program would choose."""

from __future__ import annotations

import pytest
import torch

from desktop_rlhf.adapters.devices import TOLERANCES, fault, small_work

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_that_the_device_does_the_small_work_as_the_cpu_does(dtype, device) -> None:
    assert fault(device, dtype) is None


def test_that_the_small_work_uses_everything_that_training_is_made_of(device) -> None:
    work = small_work(device, torch.float32)
    assert min(gradient.norm() for gradient in work.gradients) > 0.1
    assert work.logprobs.std() > 1
    assert work.decoded.std() > 0.5
    long_enough = work.logprobs[[0, 2, 3, 4], :3]  # the second completion has but one token
    assert torch.allclose(work.decoded, long_enough, atol=TOLERANCES[torch.float32].logprobs)
