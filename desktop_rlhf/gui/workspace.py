"""An open project on the screen: the rail, the pages, the job strip, and the engine behind them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QInputDialog, QStackedWidget, QVBoxLayout, QWidget

from desktop_rlhf.gui.bridge.awaited import awaited
from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.pages.label import LabelPage
from desktop_rlhf.gui.pages.prompts import PromptsPage
from desktop_rlhf.gui.widgets.banner import Banner
from desktop_rlhf.gui.widgets.job_strip import JobStrip
from desktop_rlhf.gui.widgets.rail import Rail
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.workbench.messages import EngineFailed, JobEnded, ModelLoaded, ModelLoading, News
from desktop_rlhf.workbench.project import Project

if TYPE_CHECKING:
    from desktop_rlhf.gui.pages.compare import ComparePage
    from desktop_rlhf.gui.pages.reward import RewardPage
    from desktop_rlhf.gui.pages.runs import RunsPage
    from desktop_rlhf.gui.pages.train import TrainPage

    Page: TypeAlias = PromptsPage | LabelPage | RewardPage | TrainPage | ComparePage | RunsPage

TITLES = {
    "prompts": "Prompts",
    "label": "Label",
    "reward": "Reward model",
    "train": "Train",
    "compare": "Compare",
    "runs": "Runs",
}
NOT_IN_A_FILE_NAME = re.compile(r'[\\/:*?"<>|]')


def _page_type(name: str) -> type[Page]:
    """Those with curves are imported when they are first shown: what draws them takes as long as all the rest."""
    match name:
        case "prompts":
            return PromptsPage
        case "label":
            return LabelPage
        case "reward":
            from desktop_rlhf.gui.pages.reward import RewardPage

            return RewardPage
        case "train":
            from desktop_rlhf.gui.pages.train import TrainPage

            return TrainPage
        case "compare":
            from desktop_rlhf.gui.pages.compare import ComparePage

            return ComparePage
        case "runs":
            from desktop_rlhf.gui.pages.runs import RunsPage

            return RunsPage
    raise KeyError(name)


BEGIN_WITHIN_MS = 300
"""Where nothing is painted, as in a window that is minimised, the engine starts that long after the project opened."""


class Workspace(QWidget):
    """Places the pages of a project and hands each the engine's news.

    The engine starts when the first page was painted. While the system links the model libraries it links nothing else,
    and what paints for the first time has to be linked too: the window would stand still.

    Signals:
        model_loaded: the engine's libraries and the base model are in memory.
        help:         the note that fits the open page is wanted.
    """

    model_loaded = Signal()
    help = Signal()

    def __init__(self, project: Project, engine: EngineHandle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.project = project
        self.engine = engine
        engine.setParent(self)
        self._rail = Rail(TITLES)
        self._rail.chosen.connect(self.show_page)
        self._rail.help.connect(self.help)
        self._banner = Banner("engine-banner", "Start the engine again")
        self._banner.retry.connect(engine.start)
        self._notice = Banner("workspace-banner")  # of what the engine has no part in
        self._stack = QStackedWidget()
        self._pages: dict[str, Page] = {}
        self.strip = JobStrip()
        self.strip.pause.connect(engine.pause)
        self.strip.resume.connect(engine.resume)
        self.strip.stop.connect(engine.stop)
        engine.news.connect(self.strip.take_news)
        engine.news.connect(self._take_news)

        right = QVBoxLayout()
        right.setSpacing(0)
        right.addWidget(self._banner)
        right.addWidget(self._notice)
        right.addWidget(self._stack, 1)
        row = QHBoxLayout()
        row.setSpacing(0)
        row.addWidget(self._rail)
        row.addLayout(right, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row, 1)
        column.addWidget(self.strip)
        self._painted = self._waited = False
        self._until_begin = QTimer(self, singleShot=True)
        self._until_begin.timeout.connect(self._begin)
        self._until_begin.start()
        self.page("label")  # it has the engine write ahead, whatever page is open
        self.show_page("label" if project.prompt_count else "prompts")

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._painted:
            self._painted = True
            self._until_begin.start(0)  # once all of it is painted

    def _begin(self) -> None:
        """Start the engine, or wait for the first paint from when the window has its next turn."""
        if self._painted or self._waited:
            self.engine.start()
        else:
            self._waited = True
            self._until_begin.start(BEGIN_WITHIN_MS)

    @property
    def page_name(self) -> str:
        """The page that is open."""
        return next(name for name, page in self._pages.items() if page is self._stack.currentWidget())

    def page(self, name: str) -> Page:
        """The page of that name. It is built when it is first asked for: all of them at once would hold the window."""
        if name not in self._pages:
            page = self._pages[name] = _page_type(name)(self.project, self.engine)
            self._stack.addWidget(page)
            page.go_to.connect(self.show_page)
            self.engine.news.connect(page.take_news)
            if name == "runs":
                runs = cast("RunsPage", page)
                runs.sample_from.connect(self._sample_from)
                runs.resume_run.connect(self._resume_run)
                runs.rename.connect(self._rename_adapter)
                runs.export.connect(self._export_adapter)
        return self._pages[name]

    def show_page(self, name: str) -> None:
        """Open a page and have it read the store."""
        page = self.page(name)
        self._rail.mark(name)
        self._stack.setCurrentWidget(page)
        self._notice.hide()  # it was of what the person did before
        page.refresh()
        page.setFocus()

    def import_prompts(self) -> None:
        """Open the Prompts page and ask for a file."""
        self.show_page("prompts")
        prompts = self.page("prompts")
        assert isinstance(prompts, PromptsPage)
        prompts.choose_file()

    def export(self, what: str) -> None:
        """Ask where to, and write the project's ``prompts``, or what else ``Project.export`` knows, there."""
        proposed = str(self.project.path.parent / f"{self.project.info.name} {what}.jsonl")
        chosen, _ = QFileDialog.getSaveFileName(self, f"Export {what}", proposed, "JSON Lines (*.jsonl);;All files (*)")
        if not chosen:
            return
        path = Path(chosen)

        def write() -> str:
            written = awaited(self, f"Exporting {what}…", partial(self.project.export, what, path))
            return f"Wrote {written:,} {what} to {path.name}."

        self._try(write)

    def _rename_adapter(self, adapter_id: str) -> None:
        """Ask for an adapter's new name, and give it."""
        name, given = QInputDialog.getText(
            self, "Rename adapter", "Its new name", text=self.project.adapter(adapter_id).name
        )
        if not given:
            return

        def rename() -> str:
            self.project.rename_adapter(adapter_id, name)
            return "Renamed the adapter."

        self._try(rename)
        self.page("runs").refresh()

    def _export_adapter(self, adapter_id: str) -> None:
        """Ask where to, and copy an adapter's folder there."""
        name = self.project.adapter(adapter_id).name
        proposed = str(self.project.path.parent / NOT_IN_A_FILE_NAME.sub("-", name))
        refuses = QFileDialog.Option.DontConfirmOverwrite  # what is there already is not written over
        chosen, _ = QFileDialog.getSaveFileName(self, "Export adapter to a new folder", proposed, options=refuses)
        if not chosen:
            return
        path = Path(chosen)

        def copy() -> str:
            self.project.export_adapter(adapter_id, path)
            return f"Wrote the adapter to the folder {path.name}."

        self._try(copy)

    def _try(self, work: Callable[[], str]) -> None:
        """Do what gives a sentence of what was done, and say that, or why it could not be done."""
        try:
            said = work()
        except WorldError as error:
            self._notice.show_error(error)
            return
        self._notice.hide()
        self.strip.toast.say(said)

    def leave(self) -> None:
        """Close the project, which nothing asks afterwards."""
        from desktop_rlhf.gui.curves.reader import CurveReader  # numpy, which the first paint does not wait for

        self._until_begin.stop()
        for reader in self.findChildren(CurveReader):
            reader.stop()
        self.project.close()

    def show_error(self, error: WorldError) -> None:
        """Show an error that no page showed."""
        self._notice.show_error(error)

    def _sample_from(self, adapter_id: str) -> None:
        label = self.page("label")
        assert isinstance(label, LabelPage)
        label.sample_from(adapter_id)

    def _resume_run(self, run_id: str) -> None:
        """On the page where such runs are started."""
        name = "reward" if self.project.run(run_id).algorithm == RewardSpec.name else "train"
        page = cast("RewardPage | TrainPage", self.page(name))
        if page.run.busy:
            self.strip.toast.say("Another run is under way. Resume this one when it has ended.")
            return
        page.resume_run(run_id)
        self.show_page(name)

    def _take_news(self, news: News) -> None:
        match news:
            case ModelLoading():
                self._banner.hide()
            case ModelLoaded():
                self.model_loaded.emit()
            case EngineFailed(reason=reason, next_step=next_step, traceback=report):
                self._banner.say(reason, next_step, report)
            case JobEnded():
                self._pages[self.page_name].refresh()
            case _:
                pass
