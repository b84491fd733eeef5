"""The settings of an algorithm as a form, made from its spec alone."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from desktop_rlhf.gui.forms.number_edit import NumberEdit, tidied, written
from desktop_rlhf.gui.forms.page_frame import Folded
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.spin_boxes import CalmSpinBox
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.errors import SpecError
from desktop_rlhf.runs.spec import AlgorithmSpec, KnownSetting, Value, settings_of, with_settings

FEW_CHANGES = 3  # have room on one line with their names
SPIN_MAXIMUM = 2**31 - 1
SHORT_FOR = {
    "lora": "LoRA",
    "kl": "KL",
    "ppo": "PPO",
    "rpo": "RPO",
    "simpo": "SimPO",
    "eos": "EOS",
    "vf": "value loss",
    "coef": "coefficient",
    "lam": "lambda",
}


class CalmComboBox(QComboBox):
    """Leaves the wheel to the page until a person is in the field."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


def titled(name: str) -> str:
    """A field's name as a label: ``learning_rate`` is “Learning rate”."""
    words = " ".join(SHORT_FOR.get(word, word) for word in name.split("_"))
    return words[:1].upper() + words[1:]


class _Field:
    """One row: the label, the editor with its unit, what the field does, and what is wrong with it."""

    def __init__(self, known: KnownSetting, form: SpecForm) -> None:
        self.known = known
        about = known.about
        default = known.default if isinstance(known.default, str | bool) else written(known.default)
        source = f", as in {about.source}" if about.source else ""
        tip = f"{about.help} Default: {default}{source}."
        self.label = QLabel(titled(known.name))
        self.editor = self._make_editor(form)
        self.editor.setObjectName(f"setting-{known.name}")
        self.editor.setAccessibleName(titled(known.name))
        self.editor.setAccessibleDescription(tip)
        self.editor.setToolTip(tip)
        self.label.setToolTip(tip)
        self.label.setBuddy(self.editor)
        self.unit = label(about.unit, "hint", wrap=False)
        self.help = label(about.help, "hint")
        self.error = label(role="error", name=f"error-{known.name}")
        self.error.hide()

    def _make_editor(self, form: SpecForm) -> QWidget:
        known, changed = self.known, form.check
        if known.type is bool:
            box = QCheckBox()
            box.toggled.connect(changed)
            return box
        if known.about.choices:
            combo = CalmComboBox()
            combo.addItems(list(known.about.choices))
            combo.currentIndexChanged.connect(changed)
            return combo
        if known.type is int:
            spin = CalmSpinBox()
            low, high = known.about.minimum, known.about.maximum
            spin.setMinimum(-SPIN_MAXIMUM if low is None else int(low))
            spin.setMaximum(SPIN_MAXIMUM if high is None else min(int(high), SPIN_MAXIMUM))
            spin.setMaximumWidth(160)
            spin.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            spin.valueChanged.connect(changed)
            return spin
        line = NumberEdit(float(known.default)) if known.type is float else QLineEdit()
        line.textChanged.connect(changed)
        return line

    def read(self) -> Value:
        """As it stands; a number's text is not parsed yet."""
        if isinstance(self.editor, QCheckBox):
            return self.editor.isChecked()
        if isinstance(self.editor, QComboBox):
            return self.editor.currentText()
        if isinstance(self.editor, QSpinBox):
            return self.editor.value()
        assert isinstance(self.editor, QLineEdit)
        return tidied(self.editor.text()) if self.known.type is float else self.editor.text()

    def write(self, value: Value) -> None:
        if isinstance(self.editor, QCheckBox):
            self.editor.setChecked(bool(value))
        elif isinstance(self.editor, QComboBox):
            self.editor.setCurrentText(str(value))
        elif isinstance(self.editor, QSpinBox):
            self.editor.setValue(int(value))
        else:
            assert isinstance(self.editor, QLineEdit)
            self.editor.setText(written(float(value)) if self.known.type is float else str(value))


class SpecForm(QWidget):
    """One row per field of ``spec``; advanced fields are folded.

    Signals:
        changed: a field was edited, to something usable or not.
    """

    changed = Signal()

    def __init__(self, spec: type[AlgorithmSpec], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.spec = spec
        self._fields = [_Field(known, self) for known in settings_of(spec)]
        self.general = label(role="error", name="form-error")
        self.general.hide()
        self.restore = button("Back to the defaults", "reset-settings", kind="quiet")
        self.restore.clicked.connect(self.reset)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(_rows([f for f in self._fields if not f.known.about.advanced]))
        advanced = [f for f in self._fields if f.known.about.advanced]
        self.advanced = Folded("More settings", "advanced-settings", tip="Show the settings that are rarely changed")
        self.advanced.content.addLayout(_rows(advanced))
        layout.addWidget(self.advanced)
        self.advanced.setVisible(bool(advanced))  # now that it lies on the form: before, it is a window of its own
        layout.addWidget(self.restore, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self.general)
        self.reset()

    def values(self) -> dict[str, Value]:
        """The fields that differ from their defaults, typed. SpecError when one of them cannot be used."""
        made = with_settings(self.spec, {f.known.name: f.read() for f in self._fields}).as_settings()
        return {f.known.name: made[f.known.name] for f in self._fields if made[f.known.name] != f.known.default}

    @property
    def changes(self) -> list[str]:
        """Each setting that differs from its default, with its value, in words; none while one cannot be used."""
        return [f"{titled(name)} {_said(value)}" for name, value in self.values().items()] if self.usable else []

    def set_values(self, values: Mapping[str, Value]) -> None:
        """Show these, and the default of every field that is not named."""
        for field in self._fields:
            with QSignalBlocker(field.editor):
                field.write(values.get(field.known.name, field.known.default))
        self.check()

    def reset(self) -> None:
        """Back to the defaults."""
        self.set_values({})

    @property
    def usable(self) -> bool:
        """Every field holds a value that the spec takes."""
        return not self.general.text() and not any(f.error.text() for f in self._fields)

    def check(self) -> None:
        """Say at each field what is wrong with it, and below the form what is wrong with them together."""
        wrong = False
        for field in self._fields:
            try:
                with_settings(self.spec, {field.known.name: field.read()})
                said = ""
            except SpecError as error:
                said, wrong = str(error), True
            field.error.setText(said)
            field.error.setVisible(bool(said))
            if said and field.known.about.advanced:
                self.advanced.unfold.setChecked(True)
        together = ""
        if not wrong:
            try:
                self.values()
            except SpecError as error:
                together = str(error)
        self.general.setText(together)
        self.general.setVisible(bool(together))
        self.changed.emit()


def say_changes(folded: Folded, form: SpecForm) -> None:
    """Tell on the closed part that holds ``form`` what is set otherwise than by default."""
    changes = form.changes
    few = ", ".join(changes) if len(changes) <= FEW_CHANGES else f"{len(changes)} differ from the defaults"
    folded.unfold.setText(f"Settings: {few}" if changes else "Settings")


def _said(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return written(value) if isinstance(value, float) else str(value)


def _rows(fields: list[_Field]) -> QGridLayout:
    grid = QGridLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(12)
    for i, field in enumerate(fields):
        top = Qt.AlignmentFlag.AlignTop
        grid.addWidget(field.label, 2 * i, 0)
        grid.addWidget(field.editor, 2 * i, 1)
        grid.addWidget(field.unit, 2 * i, 2)
        grid.addWidget(field.help, 2 * i, 3)
        grid.addWidget(field.error, 2 * i + 1, 1, 1, 3, top)
    grid.setColumnStretch(3, 1)
    return grid
