"""Colours and notes: that everything can be read."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QPixmap, QTextDocument
from PySide6.QtWidgets import (
    QDialogButtonBox,
    QLineEdit,
    QProxyStyle,
    QSlider,
    QStyle,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.notes import NOTES, PICTURE_WIDTH, NoteDialog
from desktop_rlhf.gui.widgets.controls import choice
from desktop_rlhf.gui.widgets.spin_boxes import BriefSpinBox, CalmSpinBox


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


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK], ids=lambda colours: colours.name)
@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.qt_log_ignore("raise", "grabbing the keyboard", extend=True)  # the offscreen platform, of every list
def test_that_a_list_that_drops_down_shows_its_last_entry(qtbot, qapp, colours, count):
    theme.apply(qapp, colours)
    box = choice("box", "Something", [(f"entry {number}", number) for number in range(count)])
    page = QWidget()
    QVBoxLayout(page).addWidget(box)
    qtbot.addWidget(page)
    page.show()
    page.activateWindow()
    qtbot.waitUntil(page.isActiveWindow)
    box.setFocus()
    box.showPopup()
    view = box.view()
    qtbot.waitUntil(view.isVisible)
    last = view.visualRect(view.model().index(count - 1, 0))
    assert last.top() >= 0
    assert last.bottom() < view.viewport().height()
    box.hidePopup()


@pytest.fixture(params=[theme.LIGHT, theme.DARK], ids=lambda colours: colours.name)
def dressed(request, qtbot, qapp):
    """Shows a widget, without the focus, on a page of a theme; gives the theme and a picture of the widget."""
    colours, pages = request.param, []
    theme.apply(qapp, colours)

    def show(widget):
        page = QWidget()
        pages.append(page)
        QVBoxLayout(page).addWidget(widget)
        qtbot.addWidget(page)
        with qtbot.waitExposed(page):
            page.show()
        widget.clearFocus()
        return colours, widget.grab().toImage()

    return show


def test_that_a_field_for_a_number_has_the_border_of_one_for_text(dressed):
    colours, picture = dressed(BriefSpinBox())
    assert picture.pixelColor(picture.width() // 2, 0).name() == colours.line
    _, line = dressed(QLineEdit())
    assert abs(line.height() - picture.height()) <= 2  # beside one another in a form


@pytest.mark.parametrize("kind", [BriefSpinBox, CalmSpinBox])
def test_that_a_number_does_not_begin_at_the_border(dressed, kind):
    box = kind()
    dressed(box)
    assert box.lineEdit().textMargins().left() >= 6


def test_that_the_handle_of_a_slider_stands_out(dressed):
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setMaximumWidth(160)
    colours, picture = dressed(slider)
    seen = [picture.pixelColor(x, picture.height() // 2).name() for x in range(16)]  # it stands at the left end
    assert max(contrast(colour, colours.window) for colour in seen) >= 3


class WithIcons(QProxyStyle):
    """As on a desktop that has icons on the buttons of dialogs, which the offscreen platform has not."""

    def styleHint(self, hint, *args):
        return hint == QStyle.StyleHint.SH_DialogButtonBox_ButtonsHaveIcons or super().styleHint(hint, *args)


def test_that_the_buttons_of_a_dialog_have_no_icons_which_are_black_in_every_theme(dressed, qapp):
    qapp.setStyle(WithIcons("Fusion"))
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
    dressed(buttons)
    assert buttons.button(QDialogButtonBox.StandardButton.Close).icon().isNull()


def test_that_the_cross_in_a_field_stands_in_the_middle_of_its_height(dressed):
    line = QLineEdit("words")
    line.setClearButtonEnabled(True)
    _, picture = dressed(line)
    cross = line.findChild(QToolButton).geometry()
    assert cross.height() <= picture.height()
    assert abs(cross.center().y() - line.rect().center().y()) <= 1


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
