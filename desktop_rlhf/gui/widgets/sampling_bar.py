"""What is to be written next: how many completions, by which adapter, and how long."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSettings, Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from desktop_rlhf.gui.widgets.controls import choice, fill
from desktop_rlhf.gui.widgets.spin_boxes import BriefSpinBox
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.adapters import Adapter

COUNTS = (("two", 2), ("three", 3), ("four", 4), ("five", 5), ("six", 6))
USUAL_LONGEST = 96  # tokens


class SamplingBar(QWidget):
    """One line of choices, which are kept for each project.

    Args:
        project_id: whose choices are to be found again.
        adapters:   what there is to choose beside the base model.

    Signals:
        changed: a choice was made.
        done:    the keyboard is free again.
    """

    changed = Signal()
    done = Signal()

    def __init__(self, project_id: str, adapters: Sequence[Adapter], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._place = f"label/{project_id}"
        self._count = choice("label-count", "Completions shown at once", COUNTS)
        self._adapter = choice("label-adapter", "Adapter to sample from")
        self._adapter.setMaximumWidth(260)
        self._adapter.setToolTip("What this one wrote is shown first; what waits of others comes after it")
        self._longest = BriefSpinBox()
        self._longest.setObjectName("label-longest")
        self._longest.setAccessibleName("Longest completion, in tokens")
        self._longest.setRange(8, 1024)
        self._longest.setValue(USUAL_LONGEST)
        self._longest.setSuffix(" tokens")
        self.offer(adapters)
        self._recall()
        self._count.currentIndexChanged.connect(self._keep)
        self._adapter.currentIndexChanged.connect(self._keep)
        self._longest.valueChanged.connect(self._keep)
        self._longest.done.connect(self.done)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for title, widget in (("Show", self._count), ("from", self._adapter), ("up to", self._longest)):
            row.addWidget(label(title, role="hint", wrap=False))
            row.addWidget(widget)
        row.addWidget(label("(for what is written next)", role="hint", wrap=False))
        row.addStretch(1)

    @property
    def count(self) -> int:
        """Completions for each prompt."""
        return int(self._count.currentData())

    @property
    def adapter_id(self) -> str | None:
        """None is the base model."""
        chosen = self._adapter.currentData()
        return None if chosen is None else str(chosen)

    @property
    def longest(self) -> int:
        """Tokens after which a completion is cut."""
        return self._longest.value()

    def offer(self, adapters: Sequence[Adapter]) -> None:
        """Offer these adapters beside the base model; what was chosen stays while it is there."""
        fill(self._adapter, [("the base model", None), *((adapter.name, adapter.id) for adapter in adapters)])

    def choose_adapter(self, adapter_id: str) -> None:
        """Choose one that is offered."""
        self._adapter.setCurrentIndex(self._adapter.findData(adapter_id))

    def _keep(self) -> None:
        kept = QSettings()
        kept.setValue(f"{self._place}/count", self.count)
        kept.setValue(f"{self._place}/adapter", self.adapter_id or "")
        kept.setValue(f"{self._place}/longest", self.longest)
        self.changed.emit()

    def _recall(self) -> None:
        """Choose what was kept, where that can still be chosen."""
        kept = QSettings()
        place = self._count.findData(_whole(kept.value(f"{self._place}/count")))
        self._count.setCurrentIndex(max(0, place))
        adapter = self._adapter.findData(kept.value(f"{self._place}/adapter") or None)
        self._adapter.setCurrentIndex(max(0, adapter))
        self._longest.setValue(_whole(kept.value(f"{self._place}/longest")) or USUAL_LONGEST)


def _whole(kept: object) -> int:
    """A number as it was kept, which in some formats is text; 0 for whatever else stands there."""
    return int(str(kept)) if str(kept).isdecimal() else 0
