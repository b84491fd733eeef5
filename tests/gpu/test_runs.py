"""Runs of every algorithm on another device: as on the CPU, and going on from a checkpoint of either."""

from __future__ import annotations

import dataclasses
import gc
import math
from collections.abc import Mapping

import pytest
import torch
from safetensors.torch import load_file

from desktop_rlhf.adapters.resident import WEIGHTS_FILE
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.runs.events import AdapterSaved, Event, StepTaken
from desktop_rlhf.runs.stop import StopToken
from tests.road.test_resume import CASES, begin

pytestmark = pytest.mark.gpu
SHORT = {
    case.id: dataclasses.replace(case.values[1], **({"epochs": 1} if hasattr(case.values[1], "epochs") else {}))
    for case in CASES
    if case.id != "dpo1" and "bfloat16" not in case.id
}
STORED = {name: spec for name, spec in SHORT.items() if not spec.needs_reward_model}
"""Those that learn from what is stored: in another format a policy writes other completions, and learns from those."""
SHARE = 0.02
"""Of the way from an adapter's first weights to its last. AdamW steps by the rate however small a gradient,
so one of about nothing, which rounding turns round, makes a whole step in the other direction."""
SHARE_OF_SHORT = 0.2
"""The same in bfloat16; 0.05 to 0.1 on the CPU and on its stand-in."""


def metrics(events: list[Event]) -> list[Mapping[str, float]]:
    return [event.metrics for event in events if isinstance(event, StepTaken)]


def near(events: list[Event], others: list[Event], share: float = SHARE) -> bool:
    """Whether two runs that began alike ended alike."""
    learned, other = weights(events), weights(others)
    return bool(other.norm() > 0 and (learned - other).norm() <= share * other.norm())


def weights(events: list[Event]) -> torch.Tensor:
    """What a run changed of its adapter: every B, which began at 0, as one vector."""
    saved = next(event for event in events if isinstance(event, AdapterSaved))
    stored = load_file(f"{saved.path}/{WEIGHTS_FILE}")
    return torch.cat([stored[name].flatten() for name in sorted(stored) if ".lora_B." in name])


def run(model, spec, folder, every_s: float = 1e9) -> list[Event]:
    inputs, _ = begin(model, spec, folder, "adapter", every_s)
    return list(resolve(type(spec))(spec, inputs, StopToken()))


def broken_off(model, spec, folder) -> None:
    """A run that ended in its third step, with a checkpoint at each."""
    inputs, _ = begin(model, spec, folder, "adapter", every_s=0.0)
    running = resolve(type(spec))(spec, inputs, StopToken())
    steps = 0
    while steps < 2:
        steps += isinstance(next(running), StepTaken)
    next(running)
    running.close()


@pytest.mark.parametrize("spec", SHORT.values(), ids=SHORT)
def test_that_a_run_is_that_of_the_cpu_and_writes_nothing_to_the_base(spec, fresh, device, tmp_path) -> None:
    here = run(fresh("llama", "cpu"), spec, tmp_path / "cpu")
    model = fresh("llama", device)
    before = model.base_sha256()
    there = run(model, spec, tmp_path / "there")
    assert model.base_sha256() == before
    first, other = dict(metrics(there)[0]), dict(metrics(here)[0])
    if other.get("rewards/margins") == pytest.approx(0, abs=1e-3):
        for measured in (first, other):  # rewards are 0 in truth, and rounding decides which of two is higher
            measured.pop("rewards/accuracies", None)
    assert first == pytest.approx(other, rel=0.01, abs=1e-3)
    assert near(there, here)


@pytest.mark.parametrize("spec", [SHORT["dpo"], SHORT["ppo"]], ids=["dpo", "ppo"])
def test_that_a_run_goes_on_from_a_checkpoint_made_here_or_on_the_cpu(spec, fresh, device, tmp_path) -> None:
    whole = run(fresh("llama", "cpu"), spec, tmp_path / "whole")
    for name, began_on in (("stayed", device), ("moved", "cpu")):
        broken_off(fresh("llama", began_on), spec, tmp_path / name)
        rest = run(fresh("llama", device), spec, tmp_path / name)
        assert 0 < len(metrics(rest)) < len(metrics(whole))
        assert near(rest, whole)


def test_that_a_run_draws_nothing_from_the_devices_own_random_numbers(fresh, device, tmp_path) -> None:
    """So there is nothing of them to be kept in a checkpoint. The stand-in fails where somebody draws."""
    generator = torch.get_device_module(device)
    before = generator.get_rng_state()
    run(fresh("llama", device), SHORT["ppo"], tmp_path)
    assert torch.equal(generator.get_rng_state(), before)


def test_that_a_run_gives_the_memory_of_the_gpu_back(fresh, device, tmp_path) -> None:
    """What libraries keep for themselves they take in the first run."""
    if device.type != "cuda":
        pytest.skip("only CUDA counts what is held")
    model = fresh("llama", device)
    held, taken = [], []
    for turn in range(4):
        run(model, SHORT["ppo"], tmp_path / f"{turn}")
        gc.collect()
        held.append(torch.cuda.memory_allocated(device))
        taken.append(torch.cuda.memory_reserved(device))
    assert held[3] <= held[2] <= held[1]
    assert taken[3] == taken[2] == taken[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_that_the_first_ratio_of_ppo_is_one(dtype, fresh, device, tmp_path) -> None:
    once = dataclasses.replace(SHORT["ppo"], ppo_epochs=1, updates=1, value_warmup=0)
    first = metrics(run(fresh("llama", device, dtype), once, tmp_path))[0]
    assert first["val/ratio"] == pytest.approx(1, abs=1e-5)
    assert first["policy/clipfrac_avg"] == 0


@pytest.mark.parametrize("spec", STORED.values(), ids=STORED)
def test_that_a_run_in_bfloat16_goes_the_way_of_the_cpus_in_float32(spec, fresh, device, tmp_path) -> None:
    here = run(fresh("llama", "cpu"), spec, tmp_path / "cpu")
    model = fresh("llama", device, torch.bfloat16)
    before = model.base_sha256()
    there = run(model, spec, tmp_path / "there")
    assert model.base_sha256() == before
    assert {parameter.dtype for parameter in model.base.parameters()} == {torch.bfloat16}  # the adapter is gone
    assert near(there, here, SHARE_OF_SHORT)


@pytest.mark.parametrize("name", ["ppo", "rloo", "grpo"])
def test_that_a_policy_in_bfloat16_learns_from_what_it_wrote(name, fresh, device, tmp_path) -> None:
    model = fresh("llama", device, torch.bfloat16)
    before = model.base_sha256()
    events = run(model, SHORT[name], tmp_path)
    assert model.base_sha256() == before
    assert len(metrics(events)) == SHORT[name].updates
    assert weights(events).norm() > 0
    assert all(math.isfinite(value) for step in metrics(events) for value in step.values())
