"""Every test here is marked gpu. It runs on the GPU that there is, or on a stand-in: see test_on_a_stand_in.py."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from desktop_rlhf.adapters.devices import chosen_device

from .elsewhere import Watched
from .elsewhere import device as elsewhere

ON_A_STAND_IN = "DESKTOP_RLHF_TEST_ON_A_STAND_IN"
if ON_A_STAND_IN in os.environ:
    elsewhere()  # before the first backward pass of the process, which makes a thread for every device it knows


@pytest.fixture
def device() -> Iterator[torch.device]:
    if ON_A_STAND_IN in os.environ:
        with Watched():
            yield elsewhere()
        return
    found = chosen_device()
    assert found.type != "cpu", "there is no GPU here that the program would use; its log says why"
    yield found
