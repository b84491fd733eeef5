from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from desktop_rlhf.adapters import precision
from desktop_rlhf.adapters.precision import OF_THE_LIBRARY, dtype_for, tiled

MANY_SIZES = """
import ctypes, json, sys
from torch import Tensor, ones, bfloat16
from desktop_rlhf.adapters import precision
from desktop_rlhf.workbench.memory import held_mb

kept = int(precision.OF_THE_LIBRARY["ONEDNN_PRIMITIVE_CACHE_CAPACITY"])
weight = ones(64, 64, dtype=bfloat16)

def held_after(sizes):
    for size in sizes:
        ones(size, 64, dtype=bfloat16) @ weight
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return held_mb()

few = held_after(range(8, 8 + kept + 20))
print(json.dumps(held_after(range(8 + kept + 20, 8 + 3 * kept)) - few))
"""


def test_that_code_for_ever_new_sizes_of_products_takes_no_more_memory() -> None:
    """By default it would be 200 MB here, where the library multiplies bfloat16; where it does not nothing is kept."""
    environ = {name: value for name, value in os.environ.items() if name not in OF_THE_LIBRARY}
    said = subprocess.run([sys.executable, "-c", MANY_SIZES], env=environ, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) < 20


def test_that_what_a_person_asks_of_the_library_stands() -> None:
    read = "from desktop_rlhf.adapters import precision; import os; print(os.environ['LRU_CACHE_CAPACITY'])"
    environ = os.environ | {"LRU_CACHE_CAPACITY": "77"}
    said = subprocess.run([sys.executable, "-c", read], env=environ, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "77"


@pytest.mark.parametrize(
    ("gain", "dtype"), [(0.5, torch.float32), (1.4, torch.float32), (1.6, torch.bfloat16), (7.7, torch.bfloat16)]
)
def test_that_the_format_is_the_one_whose_products_are_worth_it(monkeypatch, gain, dtype) -> None:
    honest, now = precision.linear, 0.0

    def timed(x, weight):
        nonlocal now
        now += 1 / gain if x.dtype == torch.bfloat16 else 1.0
        return honest(x, weight)

    monkeypatch.setattr(precision, "linear", timed)
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: now))
    assert precision.preferred_dtype.__wrapped__() is dtype


def test_that_a_format_that_multiplies_wrongly_is_not_used(monkeypatch, caplog) -> None:
    honest = precision.linear
    monkeypatch.setattr(precision, "linear", lambda x, w: honest(x, w) * (1.1 if x.dtype == torch.bfloat16 else 1.0))
    assert precision.preferred_dtype.__wrapped__() is torch.float32
    assert "wrong on this machine" in caplog.text


def test_that_a_tiny_model_stays_in_float32(tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 1000)
    assert dtype_for(tmp_path) is torch.float32


def test_that_few_rows_are_rounded_up_to_eight_and_more_to_a_tile() -> None:
    assert [tiled(count) for count in (1, 8, 9, 32, 33)] == [8, 8, 16, 32, 64]
