"""Which model folders are let in, and when two are the same model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from desktop_rlhf.adapters.folders import check_model_folder, hash_model_folder
from desktop_rlhf.adapters.starter import starter_model_ready
from desktop_rlhf.records.errors import ModelFolderError
from desktop_rlhf.settings import starter_model_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelFolderError) as caught:
        check_model_folder(path)
    assert caught.value.next_step, "a person must learn what to do next"
    return caught.value.sentence


def test_that_a_complete_folder_is_let_in(folder: Path, tiny_model_path: Path):
    check_model_folder(folder)
    check_model_folder(tiny_model_path)


def test_that_a_missing_folder_and_a_file_are_told_apart(folder: Path):
    assert "no model folder" in refusal(folder / "nowhere")
    assert "is a file" in refusal(folder / "config.json")


@pytest.mark.parametrize("tokenizer", ["tokenizer.model", "vocab.json"])
def test_that_older_tokenizer_files_are_let_in(folder: Path, tokenizer: str):
    (folder / "tokenizer.json").rename(folder / tokenizer)
    check_model_folder(folder)


@pytest.mark.parametrize(
    ("lost", "word"),
    [("config.json", "no config.json"), ("model.safetensors", "no weights"), ("tokenizer.json", "no tokenizer")],
)
def test_that_an_incomplete_folder_is_refused_by_what_it_lacks(folder: Path, lost: str, word: str):
    (folder / lost).unlink()
    assert word in refusal(folder)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_that_a_broken_config_is_refused(folder: Path, content: str):
    (folder / "config.json").write_text(content)
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_that_auto_map_is_refused(folder: Path, name: str):
    (folder / name).write_text(json.dumps({"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}))
    assert name in refusal(folder)


def test_that_python_files_are_refused(folder: Path):
    (folder / "modeling.py").write_text("")
    assert "modeling.py" in refusal(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"])
def test_that_a_pickle_without_safetensors_is_refused(folder: Path, name: str):
    (folder / name).write_bytes(b"")
    check_model_folder(folder)
    (folder / "model.safetensors").unlink()
    assert "pickle" in refusal(folder)


def test_that_the_hash_follows_what_the_model_computes_with_and_nothing_else(folder: Path):
    before = hash_model_folder(folder)
    (folder / "README.md").write_text("read me")
    assert hash_model_folder(folder) == before
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept + b" ")
        assert hash_model_folder(folder) != before
        (folder / name).write_bytes(kept)
    assert hash_model_folder(folder) == before


def test_that_the_hash_sees_weights_move_between_shards(folder: Path):
    first, second = folder / "model.safetensors", folder / "model-2.safetensors"
    first.write_bytes(b"ab"), second.write_bytes(b"c")
    before = hash_model_folder(folder)
    first.write_bytes(b"a"), second.write_bytes(b"bc")
    assert hash_model_folder(folder) != before


def test_that_the_starter_model_is_ready_only_when_every_file_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DESKTOP_RLHF_DATA", str(tmp_path))
    assert not starter_model_ready()
    folder = starter_model_path()
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"1234")
    (folder / "manifest.json").write_text(json.dumps({"files": {"model.safetensors": {"size": 4}}}))
    assert starter_model_ready()
    (folder / "model.safetensors").write_bytes(b"123")
    assert not starter_model_ready()
    (folder / "model.safetensors").unlink()
    assert not starter_model_ready()


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"files": {}}', '{"files": {"a": 1}}', '{"files": []}'])
def test_that_a_broken_manifest_means_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str):
    monkeypatch.setenv("DESKTOP_RLHF_DATA", str(tmp_path))
    folder = starter_model_path()
    folder.mkdir(parents=True)
    (folder / "a").touch()
    (folder / "manifest.json").write_text(manifest)
    assert not starter_model_ready()
