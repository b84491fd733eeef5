"""Named tensors in a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import save_file
from torch import Tensor


def write_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors, as they are at this moment, of a format that NumPy has too; it has no bfloat16.

    Through NumPy, since the library's own way from torch leaves two objects for every tensor that refer to each other.
    A long run writes many, and in the window garbage is collected from time to time only.

    Raises:
        TypeError: a format that NumPy has not.
        OSError: the file could not be written.
    """
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
    try:
        save_file(arrays, file)
    except SafetensorError as error:  # which holds the system's own words, as of a full disk
        raise OSError(str(error)) from error
