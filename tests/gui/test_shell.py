"""The window: what opens, what it shows of the engine, and that leaving is clean in every phase."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QObject, QSettings, Qt
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QWidget,
)

from desktop_rlhf.gui import app, theme
from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.notes import NoteDialog
from desktop_rlhf.gui.pages.start import NewProject, NewProjectDialog, recent_projects
from desktop_rlhf.gui.window import MainWindow
from desktop_rlhf.gui.workspace import TITLES
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.settings import projects_path
from desktop_rlhf.workbench.exported import EXPORTS
from desktop_rlhf.workbench.messages import (
    EngineFailed,
    JobPaused,
    JobStarted,
    ModelLoaded,
    ModelLoading,
)
from desktop_rlhf.workbench.project import Project

CLOSE_TEST_S = 10


@pytest.fixture
def opened(window, closed_project, engines, qtbot):
    """The window with a project and a listening engine that runs."""
    window.open_project(closed_project)
    qtbot.waitUntil(lambda: bool(engines))
    return window


def text_of(widget, name) -> str:
    return widget.findChild(QLabel, name).text()


def click(widget, name) -> None:
    widget.findChild(QPushButton, name).click()


# The window


def test_that_the_window_is_up_before_torch_is_imported(tmp_path):
    script = """
import sys
from PySide6.QtWidgets import QApplication
from desktop_rlhf.gui.window import MainWindow
app = QApplication([])
window = MainWindow()
window.show()
app.processEvents()
heavy = {"torch", "transformers", "peft"} & set(sys.modules)
assert window.isVisible() and not heavy, heavy
"""
    environment = os.environ | {"DESKTOP_RLHF_DATA": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(app.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_that_a_project_opens_on_the_label_page(opened):
    assert opened.workspace.page_name == "label"
    assert "Kind answers" in opened.windowTitle()
    assert recent_projects() == [opened.workspace.project.path]


@pytest.mark.parametrize(("number", "name"), list(enumerate(TITLES, start=1)))
def test_that_control_and_a_number_open_a_page(opened, qtbot, number, name):
    opened.activateWindow()
    qtbot.waitUntil(opened.isActiveWindow)
    qtbot.keyClick(opened, str(number), Qt.KeyboardModifier.ControlModifier)
    assert opened.workspace.page_name == name


def test_that_pages_are_built_when_they_are_first_shown_and_never_show_a_window_of_their_own(opened, qapp):
    workspace = opened.workspace
    assert set(workspace._pages) == {"label"}
    windows = Windows(qapp)
    for name in TITLES:
        workspace.show_page(name)
        assert workspace.page_name == name
    assert set(workspace._pages) == set(TITLES)
    assert windows.shown == []


class Windows(QObject):
    """Notes what is shown as a window."""

    def __init__(self, app: QApplication) -> None:
        super().__init__(app)
        self.shown: list[str] = []
        app.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow():
            self.shown.append(f"{type(watched).__name__} {watched.objectName()}")
        return False


def test_that_the_rail_opens_a_page(opened, qtbot):
    opened.findChild(object, "rail-runs").click()
    assert opened.workspace.page_name == "runs"


def test_that_a_folder_without_a_project_is_said_in_place(window, tmp_path):
    window.open_project(tmp_path)
    assert "holds no project" in text_of(window, "window-banner-sentence")
    assert window.workspace is None


def test_that_a_new_project_is_made_and_opened(window, tiny_model_path, tmp_path, qtbot):
    window.make_project(NewProject(tmp_path / "new", "New", str(tiny_model_path)))
    qtbot.waitUntil(lambda: window.workspace is not None)
    assert window.workspace.project.info.name == "New"
    assert window.workspace.project.prompts()


def test_that_a_project_that_cannot_be_made_is_said_in_place(window, tmp_path, qtbot):
    window.make_project(NewProject(tmp_path / "new", "New", str(tmp_path / "no model")))
    qtbot.waitUntil(lambda: bool(text_of(window, "window-banner-sentence")))
    assert window.workspace is None


def test_that_the_starter_project_is_made_once_and_then_opened(window, tiny_model_path, monkeypatch, qtbot):
    create = Project.create
    monkeypatch.setattr(Project, "create", lambda path, **kw: create(path, **kw | {"base_model": str(tiny_model_path)}))
    click(window, "start-starter")
    qtbot.waitUntil(lambda: window.workspace is not None)
    assert window.workspace.project.path == projects_path() / "starter"
    first = window.workspace.project.info.id
    window.close_project()
    qtbot.waitUntil(lambda: window.workspace is None)
    window.open_starter()
    assert window.workspace.project.info.id == first


def test_that_the_dialog_for_a_new_project_refuses_what_cannot_be(qtbot, tmp_path):
    dialog = NewProjectDialog()
    qtbot.addWidget(dialog)
    name, place, base = (dialog.findChild(QLineEdit, f"new-{field}") for field in ("name", "place", "base"))
    (tmp_path / "taken").mkdir()
    place.setText(str(tmp_path))
    for given, folder in (("", ""), ("a/b", ""), ("taken", ""), ("free", str(tmp_path / "no model"))):
        name.setText(given)
        base.setText(folder)
        dialog.accept()
        assert dialog.result() == 0
        assert text_of(dialog, "new-problem")
    base.setText("")
    dialog.findChild(QCheckBox, "new-prompts").setChecked(False)
    dialog.accept()
    assert dialog.asked == NewProject(tmp_path / "free", "free", None, False)
    assert dialog.result() == 1


def test_that_exporting_says_how_much_was_written(opened, tmp_path, monkeypatch):
    path = tmp_path / "out.jsonl"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(path), ""))
    opened.workspace.export("prompts")
    count = len(opened.workspace.project.prompts())
    assert len(path.read_text(encoding="utf-8").splitlines()) == count
    assert text_of(opened, "strip-toast") == f"Wrote {count:,} prompts to out.jsonl."


def test_that_the_menu_exports_every_kind(opened, monkeypatch):
    asked = []
    monkeypatch.setattr(opened.workspace, "export", asked.append)
    for action in opened.findChildren(QAction):
        if action.text().startswith("Export "):
            action.trigger()
    assert asked == list(EXPORTS)


@pytest.mark.parametrize(("what", "means"), [("demonstrations", "write"), ("judgements", "bad"), ("verdicts", "won")])
def test_that_exporting_what_there_is_none_of_says_so_and_writes_no_file(opened, tmp_path, monkeypatch, what, means):
    path = tmp_path / "out.jsonl"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(path), ""))
    opened.workspace.export(what)
    assert not path.exists()
    assert text_of(opened, "strip-toast") == ""
    told = text_of(opened, "workspace-banner-sentence")
    assert told.startswith(f"There are no {what} to export")
    assert means in told
    assert not opened.findChild(QWidget, "workspace-banner-retry").isVisible()
    opened.workspace.export("prompts")
    assert path.exists()
    assert not opened.findChild(QWidget, "workspace-banner").isVisible()


def test_that_an_engine_that_failed_can_be_started_from_the_banner(opened, engines, qtbot):
    engines[-1].have_it(lambda: engines[-1].say(EngineFailed("The model is gone.", "Bring it back.", "Traceback")))
    engines[-1].shutdown()
    qtbot.waitUntil(lambda: text_of(opened, "engine-banner-sentence") == "The model is gone.")
    qtbot.waitUntil(lambda: not opened.workspace.engine.running)
    click(opened, "engine-banner-copy")
    assert QGuiApplication.clipboard().text() == "The model is gone. Bring it back.\n\nTraceback"
    click(opened, "engine-banner-retry")
    qtbot.waitUntil(lambda: len(engines) == 2)


# Leaving


def phases():
    return {
        "idle": [],
        "loading": [ModelLoading("Reading the model…")],
        "sampling": [ModelLoaded("tiny", 1000, 0.1), JobStarted("s", "Sampling")],
        "training": [ModelLoaded("tiny", 1000, 0.1), JobStarted("r", "Training", "run")],
        "paused": [ModelLoaded("tiny", 1000, 0.1), JobStarted("r", "Training", "run"), JobPaused("r")],
        "failed": [EngineFailed("It is over.")],
    }


@pytest.mark.parametrize("phase", phases())
def test_that_closing_ends_the_thread_and_frees_the_project(opened, engines, qtbot, phase):
    heard = []
    workspace = opened.workspace
    workspace.engine.news.connect(heard.append)
    said = phases()[phase]
    engines[-1].have_it(lambda: [engines[-1].say(news) for news in said])
    qtbot.waitUntil(lambda: len(heard) == len(said))
    engine, path = workspace.engine, workspace.project.path
    opened.close()
    assert not engine.running
    assert not opened.left_behind
    Project.open(path).close()  # its lock is free


def test_that_a_thread_that_cannot_be_told_is_not_waited_for_forever(opened, engines, monkeypatch):
    monkeypatch.setattr("desktop_rlhf.gui.bridge.engine_thread.CLOSE_WITHIN_S_WHILE_LOADING", 0.05)
    gate = threading.Event()
    engines[-1].have_it(gate.wait)
    engine = opened.workspace.engine
    opened.close()
    assert opened.left_behind
    gate.set()
    assert engine.close(CLOSE_TEST_S)
    opened.left_behind = False


def test_that_the_real_engine_feeds_the_label_page(window, qtbot, closed_project, monkeypatch):
    monkeypatch.setattr(window, "_make_engine", None)
    window.open_project(closed_project)
    project = window.workspace.project
    qtbot.waitUntil(lambda: project.label_counts().waiting > 0, timeout=60_000)
    page = window.workspace.page("label")
    qtbot.waitUntil(lambda: page.findChild(QPushButton, "pick-1").isVisible())
    click(page, "pick-1")
    assert project.label_counts().ranked == 1


def test_that_closing_the_window_keeps_its_place(opened):
    opened.resize(900, 640)
    opened.close()
    assert QSettings().value("window/geometry") is not None


def test_that_closing_a_project_leads_to_the_start_page(opened, qtbot):
    path = opened.workspace.project.path
    opened.close_project()
    qtbot.waitUntil(lambda: opened.workspace is None)
    Project.open(path).close()
    assert opened.findChild(QPushButton, "start-starter").isVisible()
    assert opened.findChild(QPushButton, f"recent-{path.name}") is not None


def test_that_opening_another_project_waits_for_the_first_to_be_saved(opened, engines, empty_project, qtbot):
    gate = threading.Event()
    engines[-1].have_it(gate.wait)
    first, second = opened.workspace.project.path, empty_project.path
    empty_project.close()
    opened.open_project(second)
    assert opened.workspace.project.path == first
    gate.set()
    qtbot.waitUntil(lambda: opened.workspace is not None and opened.workspace.project.path == second)
    assert opened.workspace.page_name == "prompts"


# Theme, help, errors


def test_that_a_chosen_theme_is_kept_and_applied(window, qapp):
    window.findChild(object, "theme-dark").trigger()
    assert theme.current() is theme.DARK
    assert theme.choice() == "dark"
    theme.follow(qapp)
    assert theme.current() is theme.DARK


@pytest.mark.parametrize(("page", "note"), [("label", "labelling"), ("train", "metrics")])
def test_that_help_fits_the_page(opened, page, note):
    opened.workspace.show_page(page)
    opened.findChild(object, "rail-help").click()
    assert [dialog.objectName() for dialog in opened.findChildren(NoteDialog)] == [f"note-{note}"]


def test_that_an_error_of_the_world_is_shown_in_place(window):
    app.Reporter(window).report(BadInputError("The file is empty.", "Choose another."))
    assert text_of(window, "window-banner-sentence") == "The file is empty."


def test_that_the_log_has_an_errors_sentence_and_of_an_unexpected_one_where_it_came_from(window, qtbot, caplog):
    reporter = app.Reporter(window)
    reporter.report(BadInputError("The file is empty.", "Choose another."))
    assert "Traceback" not in caplog.text
    try:
        raise ZeroDivisionError("one over none")
    except ZeroDivisionError as error:
        reporter.report(error)
    box = window.findChild(QMessageBox, "error-dialog")
    box.close()
    assert [record.getMessage() for record in caplog.records] == ["The file is empty. Choose another.", "one over none"]
    assert "test_shell.py" in caplog.text
    assert "Traceback" in caplog.text


def test_that_an_unexpected_error_can_be_copied(window, qtbot):
    try:
        raise ZeroDivisionError("one over none")
    except ZeroDivisionError as error:
        box = app.error_dialog(error, window)
    qtbot.addWidget(box)
    box.open()
    next(button for button in box.buttons() if button.text() == "Copy report").click()
    copied = QGuiApplication.clipboard().text()
    assert "one over none" in copied
    assert "Traceback" in copied
    assert box.isVisible()


def test_that_the_application_runs_until_its_window_is_closed(tmp_path, qapp, monkeypatch, closed_project):
    from PySide6.QtCore import QTimer

    monkeypatch.setattr("desktop_rlhf.gui.window.EngineHandle", lambda path: EngineHandle(path, _Quiet))
    seen = []

    def close_it():
        (window,) = (widget for widget in QApplication.topLevelWidgets() if isinstance(widget, MainWindow))
        if window.workspace is None:
            QTimer.singleShot(20, close_it)
            return
        seen.append(window.workspace.project.path)
        window.close()

    QTimer.singleShot(0, close_it)
    assert app.run(closed_project) == 0
    assert seen == [closed_project]


class _Quiet:
    """An engine without work."""

    def __init__(self, path, say) -> None:
        self._end = threading.Event()

    def submit(self, command) -> None:
        pass

    def shutdown(self) -> None:
        self._end.set()

    def run(self) -> None:
        self._end.wait()


def test_that_closing_while_a_project_is_made_opens_nothing_behind_the_closed_window(
    window, qtbot, engines, tmp_path, tiny_model_path
):
    path = tmp_path / "late"
    window.make_project(NewProject(path, "Late", str(tiny_model_path)))
    window.close()
    qtbot.wait(200)
    assert window.workspace is None
    assert engines == []
    Project.open(path).close()
