"""The window: a start page until a project is open, then its workspace; menus, geometry, and leaving cleanly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QSettings, Qt, Signal
from PySide6.QtGui import QAction, QActionGroup, QCloseEvent, QKeySequence
from PySide6.QtWidgets import QApplication, QFileDialog, QMainWindow, QMenu, QStackedWidget, QVBoxLayout, QWidget

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.bridge.engine_thread import CLOSE_WITHIN_S, EngineHandle, MakeEngine
from desktop_rlhf.gui.bridge.errand import Errand
from desktop_rlhf.gui.notes import NOTES, NoteDialog, show_about
from desktop_rlhf.gui.pages.start import NewProject, NewProjectDialog, StartPage, remember_project
from desktop_rlhf.gui.widgets.banner import Banner
from desktop_rlhf.gui.widgets.icons import app_icon
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.gui.workspace import TITLES, Workspace
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.settings import projects_path
from desktop_rlhf.workbench.project import Project

PROGRAM = "desktop_rlhf"


class MainWindow(QMainWindow):
    """One window, at most one project.

    Args:
        make_engine: builds the engine of a project; None is the real one.

    Signals:
        model_loaded: an engine has its libraries and its base model in memory.
        failed:       something unexpected was raised off the GUI thread.
    """

    model_loaded = Signal()
    failed = Signal(object)

    def __init__(self, make_engine: MakeEngine | None = None) -> None:
        super().__init__()
        self.setWindowTitle(PROGRAM)
        self.setWindowIcon(app_icon())
        self.resize(1280, 800)
        self.setMinimumSize(760, 520)
        self._make_engine = make_engine
        self._workspace: Workspace | None = None
        self._errand: Errand | None = None
        self._then: Callable[[], None] | None = None
        self._in_project: list[QAction] = []
        self.left_behind = False
        self._start = StartPage()
        self._start.starter.connect(self.open_starter)
        self._start.new.connect(self.ask_new)
        self._start.open.connect(self.ask_open)
        self._start.recent.connect(self.open_project)
        self._banner = Banner("window-banner")
        self._busy = label(role="heading", name="busy")
        self._busy.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._stack = QStackedWidget()
        self._stack.addWidget(self._start)
        self._stack.addWidget(self._busy)
        home = QWidget()
        column = QVBoxLayout(home)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._banner)
        column.addWidget(self._stack, 1)
        self.setCentralWidget(home)
        self._build_menus()
        self._set_in_project(False)
        geometry = QSettings().value("window/geometry")
        if geometry is not None:
            self.restoreGeometry(geometry)

    @property
    def workspace(self) -> Workspace | None:
        """The open project's, None on the start page."""
        return self._workspace

    # Menus

    def _build_menus(self) -> None:
        file = self.menuBar().addMenu("&File")
        self._add(file, "&New project…", self.ask_new, "Ctrl+N")
        self._add(file, "&Open project…", self.ask_open, "Ctrl+O")
        file.addSeparator()
        self._in_project.append(self._add(file, "&Import prompts…", self._import_prompts, "Ctrl+I"))
        self._in_project.append(self._add(file, "Export &prompts…", partial(self._export, "prompts")))
        self._in_project.append(self._add(file, "Export &comparisons…", partial(self._export, "comparisons"), "Ctrl+E"))
        self._in_project.append(self._add(file, "Export &demonstrations…", partial(self._export, "demonstrations")))
        self._in_project.append(self._add(file, "Export &judgements…", partial(self._export, "judgements")))
        self._in_project.append(self._add(file, "Export &verdicts…", partial(self._export, "verdicts")))
        file.addSeparator()
        self._in_project.append(self._add(file, "C&lose project", self.close_project, "Ctrl+W"))
        self._add(file, "&Quit", self.close, "Ctrl+Q")

        view = self.menuBar().addMenu("&View")
        for number, (name, title) in enumerate(TITLES.items(), start=1):
            self._in_project.append(self._add(view, title, partial(self._show_page, name), f"Ctrl+{number}"))
        view.addSeparator()
        group = QActionGroup(self)
        for name, title in ((theme.SYSTEM, "System"), (theme.LIGHT_NAME, "Light"), (theme.DARK_NAME, "Dark")):
            action = self._add(view, title, partial(self._choose_theme, name))
            action.setObjectName(f"theme-{name}")
            action.setCheckable(True)
            action.setChecked(theme.choice() == name)
            group.addAction(action)

        help_menu = self.menuBar().addMenu("&Help")
        for name, title in NOTES.items():
            self._add(help_menu, title, partial(self.show_note, name))
        help_menu.addSeparator()
        self._add(help_menu, "About &this page", self.show_help, "F1")
        self._add(help_menu, "&About", partial(show_about, self))

    def _add(self, menu: QMenu, text: str, slot: Callable[[], object], keys: str = "") -> QAction:
        action = QAction(text, self)
        if keys:
            action.setShortcut(QKeySequence(keys))
        action.triggered.connect(lambda _=False: slot())
        menu.addAction(action)
        return action

    def _set_in_project(self, inside: bool) -> None:
        for action in self._in_project:
            action.setEnabled(inside)

    def _choose_theme(self, name: str) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.choose(app, name)

    def show_help(self) -> None:
        """Open the note that fits the page that is open."""
        measures = self._workspace is not None and self._workspace.page_name not in ("prompts", "label")
        self.show_note("metrics" if measures else "labelling")

    def show_note(self, name: str) -> None:
        """Open a note of the Help menu."""
        NoteDialog(name, self).show()

    def _import_prompts(self) -> None:
        if self._workspace is not None:
            self._workspace.import_prompts()

    def _export(self, what: str) -> None:
        if self._workspace is not None:
            self._workspace.export(what)

    def _show_page(self, name: str) -> None:
        if self._workspace is not None:
            self._workspace.show_page(name)

    # Projects

    def ask_new(self) -> None:
        """Ask for a new project's particulars and make it."""
        dialog = NewProjectDialog(self)
        if dialog.exec():
            self.make_project(dialog.asked)

    def ask_open(self) -> None:
        """Ask for a project's folder and open it."""
        chosen = QFileDialog.getExistingDirectory(self, "Open project", str(projects_path()))
        if chosen:
            self.open_project(Path(chosen))

    def open_starter(self) -> None:
        """Open the starter project; make it when there is none."""
        path = projects_path() / "starter"
        if path.exists():
            self.open_project(path)
        else:
            self.make_project(NewProject(path, "Starter"))

    def make_project(self, asked: NewProject) -> None:
        """Leave what is open, make a project and open it."""
        self._leave(partial(self._make, asked))

    def open_project(self, path: Path) -> None:
        """Leave what is open and open a project."""
        self._leave(partial(self._open, path))

    def close_project(self) -> None:
        """Leave what is open and go to the start page."""
        self._leave(self._show_start)

    def show_error(self, error: WorldError) -> None:
        """Show an error of the world in place."""
        (self._workspace or self._banner).show_error(error)

    def _make(self, asked: NewProject) -> None:
        def work() -> None:
            Project.create(
                asked.path, name=asked.name, base_model=asked.base_model, starter_prompts=asked.starter_prompts
            ).close()

        self._say_busy("Making the project: the base model is being checked…")
        self._errand = Errand(work, self)
        self._errand.done.connect(partial(self._made, asked.path))

    def _made(self, path: Path, error: BaseException | None) -> None:
        self._errand = None
        if error is None:
            self._open(path)
            return
        self._show_start()
        if isinstance(error, WorldError):
            self._banner.show_error(error)
        else:
            self.failed.emit(error)

    def _open(self, path: Path) -> None:
        self._show_start()
        try:
            project = Project.open(path)
        except WorldError as error:
            self._banner.show_error(error)
            return
        engine = EngineHandle(path, self._make_engine) if self._make_engine else EngineHandle(path)
        self._workspace = Workspace(project, engine)
        self._workspace.model_loaded.connect(self.model_loaded)
        self._workspace.help.connect(self.show_help)
        self._stack.addWidget(self._workspace)
        self._stack.setCurrentWidget(self._workspace)
        self._workspace.show_page(self._workspace.page_name)
        self._banner.hide()
        self._set_in_project(True)
        self.setWindowTitle(f"{project.info.name} · {PROGRAM}")
        remember_project(path)

    def _show_start(self) -> None:
        self._banner.hide()
        self._start.refresh()
        self._stack.setCurrentWidget(self._start)
        self.setWindowTitle(PROGRAM)

    def _say_busy(self, sentence: str) -> None:
        self._banner.hide()
        self._busy.setText(sentence)
        self._stack.setCurrentWidget(self._busy)

    # Leaving

    def _leave(self, then: Callable[[], None]) -> None:
        """Let the engine save what it has, without blocking the window, then do what was asked last."""
        if self._errand is not None:
            return
        if self._workspace is None:
            then()
            return
        waiting = self._then is not None
        self._then = then
        if waiting:
            return
        self._set_in_project(False)
        self._say_busy("Closing the project: the engine saves what it has…")
        engine = self._workspace.engine
        if engine.running:
            engine.ended.connect(self._left)
            engine.shut_down()
        else:
            self._left()

    def _left(self) -> None:
        then, self._then = self._then, None
        if self._workspace is not None:
            self._drop(self._workspace)
        if then is not None:
            then()

    def _drop(self, workspace: Workspace) -> None:
        self._workspace = None
        self._stack.removeWidget(workspace)
        workspace.leave()
        workspace.deleteLater()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Save and end what runs, within a bounded time; ``left_behind`` is set when a thread did not end in it."""
        QSettings().setValue("window/geometry", self.saveGeometry())
        self.hide()
        self._then = None
        if self._errand is not None:
            self._errand.done.disconnect()  # or what it made would be opened behind a window that is gone
        if self._errand is not None and not self._errand.wait(CLOSE_WITHIN_S):
            self.left_behind = True
        if self._workspace is not None:
            if self._workspace.engine.close():
                self._drop(self._workspace)
            else:
                self.left_behind = True
        event.accept()
