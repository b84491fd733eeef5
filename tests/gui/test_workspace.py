"""An open project: when its engine begins, and what is done with its adapters."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QFileDialog, QInputDialog, QWidget

from desktop_rlhf.gui.window import MainWindow
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.runs import Run
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE

from .test_shell import click, text_of


class Paints(QObject):
    """Notes which widgets are painted while it filters the application's events."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[str] = set()

    def eventFilter(self, watched, event) -> bool:
        if event.type() == QEvent.Type.Paint and isinstance(watched, QWidget):
            self.kinds.add(type(watched).__name__)
        return False


def test_that_the_engine_begins_when_the_project_was_painted(
    qapp, closed_project, make_engine, engines, qtbot, monkeypatch
):
    monkeypatch.setattr("desktop_rlhf.gui.workspace.BEGIN_WITHIN_MS", 60_000)  # it is the paint that begins it
    paints, seen = Paints(), []

    def make(path, say):
        seen.append(set(paints.kinds))
        return make_engine(path, say)

    window = MainWindow(make)
    qtbot.addWidget(window)
    window.show()
    qapp.installEventFilter(paints)
    window.open_project(closed_project)
    qtbot.waitUntil(lambda: bool(engines))
    qapp.removeEventFilter(paints)
    assert {"Workspace", "LabelPage", "JobStrip"} <= seen[0]
    window.close()


def test_that_the_engine_begins_in_a_window_that_nobody_sees(closed_project, make_engine, engines, qtbot):
    window = MainWindow(make_engine)
    qtbot.addWidget(window)
    window.open_project(closed_project)
    qtbot.waitUntil(lambda: bool(engines))
    window.close()


def test_that_the_engine_of_a_project_that_is_left_at_once_never_begins(
    window, closed_project, engines, qapp, monkeypatch
):
    monkeypatch.setattr("desktop_rlhf.gui.workspace.BEGIN_WITHIN_MS", 0)
    window.open_project(closed_project)
    window.close_project()
    for _ in range(20):
        qapp.processEvents()  # which fires timers and deletes nothing
    assert not engines
    assert window.workspace is None


@pytest.fixture
def with_adapter(window, closed_project, engines, qtbot):
    """The window with a project that has one adapter, on the Runs page."""
    store = Store.open(closed_project / STORE_FILE)
    store.runs.add(Run("run", "dpo", {}, None, None, {}, {}))
    store.adapters.add(Adapter("made", "short/kind", AdapterKind.POLICY, None, "run", "adapters/made", "0" * 64))
    store.close()
    (closed_project / "adapters" / "made").mkdir()
    (closed_project / "adapters" / "made" / "adapter_config.json").write_text("{}")
    window.open_project(closed_project)
    qtbot.waitUntil(lambda: bool(engines))
    window.workspace.show_page("runs")
    return window


def test_that_an_adapter_is_exported_to_a_folder_that_is_asked_for(with_adapter, tmp_path, monkeypatch):
    asked = []

    def answer(parent, title, proposed, **_):
        asked.append(proposed)
        return str(tmp_path / "mine"), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    click(with_adapter, "runs-export")
    assert asked == [str(with_adapter.workspace.project.path.parent / "short-kind")]
    assert (tmp_path / "mine" / "adapter_config.json").read_text() == "{}"
    assert text_of(with_adapter, "strip-toast") == "Wrote the adapter to the folder mine."
    click(with_adapter, "runs-export")
    assert "is there already" in text_of(with_adapter, "workspace-banner-sentence")


def test_that_an_export_that_is_left_writes_nothing(with_adapter, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: ("", ""))
    click(with_adapter, "runs-export")
    assert text_of(with_adapter, "strip-toast") == ""
    assert not with_adapter.findChild(QWidget, "workspace-banner").isVisible()


def test_that_an_adapter_is_renamed_to_what_is_asked_for(with_adapter, monkeypatch):
    asked = []

    def answer(parent, title, says, text):
        asked.append(text)
        return f" {names.pop(0)} ", True

    names = ["kind", ""]
    monkeypatch.setattr(QInputDialog, "getText", answer)
    click(with_adapter, "runs-rename")
    page = with_adapter.workspace.page("runs")
    assert page.runs.item(0, 1).text() == page.adapters.item(0, 0).text() == "kind"
    assert page.chain.text().startswith("the base → kind")
    click(with_adapter, "runs-rename")
    assert "1 to 60 characters" in text_of(with_adapter, "workspace-banner-sentence")
    banner = with_adapter.findChild(QWidget, "workspace-banner")
    assert not banner.isHidden()
    with_adapter.workspace.show_page("label")
    assert banner.isHidden()
    assert asked == ["short/kind", "kind"]


def test_that_an_adapter_keeps_its_name_where_a_new_one_is_not_given(with_adapter, monkeypatch):
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("kind", False))
    click(with_adapter, "runs-rename")
    assert with_adapter.workspace.project.adapter("made").name == "short/kind"
