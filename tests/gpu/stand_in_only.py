"""What only a stand-in can show: that it notices, and that a device which is wrong is not used.

pytest finds this file by its name only: test_on_a_stand_in.py names it.
"""

from __future__ import annotations

import logging

import pytest
import torch

from desktop_rlhf.adapters import batches, devices
from desktop_rlhf.adapters.devices import Place, chosen_device, fault, place_for
from desktop_rlhf.completions import sampling
from desktop_rlhf.completions.sampling import sample
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.runs.stop import StopToken

from .elsewhere import StrayTensorError, Watched, aten
from .elsewhere import device as elsewhere
from .test_runs import SHORT, run
from .test_same_as_cpu import drawn

pytestmark = pytest.mark.gpu


def test_that_a_tensor_left_on_the_cpu_is_noticed(device) -> None:
    there = torch.zeros(3, device=device)
    assert there.device == device
    for stray in (
        lambda: there + torch.ones(3),
        lambda: there[torch.tensor([0, 1])],
        lambda: torch.ones(3).mul_(there),
        lambda: torch.stack([there[0], torch.tensor(1.0)]),
        lambda: torch.hstack([there[0], torch.tensor(1.0)]),
    ):
        with pytest.raises(StrayTensorError, match="left on the CPU"):
            stray()
    assert (there + 1).tolist() == (there + torch.tensor(1.0)).tolist() == [1, 1, 1]
    assert torch.ones(3).copy_(there).tolist() == [0, 0, 0]


def test_that_random_numbers_drawn_there_are_noticed(device) -> None:
    with pytest.raises(StrayTensorError, match="random"):
        torch.rand(3, device=device)
    with pytest.raises(StrayTensorError, match="random"):
        torch.zeros(3, device=device).uniform_()


def test_that_one_forgotten_move_is_noticed_in_a_run(fresh, device, monkeypatch, tmp_path) -> None:
    packed = batches.pack
    monkeypatch.setattr(batches, "pack", lambda groups, _: packed(groups))
    with pytest.raises(StrayTensorError, match="left on the CPU"):
        run(fresh("llama", device), SHORT["dpo"], tmp_path)


@pytest.mark.parametrize("chosen", [{"temperature": 1.0}, {"top_k": 20, "top_p": 0.9}])
def test_that_a_device_without_double_precision_draws_the_same_completions(chosen, fresh, monkeypatch) -> None:
    sampler = Sampler(max_new_tokens=6, **chosen)
    with Watched(double=False):
        model = fresh("llama", elsewhere())
        with pytest.raises(StrayTensorError, match="double precision"):
            list(sample(model, None, [[5, 9]], [1], sampler, StopToken()))
        monkeypatch.setattr(sampling, "WITHOUT_DOUBLE", ("elsewhere",))
        assert drawn(model, sampler) == drawn(fresh("llama", "cpu"), sampler)


def test_that_a_run_needs_no_double_precision(fresh, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sampling, "WITHOUT_DOUBLE", ("elsewhere",))
    with Watched(double=False):
        for name in ("reward", "ppo", "dpo"):
            run(fresh("llama", elsewhere()), SHORT[name], tmp_path / name)


@pytest.fixture
def there_is(monkeypatch):
    """As though the program knew of the stand-in, and of nothing else."""
    monkeypatch.setattr(devices, "KINDS", ("elsewhere",))
    monkeypatch.setattr(devices, "is_there", lambda kind: True)
    chosen_device.cache_clear()
    yield
    chosen_device.cache_clear()


SPOILED = {
    "products": aten.mm.default,
    "the gate": aten.silu.default,
    "the gate's backward": aten.sigmoid.default,  # of which it is made where a device has none of its own
    "norms": aten.rsqrt.default,
    "the softmax": aten._softmax.default,
}


@pytest.mark.parametrize("operation", SPOILED.values(), ids=SPOILED)
def test_that_a_device_that_does_one_thing_wrongly_is_not_used_and_the_log_says_why(
    operation, there_is, caplog
) -> None:
    with Watched({operation: 1.02}):
        assert chosen_device() == torch.device("cpu")
    assert "elsewhere" in caplog.text
    assert "differ from the CPU's" in caplog.text


def test_that_a_device_that_does_only_decoding_wrongly_is_not_used(there_is, caplog) -> None:
    """There a token is told to see all of the memory for keys and values, and nothing else compares so."""
    with Watched({aten.gt.Tensor: False}):
        assert chosen_device() == torch.device("cpu")
    assert "differ from the CPU's" in caplog.text


def test_that_a_device_that_cannot_do_something_is_not_used(there_is, caplog, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such operation")

    right = devices.small_work(torch.device("cpu"), torch.float32)
    monkeypatch.setattr(devices, "small_work", lambda device, dtype: right if device.type == "cpu" else broken())
    assert chosen_device() == torch.device("cpu")
    assert "no such operation" in caplog.text


def test_that_numbers_that_are_none_are_not_taken_for_right(there_is, device, monkeypatch) -> None:
    with Watched({aten.silu.default: float("nan")}):
        assert fault(device, torch.float32) is not None


def test_that_a_right_device_is_used_unless_the_cpu_is_asked_for(there_is, device, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DESKTOP_RLHF_DEVICE", "auto")
    assert place_for(tmp_path) == Place(torch.device("elsewhere"), torch.float32)  # a model so small stays in float32
    monkeypatch.setenv("DESKTOP_RLHF_DEVICE", "cpu")
    assert place_for(tmp_path).device == torch.device("cpu")
    monkeypatch.setenv("DESKTOP_RLHF_DEVICE", "toaster")
    with pytest.raises(BadInputError, match="toaster"):
        place_for(tmp_path)


def test_that_float32_is_used_where_bfloat16_is_wrong(there_is, device, monkeypatch, tmp_path, caplog) -> None:
    monkeypatch.setenv("DESKTOP_RLHF_DEVICE", "elsewhere")
    monkeypatch.setattr(devices, "dtype_for", lambda *_: torch.bfloat16)
    with caplog.at_level(logging.INFO):
        assert place_for(tmp_path).dtype is torch.bfloat16
        right = devices.fault
        monkeypatch.setattr(devices, "fault", lambda d, dtype: "no" if dtype is torch.bfloat16 else right(d, dtype))
        assert place_for(tmp_path).dtype is torch.float32
    assert "float32 is used" in caplog.text
