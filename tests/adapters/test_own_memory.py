"""Memory that goes back to the system with the tensor that lay in it."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from desktop_rlhf.adapters.own_memory import own_zeros

STATUS = Path("/proc/self/status")
"""Where Linux tells how much memory is held."""


def held_mb() -> float:
    """By this process, beside files; NaN where nobody tells, with which nothing is below or above anything."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else ["RssAnon: nan"]
    (line,) = [line for line in lines if line.startswith("RssAnon")]
    return float(line.split()[1]) / 1024


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("shape", [(3, 5), (7,), (0, 4), ()])
def test_that_it_holds_zeros_that_can_be_written(shape, dtype) -> None:
    zeros = own_zeros(shape, dtype)
    assert (tuple(zeros.shape), zeros.dtype) == (shape, dtype)
    assert zeros.count_nonzero() == 0
    assert own_zeros(shape, dtype).data_ptr() != zeros.data_ptr() or not zeros.numel()
    assert torch.equal(zeros.fill_(1), torch.ones(shape, dtype=dtype))


def test_that_it_lives_as_long_as_any_part_of_it() -> None:
    part = own_zeros((1000, 1000), torch.float32).fill_(7)[3, 4:6]
    gc.collect()
    assert part.tolist() == [7.0, 7.0]


def test_that_the_system_has_each_back_once_it_is_gone_though_others_stay() -> None:
    before = held_mb()
    kept = [own_zeros((100_000,), torch.float32) for _ in range(200)]
    assert not held_mb() > before + 5  # nothing was written yet
    for zeros in kept:
        zeros.fill_(1)
    assert not held_mb() < before + 70
    del kept[::2], zeros
    assert not held_mb() > before + 45
