from __future__ import annotations

import pytest
import torch

from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.settings import starter_model_path


@pytest.mark.slow
def test_that_the_starter_model_goes_through_the_fused_forward_in_bfloat16_as_well() -> None:
    """Tried on special tokens, of which it makes something else after the least rounding, it was refused once."""
    assert ResidentModel.load(str(starter_model_path()), torch.bfloat16).fused is not None
