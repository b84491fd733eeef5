"""The Prompts page: what the model is asked, and what of it may be trained on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QStackedWidget,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from desktop_rlhf.gui.bridge.awaited import BrokenOffError, Watch, awaited
from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.curves.wording import counted, listed
from desktop_rlhf.gui.widgets.banner import Banner
from desktop_rlhf.gui.widgets.centred import centred
from desktop_rlhf.gui.widgets.controls import button, choice, fill
from desktop_rlhf.gui.widgets.prompt_text import prompt_text
from desktop_rlhf.gui.widgets.text import ReadingText, Toast, label
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.workbench.messages import News
from desktop_rlhf.workbench.project import Project
from desktop_rlhf.workbench.views import ImportReport

READABLE = "Prompts (*.txt *.csv *.jsonl);;All files (*)"
SPLITS = {Split.TRAIN: "training", Split.HELD_OUT: "held out"}
_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()


class PromptTable(QAbstractTableModel):
    """Prompts as rows: the last user turn on one line, tags, split and source."""

    HEADS = ("Prompt", "Tags", "Used for", "From")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._prompts: list[Prompt] = []

    def show_prompts(self, prompts: list[Prompt]) -> None:
        """Replace the rows."""
        self.beginResetModel()
        self._prompts = prompts
        self.endResetModel()

    def prompt(self, row: int) -> Prompt | None:
        """The prompt of a row, None where there is no such row."""
        return self._prompts[row] if 0 <= row < len(self._prompts) else None

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self._prompts)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.HEADS)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> str | None:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        prompt = self._prompts[index.row()]
        line = " ".join(prompt.text.split())
        return (line, ", ".join(prompt.tags), SPLITS[prompt.split], prompt.source)[index.column()]

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> str | None:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self.HEADS[section]
        return None


class PromptsPage(QWidget):
    """Lists, searches and imports prompts.

    Signals:
        go_to: the page that comes next.
    """

    go_to = Signal(str)

    def __init__(self, project: Project, engine: EngineHandle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("prompts-page")
        self._project = project
        self._all: list[Prompt] = []
        self._banner = Banner("prompts-banner")
        self._count = label(role="hint", name="prompts-count", wrap=False)
        self._left_out = label(role="hint", name="prompts-left-out")
        self._left_out.hide()
        self._single = label(role="hint", name="prompts-single", wrap=False)
        self._states = QStackedWidget()
        self._states.addWidget(self._build_list())
        self._states.addWidget(self._build_empty())
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 14, 20, 12)
        column.setSpacing(10)
        column.addLayout(self._build_head())
        column.addWidget(self._banner)
        column.addWidget(self._left_out)
        column.addWidget(self._states, 1)

    def _build_head(self) -> QHBoxLayout:
        self._toast = Toast("prompts-toast")
        self._toast.setWordWrap(True)  # an import of every kind is a long line, and must not widen the window
        held_out = button("Import held-out prompts…", "import-held-out", tip="For comparing only: never trained on")
        held_out.clicked.connect(lambda: self.choose_file(Split.HELD_OUT))
        train = button("Import prompts…", "import-train", tip="TXT, CSV or JSONL; with completions too (Ctrl+I)")
        train.clicked.connect(lambda: self.choose_file())
        row = QHBoxLayout()
        row.addWidget(label("Prompts", role="title", wrap=False))
        row.addSpacing(12)
        row.addWidget(self._toast, 1)
        row.addWidget(held_out)
        row.addWidget(train)
        return row

    def _build_list(self) -> QWidget:
        self._search = QLineEdit()
        self._search.setObjectName("prompts-search")
        self._search.setPlaceholderText("Search")
        self._search.setAccessibleName("Search prompts")
        self._search.setClearButtonEnabled(True)
        self._split = choice("prompts-split", "Show prompts used for", [("Any use", None), *_split_items()])
        self._tag = choice("prompts-tag", "Show prompts with the tag", [("Any tag", None)])
        self._search.textChanged.connect(self._filter)
        self._split.currentIndexChanged.connect(self._filter)
        self._tag.currentIndexChanged.connect(self._filter)
        start = button("Start labelling", "prompts-start", kind="primary")
        start.clicked.connect(lambda: self.go_to.emit("label"))
        bar = QHBoxLayout()
        bar.addWidget(self._search, 1)
        for widget in (self._split, self._tag, self._count, start):
            bar.addWidget(widget)

        self._table = PromptTable(self)
        self._view = QTableView()
        self._view.setObjectName("prompts-table")
        self._view.setAccessibleName("Prompts")
        self._view.setModel(self._table)
        self._view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._view.setAlternatingRowColors(True)
        self._view.setShowGrid(False)
        self._view.setWordWrap(False)
        self._view.setTabKeyNavigation(False)
        self._view.verticalHeader().hide()
        self._view.verticalHeader().setDefaultSectionSize(34)
        heads = self._view.horizontalHeader()
        heads.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for section, width in ((1, 150), (2, 100), (3, 150)):
            heads.resizeSection(section, width)
        heads.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self._view.selectionModel().currentRowChanged.connect(self._show_whole)
        self._whole = ReadingText(most_lines=6)
        self._whole.setObjectName("prompts-whole")
        self._whole.setAccessibleName("The whole prompt")
        self._whole.hide()
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(bar)
        column.addWidget(self._view, 1)
        column.addWidget(self._whole)
        column.addWidget(self._single)
        return page

    def _build_empty(self) -> QWidget:
        load = button("Import prompts…", "prompts-empty-import", kind="primary")
        load.clicked.connect(lambda: self.choose_file())
        return centred(
            label("Here stands what you will ask the model.", role="heading"),
            label("A text file with one prompt a line will do; so will CSV, or JSONL with conversations.", role="hint"),
            label("A completion that stands beside a prompt is a demonstration to learn from.", role="hint"),
            load,
        )

    def refresh(self) -> None:
        """Read the prompts again, where others came; search and filters stay."""
        counts = self._project.label_counts()
        single = _counted(counts.demonstrations, counts.good + counts.bad)
        self._single.setText(f"To learn from: {listed(single)}." if single else "")
        self._single.setVisible(bool(single))
        if len(self._all) == self._project.prompt_count > 0:
            return
        self._all = self._project.prompts()
        tags = sorted({tag for prompt in self._all for tag in prompt.tags})
        fill(self._tag, [("Any tag", None), *((tag, tag) for tag in tags)])
        self._tag.setVisible(bool(tags))
        self._states.setCurrentIndex(0 if self._all else 1)
        self._filter()

    def take_news(self, news: News) -> None:
        """Nothing the engine does changes the prompts."""

    def choose_file(self, split: Split = Split.TRAIN) -> None:
        """Ask for a file and import it."""
        what = "Import held-out prompts" if split is Split.HELD_OUT else "Import prompts"
        chosen, _ = QFileDialog.getOpenFileName(self, what, "", READABLE)
        if chosen:
            self.import_file(Path(chosen), split)

    def import_file(self, path: Path, split: Split = Split.TRAIN) -> None:
        """Import a file and say what it brought and what of it was left out, or why nothing was taken."""
        self._left_out.hide()
        watch = Watch()
        take = partial(self._project.import_file, path, split, watch)
        try:
            report = awaited(self, f"Importing “{path.name}”…", take, watch)
        except BrokenOffError:
            self._toast.say("The import was broken off; nothing of it was taken.")
            return
        except WorldError as error:
            self._banner.show_error(error)
            return
        self._banner.hide()
        self._toast.say(_what_came(report))
        self._left_out.setText(report.omission)
        self._left_out.setVisible(bool(report.omission))
        self.refresh()

    def _filter(self) -> None:
        words = self._search.text().casefold().split()
        split, tag = self._split.currentData(), self._tag.currentData()
        found = [
            prompt
            for prompt in self._all
            if (split is None or prompt.split == split)
            and (tag is None or tag in prompt.tags)
            and all(word in prompt.text.casefold() for word in words)
        ]
        self._table.show_prompts(found)
        self._whole.hide()
        held_out = sum(prompt.split is Split.HELD_OUT for prompt in self._all)
        shown = f"{len(found):,} shown of " if len(found) < len(self._all) else ""
        self._count.setText(f"{shown}{counted(len(self._all), 'prompt')} · {held_out:,} held out")

    def _show_whole(self, index: QModelIndex) -> None:
        prompt = self._table.prompt(index.row())
        self._whole.setVisible(prompt is not None)
        if prompt is not None:
            self._whole.setPlainText(prompt_text(prompt))


def _split_items() -> list[tuple[str, object]]:
    return [("For training", Split.TRAIN), ("Held out", Split.HELD_OUT)]


def _counted(demonstrations: int, judgements: int) -> list[str]:
    """What was said of completions by themselves, in words, as far as there is any."""
    counts = ((demonstrations, "demonstration"), (judgements, "judged completion"))
    return [counted(count, name) for count, name in counts if count]


def _what_came(report: ImportReport) -> str:
    """An import in one line."""
    parts = [counted(report.prompts, "new prompt")]
    if report.duplicates:
        parts.append(f"{report.duplicates:,} that stood here already")
    if report.comparisons:
        parts.append(counted(report.comparisons, "comparison"))
    parts += _counted(report.demonstrations, report.judgements)
    return f"Imported: {', '.join(parts)}."
