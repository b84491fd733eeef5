"""Named tensors in a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.numpy import save
from torch import Tensor


def write_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors of a format that NumPy knows as well, which bfloat16 is not, as they are at this moment.

    Through NumPy, since the library's own way from torch leaves two objects for every tensor that refer to each other;
    a run that is long writes many, and nothing collects garbage while it goes on but the window from time to time. And
    as bytes, since the library tells of a full disk, as of all else, by an error of its own.

    Raises:
        TypeError: a format that NumPy has not.
        OSError: the file could not be written.
    """
    file.write_bytes(save({name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}))
