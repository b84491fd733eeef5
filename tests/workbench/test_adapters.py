"""What a person does with an adapter: give it a name, and copy its folder out of the project."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.errors import BadInputError, DiskFullError, ModelFolderError
from desktop_rlhf.records.runs import Run
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE

FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}


@pytest.fixture
def kept(project) -> Path:
    """The folder of the project's one adapter, whose id is ``made``."""
    store = Store.open(project.path / STORE_FILE)
    store.runs.add(Run("run", "dpo", {}, None, None, {}, {}))
    store.adapters.add(Adapter("made", "dpo 1", AdapterKind.POLICY, None, "run", "adapters/made", "0" * 64))
    store.close()
    folder = project.path / "adapters" / "made"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_that_an_adapter_is_copied_whole_to_a_new_folder_and_nothing_else_is_left_there(project, kept, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    project.export_adapter("made", place / "mine")
    assert contents(place / "mine") == contents(kept) == FILES
    assert [path.name for path in place.iterdir()] == ["mine"]


@pytest.mark.parametrize("what", ["a file", "an empty folder"])
def test_that_what_is_there_already_is_not_written_over(project, kept, tmp_path, what):
    target = tmp_path / "mine"
    target.mkdir() if what == "an empty folder" else target.write_bytes(b"precious")
    with pytest.raises(BadInputError, match="is there already"):
        project.export_adapter("made", target)
    assert list(target.iterdir()) == [] if target.is_dir() else target.read_bytes() == b"precious"


def test_that_an_adapter_whose_files_are_gone_is_an_error_for_the_person(project, kept, tmp_path):
    shutil.rmtree(kept)
    with pytest.raises(ModelFolderError, match="are gone"):
        project.export_adapter("made", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_that_a_copy_that_fails_leaves_nothing(project, kept, tmp_path, monkeypatch):
    place = tmp_path / "place"
    place.mkdir()
    copy = shutil.copyfile

    def once_only(source: Path, target: Path) -> None:
        if any(target.parent.iterdir()):
            raise OSError(28, "No space left on device")
        copy(source, target)

    monkeypatch.setattr("desktop_rlhf.workbench.exported.shutil.copyfile", once_only)
    with pytest.raises(DiskFullError, match="No space left"):
        project.export_adapter("made", place / "mine")
    assert list(place.iterdir()) == []


def test_that_a_place_that_is_not_there_is_an_error_for_the_person(project, kept, tmp_path):
    with pytest.raises(DiskFullError, match="could not be written"):
        project.export_adapter("made", tmp_path / "nowhere" / "mine")


def test_that_an_adapter_takes_a_new_name_but_not_one_that_is_taken(project, kept):
    store = Store.open(project.path / STORE_FILE)
    store.adapters.add(Adapter("later", "dpo 2", AdapterKind.POLICY, None, "run", "adapters/later", "0" * 64))
    store.close()
    project.rename_adapter("made", " kind ")
    assert project.adapter("made").name == "kind"
    for name in ("dpo 2", " ", "k" * 61):
        with pytest.raises(BadInputError):
            project.rename_adapter("made", name)
    project.rename_adapter("made", "kind")
    assert [adapter.name for adapter in project.adapters()] == ["dpo 2", "kind"]
