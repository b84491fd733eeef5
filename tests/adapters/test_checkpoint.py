from __future__ import annotations

import errno
import json
import os
import shutil

import pytest
import torch

from desktop_rlhf.adapters import checkpoint
from desktop_rlhf.adapters.checkpoint import STATE_FILE, TENSORS_FILE, Checkpoints, is_whole
from desktop_rlhf.adapters.folders import CHECKPOINT_MANIFEST, holds_checkpoint

STATE = {
    "place": {"step": 3, "share": 0.1 + 0.2, "turns": [2, 0, 1], "empty": [], "nothing": None, "on": True},
    "parameters": [torch.tensor([1.0, -0.0, 1e-45]), torch.arange(6).reshape(2, 3).t()],
    "order": torch.Generator().manual_seed(5).get_state(),
}


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_that_a_state_comes_back_as_it_went(tmp_path) -> None:
    kept = Checkpoints(tmp_path / "run")
    assert kept.load() is None
    assert not kept.found
    kept.save(STATE)
    assert same(Checkpoints(tmp_path / "run").load(), STATE)


def test_that_only_the_newest_stays_and_the_end_clears_all(tmp_path) -> None:
    kept = Checkpoints(tmp_path / "run")
    for step in range(3):
        kept.save({"step": step, "weights": torch.zeros(2)})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["000003"]
    assert kept.load()["step"] == 2
    kept.clear()
    assert not (tmp_path / "run").exists()


def test_that_one_is_due_only_when_its_time_is_over(tmp_path) -> None:
    assert not Checkpoints(tmp_path, every_s=1e9).due
    assert Checkpoints(tmp_path, every_s=0.0).due
    assert not Checkpoints(None, every_s=0.0).due


@pytest.mark.parametrize("name", [CHECKPOINT_MANIFEST, STATE_FILE, TENSORS_FILE])
@pytest.mark.parametrize("spoil", ["gone", "cut", "changed", "empty"])
def test_that_a_checkpoint_with_a_spoilt_file_is_passed_over_for_the_one_before(tmp_path, name, spoil) -> None:
    kept = Checkpoints(tmp_path / "run")
    kept.save({"step": 1, "weights": torch.ones(9)})
    shutil.copytree(tmp_path / "run" / "000001", tmp_path / "before")
    kept.save({"step": 2, "weights": torch.ones(9)})
    shutil.copytree(tmp_path / "before", tmp_path / "run" / "000001")
    file = tmp_path / "run" / "000002" / name
    content = file.read_bytes()
    if spoil == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-1], "changed": content[:-3] + b"?" + content[-2:], "empty": b""}[spoil])
    assert kept.load()["step"] == 1


def test_that_a_write_that_fails_anywhere_leaves_the_one_before(tmp_path, monkeypatch) -> None:
    """The n-th call of the system fails, for n = 1, 2, … until a write goes through."""
    kept = Checkpoints(tmp_path / "run")
    kept.save({"step": 0, "weights": torch.zeros(3)})
    calls, failing = 0, 0

    def falling(function):
        def call(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(checkpoint, "write_tensors", falling(checkpoint.write_tensors))
    monkeypatch.setattr(os, "fsync", falling(os.fsync))
    monkeypatch.setattr(os, "replace", falling(os.replace))
    monkeypatch.setattr("pathlib.Path.write_text", falling(checkpoint.Path.write_text))
    survived = 0
    for failing in range(1, 50):
        calls = 0
        try:
            kept.save({"step": failing, "weights": torch.zeros(3)})
        except OSError:
            stands = Checkpoints(tmp_path / "run").load()
            # The last flush comes after the rename, so by then the new one may count already.
            assert stands["step"] in (survived, failing)
            assert not list((tmp_path / "run").glob("*.part"))
            survived = stands["step"]
        else:
            break
    assert failing == 9  # eight calls, each of which failed once
    assert kept.load()["step"] == failing


def test_that_the_manifest_is_what_makes_a_checkpoint_whole(tmp_path) -> None:
    kept = Checkpoints(tmp_path / "run")
    kept.save({"weights": torch.zeros(1)})
    path = tmp_path / "run" / "000001"
    assert is_whole(path)
    assert holds_checkpoint(path.parent)
    (path / CHECKPOINT_MANIFEST).write_text(json.dumps({}))
    assert not is_whole(path)
