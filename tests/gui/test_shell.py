"""The window and its engine thread: what opens, what follows the engine, and that leaving is clean in every phase."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings, Qt, QUrl
from PySide6.QtGui import QGuiApplication, QPixmap, QTextDocument
from PySide6.QtWidgets import QApplication, QCheckBox, QFileDialog, QLabel, QLineEdit, QProgressBar, QPushButton

from desktop_rlhf.gui import app, theme
from desktop_rlhf.gui.bridge.collector import Collector
from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.notes import NOTES, PICTURE_WIDTH, NoteDialog
from desktop_rlhf.gui.pages.start import NewProject, NewProjectDialog, recent_projects
from desktop_rlhf.gui.widgets.job_strip import JobStrip, time_left
from desktop_rlhf.gui.window import MainWindow
from desktop_rlhf.gui.workspace import TITLES
from desktop_rlhf.records.errors import BadInputError, ModelFolderError
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.settings import projects_path
from desktop_rlhf.workbench.messages import (
    EngineFailed,
    JobEnded,
    JobPaused,
    JobProgressed,
    JobResumed,
    JobStarted,
    ModelLoaded,
    ModelLoading,
)
from desktop_rlhf.workbench.project import Project

CLOSE_TEST_S = 10


@pytest.fixture
def closed_project(project) -> Path:
    """The folder of a project that nobody has open."""
    project.close()
    return project.path


@pytest.fixture
def window(qtbot, make_engine):
    made = MainWindow(make_engine)
    qtbot.addWidget(made)
    made.resize(1100, 700)
    made.show()
    yield made
    made.close()
    assert not made.left_behind


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


# The engine thread


def test_that_news_arrive_on_the_gui_thread_whole_and_in_order(engine, engines, qtbot):
    heard, threads = [], set()

    def hear(news):
        heard.append(news)
        threads.add(threading.current_thread())

    engine.news.connect(hear)
    said = [ModelLoading(str(number)) for number in range(2000)]
    engines[-1].have_it(lambda: [engines[-1].say(news) for news in said])
    qtbot.waitUntil(lambda: len(heard) == len(said))
    assert heard == said
    assert threads == {threading.main_thread()}


def test_that_what_is_asked_before_the_engine_exists_reaches_it_in_order(project, make_engine, engines, qtbot):
    gate = threading.Event()

    def make_late(path, say):
        gate.wait()
        return make_engine(path, say)

    handle = EngineHandle(project.path, make_late)
    handle.submit("job")
    handle.pause("a")
    handle.resume("a")
    handle.stop("a")
    gate.set()
    qtbot.waitUntil(lambda: bool(engines) and len(engines[0].asked) == 4)
    assert engines[0].asked == [("submit", "job"), ("pause", "a"), ("resume", "a"), ("stop", "a")]
    assert handle.close(CLOSE_TEST_S)


@pytest.mark.parametrize(
    ("error", "reason", "has_report"),
    [(ModelFolderError("No model.", "Get one."), "No model.", False), (ZeroDivisionError(), "ZeroDivisionError", True)],
)
def test_that_an_engine_that_raises_is_news(project, qtbot, error, reason, has_report):
    def make(path, say):
        raise error

    heard = []
    handle = EngineHandle(project.path, make)
    handle.news.connect(heard.append)
    qtbot.waitUntil(lambda: bool(heard))
    (news,) = heard
    assert isinstance(news, EngineFailed)
    assert reason in news.reason
    assert bool(news.traceback) is has_report
    assert handle.close(CLOSE_TEST_S)


def test_that_the_last_news_come_before_the_end(engine, engines, qtbot):
    heard = []
    engine.news.connect(heard.append)
    engine.ended.connect(lambda: heard.append("ended"))
    engines[-1].have_it(lambda: engines[-1].say(ModelLoading("last words")))
    engine.shut_down()
    qtbot.waitUntil(lambda: "ended" in heard)
    assert heard == [ModelLoading("last words"), "ended"]


def test_that_an_engine_can_be_started_again(project, make_engine, engines, qtbot):
    handle = EngineHandle(project.path, make_engine)
    qtbot.waitUntil(lambda: len(engines) == 1)
    assert handle.close(CLOSE_TEST_S)
    handle.start()
    qtbot.waitUntil(lambda: len(engines) == 2)
    handle.submit("job")
    assert engines[1].commands == ["job"]
    assert handle.close(CLOSE_TEST_S)


def test_that_closing_a_busy_engine_comes_back_in_time(engine, engines):
    gate = threading.Event()
    engines[-1].have_it(gate.wait)
    assert not engine.close(within_s=0.05)
    gate.set()
    assert engine.close(CLOSE_TEST_S)
    assert not engine.running


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


# The job strip


@pytest.fixture
def strip(qtbot):
    made = JobStrip()
    qtbot.addWidget(made)
    made.show()
    return made


def test_that_the_strip_shows_the_run_rather_than_the_sampling_beside_it(strip):
    strip.take_news(JobStarted("r", "Training by DPO", "run"))
    strip.take_news(JobStarted("s", "Sampling"))
    strip.take_news(JobProgressed("s", "sampling", 0.9, 1.0))
    strip.take_news(JobProgressed("r", "epoch 1", 0.25, 600.0))
    assert text_of(strip, "job-title") == "Training by DPO"
    assert text_of(strip, "job-detail") == "epoch 1 · about 10 min left · and 1 more"
    assert strip.findChild(QProgressBar, "job-progress").value() == 250


def test_that_a_run_can_be_paused_resumed_and_stopped(strip, qtbot):
    strip.take_news(JobStarted("r", "Training", "run"))
    for news, name, signal in (
        (None, "job-pause", strip.pause),
        (JobPaused("r"), "job-pause", strip.resume),
        (JobResumed("r"), "job-pause", strip.pause),
        (None, "job-stop", strip.stop),
    ):
        if news is not None:
            strip.take_news(news)
        with qtbot.waitSignal(signal) as asked:
            click(strip, name)
        assert asked.args == ["r"]


def test_that_sampling_can_be_stopped_but_not_paused(strip):
    strip.take_news(JobStarted("s", "Sampling"))
    assert strip.findChild(QPushButton, "job-pause").isHidden()
    assert not strip.findChild(QPushButton, "job-stop").isHidden()


def test_that_the_strip_says_how_a_job_ended(strip):
    strip.take_news(JobStarted("r", "Training", "run"))
    strip.take_news(JobEnded("r", RunStatus.STOPPED))
    assert text_of(strip, "job-title") == "Training: stopped; what it had is kept."
    assert not strip.training


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (5, "less than a minute left"), (90, "about 2 min left"), (3 * 3600, "about 3.0 h left")],
)
def test_that_time_left_is_said_roughly(seconds, words):
    assert time_left(seconds) == words


# Looks, help, errors


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK], ids=lambda colours: colours.name)
def test_that_every_text_can_be_read_on_every_ground(colours):
    for ground in (colours.window, colours.surface, colours.raised):
        for text in (colours.text, colours.muted, colours.accent, colours.good, colours.bad, colours.warn):
            assert contrast(text, ground) >= 4.5, (text, ground)
    assert contrast(colours.accent_text, colours.accent) >= 4.5
    assert all(contrast(curve, colours.surface) >= 3 for curve in colours.curves)


def test_that_a_chosen_theme_is_kept_and_applied(window, qapp):
    window.findChild(object, "theme-dark").trigger()
    assert theme.current() is theme.DARK
    assert theme.choice() == "dark"
    theme.follow(qapp)
    assert theme.current() is theme.DARK


@pytest.mark.parametrize("name", NOTES)
def test_that_every_note_of_the_help_menu_can_be_read(qtbot, name):
    note = NoteDialog(name)
    qtbot.addWidget(note)
    assert len(note.browser.toPlainText()) > 200


def test_that_the_note_with_wide_tables_has_more_room_and_fits_the_screen(qtbot):
    wide, usual = NoteDialog("metrics"), NoteDialog("licences")
    qtbot.addWidget(wide)
    qtbot.addWidget(usual)
    assert usual.width() < wide.width() <= wide.screen().availableSize().width()


@pytest.mark.parametrize(("page", "note"), [("label", "labelling"), ("train", "metrics")])
def test_that_help_fits_the_page(opened, page, note):
    opened.workspace.show_page(page)
    opened.findChild(object, "rail-help").click()
    assert [dialog.objectName() for dialog in opened.findChildren(NoteDialog)] == [f"note-{note}"]


def test_that_an_error_of_the_world_is_shown_in_place(window):
    app.Reporter(window).report(BadInputError("The file is empty.", "Choose another."))
    assert text_of(window, "window-banner-sentence") == "The file is empty."


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


def test_that_python_collects_by_itself_again_when_the_collector_is_closed():
    import gc

    collector = Collector()
    assert not gc.isenabled()
    collector.close()
    assert gc.isenabled()


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


def test_that_a_note_shows_the_pictures_beside_it_and_nothing_else_that_it_names(qtbot, monkeypatch, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "trainers.md").write_text("![a picture](beside.png)", encoding="utf-8")
    for place in (notes, tmp_path):
        QPixmap(90, 54).save(str(place / "beside.png"))
    monkeypatch.setattr("desktop_rlhf.gui.notes.resources_path", lambda: tmp_path)
    note = NoteDialog("trainers")
    qtbot.addWidget(note)
    kind = QTextDocument.ResourceType.ImageResource.value
    assert note.browser.loadResource(kind, QUrl("beside.png")).width() == PICTURE_WIDTH
    for name in ("../beside.png", str(tmp_path / "beside.png"), f"file://{notes}/beside.png", "gone.png"):
        assert note.browser.loadResource(kind, QUrl(name)) is None
