"""Every run and every adapter, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFormLayout,
    QSplitter,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.curves.held_out import HeldOutCard
from desktop_rlhf.gui.curves.live_run import LiveRun
from desktop_rlhf.gui.curves.wording import NOTHING_KEPT, STATUS_WORDS, counted, listed, moment, number
from desktop_rlhf.gui.forms.page_frame import Folded, card, row, scrolling_column
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import Fact, label
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.runs import Run
from desktop_rlhf.runs.learned import Learned
from desktop_rlhf.workbench.algorithms import TRAINABLE
from desktop_rlhf.workbench.messages import News
from desktop_rlhf.workbench.project import Project

SPECS = {spec.name: spec for spec in TRAINABLE}
RUN_COLUMNS = ("What", "Adapter", "Status", "Started", "From", "Judgements")
ADAPTER_COLUMNS = ("Name", "Kind", "From", "Made by", "Judgements", "Created")
WIDEST_COLUMN = 160  # pixels; what has no room ends in …, and stands whole in the tooltip
BASE = "the base"
_NameOf: TypeAlias = Callable[[str | None], str]


class RunsPage(QWidget):
    """Tables on the left, the run behind what is selected on the right.

    Signals:
        go_to:       the name of the page that an empty state or a choice leads to.
        sample_from: the id of the policy adapter to sample from next.
        resume_run:  the id of a run that is to go on.
        rename:      the id of an adapter that is to be called something else.
        export:      the id of an adapter whose folder is to be copied out.
    """

    go_to = Signal(str)
    sample_from = Signal(str)
    resume_run = Signal(str)
    rename = Signal(str)
    export = Signal(str)

    def __init__(self, project: Project, engine: EngineHandle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self._adapters: dict[str, Adapter] = {}
        self._adapter_id: str | None = None
        self.runs = _table("runs-table", "Runs", RUN_COLUMNS)
        self.adapters = _table("adapters-table", "Adapters", ADAPTER_COLUMNS)
        self.runs.itemSelectionChanged.connect(self._run_selected)
        self.adapters.itemSelectionChanged.connect(self._adapter_selected)
        self.tables = QTabWidget()
        self.tables.addTab(self.runs, "Runs")
        self.tables.addTab(self.adapters, "Adapters")

        self.empty = label("Runs appear here as soon as one was started.", "hint", name="runs-empty")
        self.to_train = button("Train a reward model", "runs-to-reward")
        self.to_train.clicked.connect(self._go_to_reward)
        self._split = QSplitter(Qt.Orientation.Horizontal)
        self._split.setChildrenCollapsible(False)
        self._split.addWidget(self.tables)
        self._split.addWidget(self._build_details(engine))
        self._split.setSizes([440, 560])
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 16, 20, 12)
        column.setSpacing(10)
        column.addWidget(label("Runs", "title", wrap=False))
        column.addWidget(self.empty)
        column.addLayout(row(self.to_train))
        column.addWidget(self._split, 1)
        column.addStretch(0)
        self.refresh()

    def _build_details(self, engine: EngineHandle) -> QWidget:
        details = QWidget()
        details.setMinimumWidth(380)
        column = scrolling_column(details)
        column.setContentsMargins(12, 0, 8, 8)
        self.heading = label(role="heading", name="run-heading")
        self.chain = label(role="hint", name="run-chain")
        self.sample = button("Sample from this adapter", "runs-sample", kind="primary")
        self.sample.setToolTip("Go to the Label page; what is written next comes from this adapter")
        self.sample.clicked.connect(self._sample)
        self.rename_adapter = button("Rename adapter…", "runs-rename", tip="Call it something else, everywhere")
        self.rename_adapter.clicked.connect(self._rename)
        self.export_adapter = button("Export adapter…", "runs-export")
        self.export_adapter.setToolTip("Copy its folder, which PEFT loads onto the base model, to where you say")
        self.export_adapter.clicked.connect(self._export)
        self.held_out = HeldOutCard()
        self.curves = LiveRun(engine)
        self.curves.resumes.connect(self.resume_run)
        column.addWidget(self.heading)
        column.addWidget(self.chain)
        column.addLayout(row(self.sample))
        column.addLayout(row(self.rename_adapter, self.export_adapter))
        column.addWidget(self.held_out)
        column.addWidget(self.curves)
        self._facts: dict[str, QFormLayout] = {}
        for title, name in (("Settings", "settings"), ("Measured at the end", "report"), ("Provenance", "provenance")):
            fold = Folded(title, f"run-{name}")
            self._facts[name] = QFormLayout()
            fold.content.addLayout(self._facts[name])
            frame, inside = card()
            inside.addWidget(fold)
            column.addWidget(frame)
        column.addStretch(1)
        self._details = details
        return details

    def refresh(self) -> None:
        """Read runs and adapters again; the selection stays where it is."""
        runs = self._project.runs()
        adapters = self._project.adapters()
        self._adapters = {adapter.id: adapter for adapter in adapters}
        made = {adapter.run_id: adapter for adapter in reversed(adapters)}  # the newest, of a run that went on
        by_id = {run.id: run for run in runs}
        _fill(self.runs, [(run.id, self._run_cells(run, made.get(run.id))) for run in runs])
        _fill(self.adapters, [(a.id, _adapter_cells(a, by_id.get(a.run_id), self._name)) for a in adapters])
        self.empty.setVisible(not runs)
        self.to_train.setVisible(not runs)
        self._split.setVisible(bool(runs))
        if runs and not (self.runs.selectedItems() or self.adapters.selectedItems()):
            self.runs.selectRow(0)
        elif runs and self.curves.run_id in by_id:
            self._show_run(by_id[self.curves.run_id])

    def take_news(self, news: News) -> None:
        """Nothing is live here; ``refresh`` reads what a job left behind."""

    def _name(self, adapter_id: str | None) -> str:
        if adapter_id is None:
            return BASE
        adapter = self._adapters.get(adapter_id)
        return adapter.name if adapter else "an adapter that is gone"

    def _run_cells(self, run: Run, adapter: Adapter | None) -> tuple[str, ...]:
        spec = SPECS.get(run.algorithm)
        return (
            spec.title if spec else run.algorithm,
            adapter.name if adapter else "–",
            self._status(run),
            moment(run.created_at),
            self._name(run.parent_adapter_id),
            _judgements(run),
        )

    def _status(self, run: Run) -> str:
        nothing = NOTHING_KEPT.get(run.status)
        return nothing if nothing and not self._project.kept(run.id) else STATUS_WORDS[run.status]

    def _run_selected(self) -> None:
        run_id = _selected(self.runs)
        if run_id is None:
            return
        with QSignalBlocker(self.adapters):
            self.adapters.clearSelection()
        self._adapter_id = next((a.id for a in self._adapters.values() if a.run_id == run_id), None)
        self._show_run(self._project.run(run_id))

    def _adapter_selected(self) -> None:
        adapter_id = _selected(self.adapters)
        if adapter_id is None:
            return
        with QSignalBlocker(self.runs):
            self.runs.clearSelection()
        self._adapter_id = adapter_id
        self._show_run(self._project.run(self._adapters[adapter_id].run_id))

    def _show_run(self, run: Run) -> None:
        spec = SPECS.get(run.algorithm)
        adapter = self._adapters.get(self._adapter_id or "")
        title = spec.title if spec else run.algorithm
        self.heading.setText(f"{title}, {self._status(run)}, {moment(run.created_at)}")
        self.chain.setText(self._chain(run, adapter))
        self.sample.setVisible(adapter is not None and adapter.kind is AdapterKind.POLICY)
        self.rename_adapter.setVisible(adapter is not None)
        self.export_adapter.setVisible(adapter is not None)
        self.held_out.show_report(run.report)
        self.curves.setVisible(spec is not None)
        if spec is not None:
            self.curves.show_stored(self._project, run, spec)
        measured = {name: value for name, value in run.report.items() if not isinstance(value, list | tuple)}
        for name, facts in (("settings", run.settings), ("report", measured), ("provenance", run.provenance)):
            form = self._facts[name]
            while form.rowCount():
                form.removeRow(0)
            for key, value in facts.items():
                title = key.replace("_", " ")
                fact = Fact(_written(value), title)
                fact.setObjectName(f"fact-{key}")
                form.addRow(label(title, "hint", wrap=False), fact)

    def _chain(self, run: Run, adapter: Adapter | None) -> str:
        """From the base to the adapter, and what it learned from."""
        steps = [adapter.name if adapter else "no adapter"]
        parent_id = run.parent_adapter_id
        while parent_id is not None and parent_id in self._adapters and len(steps) < 50:
            steps.append(self._adapters[parent_id].name)
            parent_id = self._adapters[parent_id].parent_id
        steps.append(self._name(parent_id))
        count = Learned.read(run.report)
        sources = self._project.sources(run)
        kinds = (
            (sources.comparisons, "comparison"),
            (sources.demonstrations, "demonstration"),
            (sources.judgements, "judged completion"),
        )
        learned = [counted(n, name) for n, name in kinds if n] if count is None or not count.left_out else [count.share]
        if run.reward_adapter_id:
            learned.append(f"the reward model “{self._name(run.reward_adapter_id)}”")
        source = f"\nLearned from {listed(learned)}." if learned else ""
        return " → ".join(reversed(steps)) + source

    def _sample(self) -> None:
        if self._adapter_id is not None:
            self.sample_from.emit(self._adapter_id)
            self.go_to.emit("label")

    def _rename(self) -> None:
        if self._adapter_id is not None:
            self.rename.emit(self._adapter_id)

    def _export(self) -> None:
        if self._adapter_id is not None:
            self.export.emit(self._adapter_id)

    def _go_to_reward(self) -> None:
        self.go_to.emit("reward")


def _judgements(run: Run) -> str:
    """How many it learned from; while it runs, those that there are."""
    there = sum(run.judgements.values())
    count = Learned.read(run.report) or Learned(there)
    return f"{count.kept:,}" if there else "–"


def _adapter_cells(adapter: Adapter, run: Run | None, name_of: _NameOf) -> tuple[str, ...]:
    spec = SPECS.get(run.algorithm) if run else None
    return (
        adapter.name,
        adapter.kind.value,
        name_of(adapter.parent_id),
        spec.title if spec else "–",
        _judgements(run) if run else "–",
        moment(adapter.created_at),
    )


def _table(name: str, says: str, columns: Sequence[str]) -> QTableWidget:
    table = QTableWidget(0, len(columns))
    table.setObjectName(name)
    table.setAccessibleName(says)
    table.setHorizontalHeaderLabels(list(columns))
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setTabKeyNavigation(False)
    table.setWordWrap(False)
    table.setShowGrid(False)
    table.setAlternatingRowColors(True)
    table.verticalHeader().hide()
    header = table.horizontalHeader()
    header.setStretchLastSection(True)
    header.setHighlightSections(False)
    table.setMinimumWidth(260)
    return table


def _fill(table: QTableWidget, rows: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Show rows of (id, cells), keeping the one that was selected, without a signal. What stands there stays."""
    chosen = _selected(table)
    with QSignalBlocker(table):
        table.clearSelection()
        table.setRowCount(len(rows))
        for i, (row_id, cells) in enumerate(rows):
            for j, text in enumerate(cells):
                item = table.item(i, j)
                if item is None:
                    item = QTableWidgetItem()
                    table.setItem(i, j, item)
                if (item.text(), item.data(Qt.ItemDataRole.UserRole)) != (text, row_id):
                    item.setText(text)
                    item.setToolTip(text)
                    item.setData(Qt.ItemDataRole.UserRole, row_id)
            if row_id == chosen:
                table.selectRow(i)
    table.resizeColumnsToContents()  # once: a header that does it by itself measures at every cell
    for column in range(table.columnCount() - 1):  # the last one has what room is left
        table.setColumnWidth(column, min(table.columnWidth(column), WIDEST_COLUMN))


def _selected(table: QTableWidget) -> str | None:
    items = table.selectedItems()
    return str(items[0].data(Qt.ItemDataRole.UserRole)) if items else None


def _written(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_written(inner)}" for key, inner in value.items()) or "none"
    return str(value)
