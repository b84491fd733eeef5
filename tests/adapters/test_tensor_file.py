from __future__ import annotations

import gc

import pytest
import torch
from safetensors.torch import load_file, save_file

from desktop_rlhf.adapters.checkpoint import Checkpoints
from desktop_rlhf.adapters.tensor_file import write_tensors

TENSORS = {
    "of training": torch.arange(6.0).reshape(2, 3).requires_grad_(),
    "laid out otherwise": torch.arange(6).reshape(2, 3).t(),
    "one number": torch.tensor(0.5, dtype=torch.float64),
    "none": torch.zeros(0, 4),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "the smallest": torch.tensor([1e-45, -0.0]),
}
MANY = 300


def test_that_a_file_has_the_bytes_of_the_librarys_own_way(tmp_path) -> None:
    write_tensors(TENSORS, tmp_path / "ours")
    save_file({name: tensor.detach().contiguous() for name, tensor in TENSORS.items()}, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_that_two_names_may_stand_for_the_same_memory(tmp_path) -> None:
    whole = torch.arange(6.0)
    write_tensors({"whole": whole, "again": whole, "half": whole[3:]}, tmp_path / "file")
    read = load_file(tmp_path / "file")
    assert torch.equal(read["whole"], whole)
    assert torch.equal(read["again"], whole)
    assert torch.equal(read["half"], whole[3:])


def test_that_a_format_that_numpy_has_not_is_refused_before_anything_is_written(tmp_path) -> None:
    with pytest.raises(TypeError):
        write_tensors({"short": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_that_what_cannot_be_written_is_an_error_of_the_system_in_its_words(tmp_path) -> None:
    with pytest.raises(OSError, match="No such file or directory"):
        write_tensors(TENSORS, tmp_path / "nowhere" / "file")


def test_that_a_checkpoint_leaves_nothing_to_collect_for_its_tensors(tmp_path) -> None:
    kept = Checkpoints(tmp_path / "run")
    state = {"parameters": [torch.full((3,), float(number)) for number in range(MANY)]}
    gc.collect()
    gc.disable()  # as in the window
    try:
        kept.save(state)
        assert gc.collect() < MANY
    finally:
        gc.enable()
