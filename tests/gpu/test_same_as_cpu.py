"""The same work on the CPU and on another device comes out the same, within what float32 rounds."""

from __future__ import annotations

import pytest
import torch

from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.completions.sampling import Drawn, sample
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.runs.stop import StopToken

pytestmark = pytest.mark.gpu
NATS = 1e-3
SHARE = 1e-3  # of a gradient's length
GROUPS = [([5, 6, 7, 8, 9], [[10, 11, 12], [13], [14, 15, 16, 17, 18, 19]]), ([20], [[21, 22]])]
PROMPTS = [[5, 9, 200, 17], [8] * 9, [100, 3], [40]]


def measured(model: ResidentModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities, and the gradient of their sum in an adapter's weights as one vector."""
    model.new_adapter("one", rank=4, alpha=8, seed=1)
    model.take_role(Role("one", trainable=True))
    with torch.no_grad():
        for place, parameter in enumerate(model.trainable_parameters()):
            drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place))
            parameter.copy_(drawn * 0.1)
    packed = pack(GROUPS, model.device)
    logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
    gradients = torch.autograd.grad(logprobs.sum(), model.trainable_parameters())
    return logprobs.detach().cpu(), torch.cat([gradient.flatten().cpu() for gradient in gradients])


def drawn(model: ResidentModel, sampler: Sampler) -> list[Drawn]:
    work = sample(model, None, PROMPTS, range(12), sampler, StopToken())
    while True:
        try:
            next(work)
        except StopIteration as finished:
            return finished.value


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_that_log_probabilities_and_gradients_are_those_of_the_cpu(family, fresh, device) -> None:
    logprobs, gradient = measured(fresh(family, "cpu"))
    model = fresh(family, device)
    assert model.device.type == device.type
    others, other_gradient = measured(model)
    assert (others - logprobs).abs().max() <= NATS
    assert (other_gradient - gradient).norm() <= SHARE * gradient.norm()
    assert gradient.norm() > 1


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("chosen", [{"temperature": 0.0}, {"temperature": 1.0}, {"top_k": 20, "top_p": 0.9}])
def test_that_a_seed_gives_the_completions_that_it_gives_on_the_cpu(family, chosen, fresh, device) -> None:
    """In float32 rounding changes no token of these."""
    sampler = Sampler(max_new_tokens=12, **chosen)
    found = drawn(fresh(family, device), sampler)
    assert found == drawn(fresh(family, "cpu"), sampler)
    assert len({one.completion_ids for one in found}) > 1


def test_that_a_seed_makes_the_same_adapter_and_the_file_the_same_bytes(fresh, device, tmp_path) -> None:
    hashes = []
    for name, model in (("here", fresh("llama", "cpu")), ("there", fresh("llama", device))):
        for adapter in ("first", "second"):
            model.new_adapter(adapter, rank=4, alpha=8, seed=7)
            hashes.append(model.save_adapter(adapter, tmp_path / f"{name}-{adapter}"))
        model.attach("again", tmp_path / f"{name}-first")
        assert {parameter.device for _, parameter in model._adapter_parameters("again")} == {model.device}
    assert len(set(hashes)) == 1
