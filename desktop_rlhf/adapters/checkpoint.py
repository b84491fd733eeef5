"""Checkpoints: where a run stood, written so that it goes on from there as if it had never ended."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from desktop_rlhf.adapters.folders import CHECKPOINT_MANIFEST
from desktop_rlhf.adapters.tensor_file import write_tensors
from desktop_rlhf.runs.events import Checkpointing, Event

State: TypeAlias = Any
"""A tree of dicts with string keys, lists, tensors, and what JSON knows. It comes back as it went, tuples as lists."""

TENSORS_FILE = "tensors.safetensors"
STATE_FILE = "state.json"
SECONDS_BETWEEN = 30.0


class Checkpoints:
    """The checkpoints of one run; the newest whole one counts and the ones before it are cleared away.

    Args:
        folder:  its own; made when the first one is written. None keeps nothing.
        every_s: seconds between two, so that the writing costs little however short the steps are.
    """

    def __init__(self, folder: Path | None = None, every_s: float = SECONDS_BETWEEN) -> None:
        self._folder = folder
        self._every_s = every_s
        self._saved_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether enough time went by since the last one."""
        return self._folder is not None and time.monotonic() - self._saved_at >= self._every_s

    def keep(self, state: Callable[[], State]) -> Iterator[Event]:
        """Tell that a checkpoint comes, and save one of what ``state`` then gives."""
        if self._folder is not None:
            yield Checkpointing()
            self.save(state())

    def save(self, state: State) -> None:
        """Write a checkpoint aside, flush it, and only then let it count.

        Raises:
            OSError: it could not be written; the one before stands.
        """
        if self._folder is None:
            return
        numbers = [int(path.name) for path in _numbered(self._folder)]
        target = self._folder / f"{max(numbers, default=0) + 1:06d}"
        aside = target.with_suffix(".part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            _write(aside, state)
            os.replace(aside, target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _flush(self._folder)
        for path in _numbered(self._folder):
            if path != target:
                shutil.rmtree(path, ignore_errors=True)
        self._saved_at = time.monotonic()

    def load(self) -> State | None:
        """The state of the newest whole checkpoint; None when there is none."""
        for path in sorted(_numbered(self._folder), reverse=True):
            if is_whole(path):
                return _read(path)
        return None

    @property
    def found(self) -> bool:
        """Whether ``load`` would find one, by the hashes."""
        return any(is_whole(path) for path in _numbered(self._folder))

    def clear(self) -> None:
        """Take them all away: the run is over and needs none."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def restore_parameters(parameters: Sequence[Tensor], stored: Sequence[Tensor]) -> None:
    """Write stored values into parameters of the same number and shapes."""
    with torch.no_grad():
        for parameter, value in zip(parameters, stored, strict=True):
            parameter.copy_(value)


def is_whole(path: Path) -> bool:
    """Whether every file of a checkpoint is there with the bytes its manifest, which is written last, tells of."""
    try:
        manifest = json.loads((path / CHECKPOINT_MANIFEST).read_text())
        return set(manifest) == {STATE_FILE, TENSORS_FILE} and all(
            _sha256(path / name) == digest for name, digest in manifest.items()
        )
    except (OSError, ValueError):
        return False


def _write(folder: Path, state: State) -> None:
    tensors: dict[str, Tensor] = {}
    plain = _without_tensors(state, "", tensors)
    write_tensors(tensors, folder / TENSORS_FILE)
    (folder / STATE_FILE).write_text(json.dumps(plain))
    for name in (TENSORS_FILE, STATE_FILE):
        _flush(folder / name)
    digests = {name: _sha256(folder / name) for name in (TENSORS_FILE, STATE_FILE)}
    (folder / CHECKPOINT_MANIFEST).write_text(json.dumps(digests))
    _flush(folder / CHECKPOINT_MANIFEST)


def _read(folder: Path) -> State:
    try:
        tensors = load_file(folder / TENSORS_FILE)
    except SafetensorError as error:  # the hashes fit, so it was written so
        raise ValueError(f"the checkpoint in {folder} holds no tensors") from error
    return _with_tensors(json.loads((folder / STATE_FILE).read_text()), tensors)


def _without_tensors(node: State, place: str, tensors: dict[str, Tensor]) -> State:
    """The tree with a name in the place of each tensor, and the tensors by name."""
    if isinstance(node, Tensor):
        tensors[place] = node
        return {"tensor": place}
    if isinstance(node, Mapping):
        return {key: _without_tensors(value, f"{place}/{key}", tensors) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_without_tensors(value, f"{place}/{index}", tensors) for index, value in enumerate(node)]
    return node


def _with_tensors(node: State, tensors: Mapping[str, Tensor]) -> State:
    if isinstance(node, dict):
        if set(node) == {"tensor"}:
            return tensors[cast("str", node["tensor"])]
        return {key: _with_tensors(value, tensors) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_tensors(value, tensors) for value in node]
    return node


def _numbered(folder: Path | None) -> list[Path]:
    """The folders that count as checkpoints by their names, whole or not."""
    if folder is None or not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Have the system write a file, or a folder's names, to the disk itself."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
