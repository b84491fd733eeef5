from __future__ import annotations

import shutil

import huggingface_hub
import pytest

from desktop_rlhf.adapters.download import downloaded, is_model_id
from desktop_rlhf.records.errors import ModelFolderError
from desktop_rlhf.workbench.project import Project


@pytest.fixture(autouse=True)
def _own_data(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DESKTOP_RLHF_DATA", str(tmp_path / "data"))


@pytest.fixture
def hub(monkeypatch, tiny_model_path):
    """A hub that has one model; gives the list of what was asked of it."""
    asked: list[tuple[str, bool]] = []

    def snapshot_download(name, *, local_dir, allow_patterns):
        asked.append((name, huggingface_hub.constants.HF_HUB_OFFLINE))
        assert not any(pattern.endswith((".py", ".bin")) for pattern in allow_patterns)
        if name != "someone/tiny":
            raise ConnectionError("no such model")
        shutil.copytree(tiny_model_path, local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_that_a_model_is_downloaded_once_and_the_program_is_offline_again(hub, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    first = downloaded("someone/tiny")
    assert downloaded("someone/tiny") == first
    assert hub == [("someone/tiny", False)]
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    project = Project.create(tmp_path / "project", base_model="someone/tiny")
    assert project.info.base_model == first
    project.close()


def test_that_a_model_that_cannot_be_fetched_is_one_sentence_and_leaves_nothing(hub, tmp_path) -> None:
    with pytest.raises(ModelFolderError, match="could not be downloaded: no such model"):
        downloaded("someone/else")
    assert not list((tmp_path / "data").rglob("*else"))


def test_that_a_folder_is_never_taken_for_an_id(hub, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert not is_model_id("a/b")
    assert not is_model_id("/etc/passwd")
    assert not is_model_id("../up/there")
    assert downloaded("a/b") == "a/b"
    assert hub == []


def test_that_a_missing_starter_model_says_what_to_do(tmp_path) -> None:
    with pytest.raises(ModelFolderError, match="not on this machine yet"):
        Project.create(tmp_path / "project")
    assert not (tmp_path / "project").exists()
