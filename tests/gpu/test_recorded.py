"""Decoding steps that are recorded once and played back."""

from __future__ import annotations

import pytest
import torch

from desktop_rlhf.adapters.recording import Recordings
from desktop_rlhf.completions import sampling
from desktop_rlhf.completions.sampling import sample
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.runs.stop import StopToken

pytestmark = pytest.mark.gpu
PROMPTS = [[5 + number, 9, 200 - number, *range(20, 20 + 7 * number)] for number in range(9)]


@pytest.mark.parametrize("adapter", [None, "one"])
def test_that_completions_are_the_same_whether_or_not_steps_are_recorded(adapter, fresh, device, monkeypatch) -> None:
    """Rows end and others enter, and they grow past a width, so that there are several recordings."""
    if device.type != "cuda":
        pytest.skip("steps are recorded on CUDA only")
    monkeypatch.setattr(sampling, "MOST_ROWS", 20)
    sizes, recorded = [], Recordings._recorded

    def counted(self, work, size, inputs):
        found = recorded(self, work, size, inputs)
        sizes.append(size)
        return found

    def drawn(model) -> list[sampling.Drawn]:
        model.new_adapter("one", rank=4, alpha=8, seed=1)
        for name, parameter in model._adapter_parameters("one"):
            if "lora_B" in name:
                drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
                parameter.data.copy_(0.1 * drawn)
        work = sample(model, adapter, PROMPTS, range(36), Sampler(temperature=1.0, max_new_tokens=40), StopToken())
        while True:
            try:
                next(work)
            except StopIteration as finished:
                return finished.value

    monkeypatch.setattr(Recordings, "_recorded", counted)
    found = drawn(fresh("llama", device))
    assert len(set(sizes)) > 1
    assert not Recordings.refused
    assert len({len(one.completion_ids) for one in found}) > 1
    assert found == drawn(fresh("llama", "cpu"))
    monkeypatch.setattr(Recordings, "refused", True)
    assert found == drawn(fresh("llama", device))
