"""Which number format the frozen base is kept in, found by trying on the device it is to live on."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch.nn.functional import linear

logger = logging.getLogger(__name__)

ROWS, IN, OUT = 512, 768, 1536  # about a small model's largest product
WORTH_IT = 1.5
"""Times as fast; below that the rounding is not worth it. It lies between what processors give, 0.5 without
instructions for bfloat16, 2.1 to 2.9 with them and 3 to 8 with a unit for it: noise must not change the format."""
ROUNDING = 0.02  # of the largest value: bfloat16 keeps 8 bits, so a product of rounded numbers is off by less
TRIES = 7
SMALLEST_BYTES = 100_000_000  # of weights

TILE = 32
"""Sides of a product in bfloat16 are rounded up to it: for each new shape the library prepares code, which takes longer
than the product."""

FEW = 8
"""Rows that are written at one step, and those that are projected onto the vocabulary, are rounded up to it only, where
they are not more than a tile."""

OF_THE_LIBRARY = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "192", "LRU_CACHE_CAPACITY": "1"}
"""Of how many products in bfloat16 the code is kept, the last ones used, at 0.4 MB each, and of how many its plan once
more, at 0.3 MB. Both are 1,024 by default. An update of PPO has about 75 products, a step of stored data 46; code that
is not kept is made in 2 to 4 ms, a plan in no time."""

for _name, _value in OF_THE_LIBRARY.items():  # the library reads it at the process's first product
    os.environ.setdefault(_name, _value)


@cache
def preferred_dtype(device: str = "cpu") -> torch.dtype:
    """bfloat16 where products of it are right and ``WORTH_IT``, as on processors with instructions or a unit for it.

    Elsewhere float32. Tried once per process and device, in a few hundredths of a second.
    """
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(rows, IN, generator=generator).to(device) for rows in (ROWS, OUT))
    short_x, short_weight = x.bfloat16(), weight.bfloat16()
    plain, short = linear(x, weight), linear(short_x, short_weight)
    if not torch.allclose(short.float(), plain, atol=ROUNDING * plain.abs().max().item(), rtol=0):
        logger.warning("bfloat16 products are wrong on this machine (%s); float32 is used", device)
        return torch.float32
    times: dict[str, list[float]] = {"plain": [], "short": []}
    for _ in range(TRIES):  # in turn, so that a disturbance strikes both
        for name, left, right in (("plain", x, weight), ("short", short_x, short_weight)):
            began = time.perf_counter()
            linear(left, right)
            wait_for(device)
            times[name].append(time.perf_counter() - began)
    gain = sorted(times["plain"])[TRIES // 2] / sorted(times["short"])[TRIES // 2]
    logger.info("bfloat16 products are %.1f times as fast as float32 (%s)", gain, device)
    return torch.bfloat16 if gain >= WORTH_IT else torch.float32


def rounded_up(count: int, to: int) -> int:
    """The least multiple of ``to`` that is not below ``count``."""
    return -(-count // to) * to


def tiled(count: int) -> int:
    """So many rows of a product in bfloat16, rounded up, see ``TILE`` and ``FEW``."""
    return rounded_up(count, FEW if count <= TILE else TILE)


def wait_for(device: torch.device | str) -> None:
    """Until a device has done all that it was told; the CPU always has."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(device)


def dtype_for(model_folder: Path, device: str = "cpu") -> torch.dtype:
    """``preferred_dtype`` for a model that is worth it; a tiny one stays in float32."""
    size = sum(file.stat().st_size for file in model_folder.glob("*.safetensors"))
    return preferred_dtype(device) if size >= SMALLEST_BYTES else torch.float32


@contextmanager
def short_products() -> Iterator[None]:
    """Within it, products in float32 are made by the bfloat16 unit, where there is one, and summed in float32.

    Of numbers that bfloat16 holds exactly nothing is rounded but the sum: with a unit the result is that of float32 in
    a third of the time, elsewhere it is made as float32's is.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
