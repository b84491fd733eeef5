"""Memory for tensors that go back to the system one by one.

What the heap gave, it may keep: a model's weights, once moved or gone, would be neither here nor free.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
"""Memory that no other process sees; on Windows none does."""


def own_zeros(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros on the CPU. Each page takes memory once it is written, until the tensor and all its views are gone."""
    size = prod(shape)
    if not size:
        return torch.zeros(tuple(shape), dtype=dtype)
    return torch.frombuffer(mmap.mmap(-1, size * dtype.itemsize, **PRIVATE), dtype=dtype).view(tuple(shape))
