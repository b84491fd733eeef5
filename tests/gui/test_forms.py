from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication, QCheckBox, QComboBox, QLabel, QLineEdit, QSpinBox, QWidget

from desktop_rlhf.gui.forms.number_edit import tidied, written
from desktop_rlhf.gui.forms.spec_form import SpecForm
from desktop_rlhf.records.errors import SpecError
from desktop_rlhf.runs.spec import AlgorithmSpec, Metric, setting
from desktop_rlhf.workbench.algorithms import TRAINABLE


@dataclass(frozen=True)
class KiteSpec(AlgorithmSpec):
    name: ClassVar[str] = "kite"
    title: ClassVar[str] = "Kite"
    sentence: ClassVar[str] = "Flies."
    train: ClassVar[str] = "nowhere:train"
    metrics: ClassVar[tuple[Metric, ...]] = ()
    needs_comparisons: ClassVar[bool] = False

    rate: float = setting(1e-4, "How fast.", unit="per step", source="a book", minimum=0.0, maximum=1.0)
    tails: int = setting(3, "How many.", minimum=1, maximum=9)
    red: bool = setting(False, "Its colour.")
    shape: str = setting("delta", "Its form.", choices=("delta", "box"))
    wind: float = setting(0.5, "How strong.", minimum=0.0, advanced=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape == "box" and self.tails > 5:
            raise SpecError("A box kite carries at most five tails.", "Take some off.")


@pytest.fixture
def form(qtbot):
    made = SpecForm(KiteSpec)
    qtbot.addWidget(made)
    made.show()
    return made


def editor(form, name, kind=QWidget):
    return form.findChild(kind, f"setting-{name}")


def test_that_an_untouched_form_has_nothing_to_say(form):
    assert form.values() == {}
    assert form.usable


@pytest.mark.parametrize("spec", TRAINABLE)
def test_that_every_algorithm_gets_a_form_that_starts_at_its_defaults(qtbot, spec):
    form = SpecForm(spec)
    qtbot.addWidget(form)
    assert form.values() == {}


def test_that_each_type_has_its_editor(form):
    for name, kind in (("rate", QLineEdit), ("tails", QSpinBox), ("red", QCheckBox), ("shape", QComboBox)):
        assert isinstance(editor(form, name), kind)


def test_that_only_what_differs_from_the_defaults_is_given_and_typed(form):
    editor(form, "rate").setText("3e-5")
    editor(form, "tails").setValue(4)
    editor(form, "red").setChecked(True)
    editor(form, "shape").setCurrentText("box")
    values = form.values()
    assert values == {"rate": 3e-5, "tails": 4, "red": True, "shape": "box"}
    assert [type(v) for v in values.values()] == [float, int, bool, str]


def test_that_a_default_typed_in_other_words_is_still_the_default(form):
    editor(form, "rate").setText("0,0001")
    assert form.values() == {}


@pytest.mark.parametrize("text", ["", "fast", "2", "-1e-4", "nan"])
def test_that_a_bad_value_is_explained_at_its_field_and_refused(form, text):
    editor(form, "rate").setText(text)
    error = form.findChild(QLabel, "error-rate")
    assert not error.isHidden()
    assert error.text()
    assert not form.usable
    with pytest.raises(SpecError):
        form.values()
    editor(form, "rate").setText("0.5")
    assert error.isHidden()
    assert form.usable


def test_that_values_that_clash_are_explained_below_the_form(form):
    editor(form, "tails").setValue(9)
    editor(form, "shape").setCurrentText("box")
    assert "at most five tails" in form.general.text()
    assert not form.usable


def test_that_reset_brings_the_defaults_back(form):
    editor(form, "rate").setText("nonsense")
    editor(form, "tails").setValue(4)
    form.restore.click()
    assert form.values() == {}
    assert editor(form, "rate").text() == "1e-4"
    assert form.usable


def test_that_advanced_settings_are_folded_until_asked_for_or_wrong(form):
    assert not editor(form, "wind").isVisible()
    form.advanced.unfold.click()
    assert editor(form, "wind").isVisible()
    form.advanced.unfold.click()
    editor(form, "wind").setText("-1")
    assert editor(form, "wind").isVisible()


def test_that_the_keyboard_stays_at_a_heading_that_folds_what_it_was_in(form):
    form.advanced.unfold.click()
    editor(form, "wind").setFocus()
    form.advanced.unfold.click()
    assert form.window().focusWidget() is form.advanced.unfold


def test_that_help_unit_and_source_are_there_for_eye_and_ear(form):
    tip = editor(form, "rate").toolTip()
    assert "How fast." in tip
    assert "1e-4" in tip
    assert "a book" in tip
    assert editor(form, "rate").accessibleName() == "Rate"
    assert "per step" in {shown.text() for shown in form.findChildren(QLabel)}


def test_that_changes_are_told_once_each(qtbot, form):
    with qtbot.waitSignal(form.changed):
        editor(form, "tails").setValue(5)


def test_that_the_wheel_does_not_change_a_field_nobody_is_in(form):
    spin = editor(form, "tails")
    spin.clearFocus()
    here = QPointF(5, 5)
    none = Qt.KeyboardModifier.NoModifier
    turn = QWheelEvent(
        here, here, QPoint(0, 120), QPoint(0, 120), Qt.MouseButton.NoButton, none, Qt.ScrollPhase.NoScrollPhase, False
    )
    QApplication.sendEvent(spin, turn)
    assert spin.value() == 3


def test_that_the_arrow_keys_walk_through_one_two_five(qtbot, form):
    line = editor(form, "rate")
    seen = []
    for key in (Qt.Key.Key_Up, Qt.Key.Key_Up, Qt.Key.Key_Up, Qt.Key.Key_Down):
        qtbot.keyClick(line, key)
        seen.append(line.text())
    assert seen == ["2e-4", "5e-4", "0.001", "5e-4"]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.05, 1e-4, 3.5e-5, 1e-12, 123456.5, 2.5e9, -1e-4, 1 / 3, 1e-5 / 3])
def test_that_a_written_number_reads_back_as_itself(value):
    assert float(written(value)) == value


@pytest.mark.parametrize(
    ("text", "meant"), [("1e-4", "1e-4"), (" 0,5 ", "0.5"), ("−2", "-2"), ("1 000", "1000"), ("1,000.5", "1,000.5")]
)
def test_that_numbers_are_read_as_people_write_them(text, meant):
    assert tidied(text) == meant
