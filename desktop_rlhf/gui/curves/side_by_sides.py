"""The side by sides so far, and what each has told."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from desktop_rlhf.gui.curves.wording import counted, interval_words, moment, percent
from desktop_rlhf.gui.forms.page_frame import card, empty
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.verdicts import SideBySide
from desktop_rlhf.workbench.project import Project

BASE = "The base model"


def side_names(project: Project, which: SideBySide) -> tuple[str, str]:
    """What the candidate and the baseline are called."""
    names = {adapter.id: adapter.name for adapter in project.adapters()}
    candidate, baseline = which.candidate_id, which.baseline_id
    return names.get(candidate or "", BASE.lower()), names.get(baseline or "", BASE.lower())


class SideBySideList(QWidget):
    """Newest first, each with the button that opens it; hidden while there is none.

    Signals:
        opened: the SideBySide to go on with or to look at.
    """

    opened = Signal(object)

    def __init__(self, project: Project, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project = project
        frame, inside = card("Side by sides so far")
        self._rows = QVBoxLayout()
        inside.addLayout(self._rows)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(frame)

    def refresh(self) -> None:
        """Read them again."""
        empty(self._rows)
        past = self._project.side_by_sides()
        self.setVisible(bool(past))
        for one in past:
            self._rows.addWidget(self._row(one))

    def _row(self, which: SideBySide) -> QWidget:
        candidate, baseline = side_names(self._project, which)
        judged, total = self._project.win_rate(which.id).interval, which.planned
        finished = judged.n >= total
        if finished:
            result = f"{percent(judged.value)} ({interval_words(judged, 'matches')})"
        else:
            result = f"{judged.n} of {counted(total, 'match', 'matches')} judged"
        words = label(f"“{candidate}” against “{baseline}” · {moment(which.created_at)}\n{result}")
        open_it = button("Show" if finished else "Continue", f"compare-open-{which.id}")
        open_it.setAccessibleName(f"{open_it.text()} {candidate} against {baseline}")
        open_it.clicked.connect(partial(self._open, which))
        line = QWidget()
        layout = QHBoxLayout(line)
        layout.setContentsMargins(0, 2, 0, 2)
        layout.addWidget(words, 1)
        layout.addWidget(open_it)
        return line

    def _open(self, which: SideBySide, _checked: bool = False) -> None:
        self.opened.emit(which)
