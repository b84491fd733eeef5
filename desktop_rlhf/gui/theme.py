"""Colours and the one stylesheet, light and dark.

Widgets are styled by dynamic properties: ``role`` is ``title``, ``heading``, ``hint``, ``card``, ``strip``, ``rail``,
``reading``, ``fact``, ``big-number``, ``good``, ``banner`` or ``error``; a button's ``kind`` is ``primary``,
``segment`` or ``quiet``.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from desktop_rlhf.settings import resources_path

SYSTEM, LIGHT_NAME, DARK_NAME = "system", "light", "dark"


@dataclass(frozen=True)
class Theme:
    """Colours as ``#rrggbb``. Every text colour has a contrast of at least 4.5 on window, surface and raised.

    Attributes:
        surface: of cards and fields; ``raised`` is for buttons and bars that lie on it.
        muted:   text of less weight.
        accent:  the one colour that calls for action; ``accent_text`` is read on it.
        line:    borders and grids; not for text.
        curves:  of a plot, in order, told apart by people who see few colours.
    """

    name: str
    window: str
    surface: str
    raised: str
    text: str
    muted: str
    accent: str
    accent_text: str
    line: str
    good: str
    bad: str
    warn: str
    curves: tuple[str, ...]


LIGHT = Theme(
    name=LIGHT_NAME,
    window="#f4f3f0",
    surface="#ffffff",
    raised="#ebe9e4",
    text="#1c1e22",
    muted="#575c66",
    accent="#2f56b8",
    accent_text="#ffffff",
    line="#cbc8c1",
    good="#1b6b3c",
    bad="#a8261c",
    warn="#80500a",
    curves=("#2f56b8", "#c2570c", "#13795b", "#9a3a86", "#7a6a00", "#0d7286"),
)

DARK = Theme(
    name=DARK_NAME,
    window="#17191d",
    surface="#1f2227",
    raised="#2a2e35",
    text="#e7e8ea",
    muted="#a9aeb8",
    accent="#8fadff",
    accent_text="#10131b",
    line="#444a55",
    good="#7fd19b",
    bad="#ff9c90",
    warn="#e9bd6c",
    curves=("#8fadff", "#ffa463", "#62cfa6", "#e79ad6", "#d9c552", "#66c8dd"),
)

_SHEET = Template("""
QWidget { color: $text; font-size: 14px; }
QMainWindow, QDialog, QMessageBox, QStackedWidget, QScrollArea { background: $window; }
QLabel { background: transparent; }
QToolTip { color: $text; background: $raised; border: 1px solid $line; padding: 4px 6px; }

*[role="title"] { font-size: 21px; font-weight: 600; }
*[role="heading"] { font-size: 15px; font-weight: 600; }
*[role="hint"] { color: $muted; font-size: 13px; }
*[role="big-number"] { font-size: 32px; font-weight: 600; }
*[role="good"] { color: $good; }
*[role="error"] { color: $bad; }
*[role="warn"] { color: $warn; }
QFrame[role="card"] { background: $surface; border: 1px solid $line; border-radius: 8px; }
QFrame[role="card"][chosen="true"] { border: 2px solid $accent; }
QFrame[role="banner"] { background: $surface; border: 1px solid $bad; border-left: 5px solid $bad; }
QFrame[role="strip"] { background: $raised; border: none; border-top: 1px solid $line; }
QFrame[role="rail"] { background: $raised; border: none; border-right: 1px solid $line; }

QPushButton, QToolButton {
    background: $raised; border: 1px solid $line; border-radius: 6px; padding: 6px 12px; min-height: 20px;
}
QPushButton:hover, QToolButton:hover { border-color: $muted; }
QPushButton:pressed, QToolButton:pressed { background: $line; }
QPushButton:disabled, QToolButton:disabled { color: $muted; border-color: $raised; }
QPushButton:focus, QToolButton:focus { border: 2px solid $accent; padding: 5px 11px; }
QPushButton[kind="primary"] { background: $accent; color: $accent_text; border-color: $accent; font-weight: 600; }
QPushButton[kind="primary"]:hover { border-color: $text; }
QPushButton[kind="primary"]:focus { border: 2px solid $text; }
QPushButton[kind="primary"]:disabled { background: $line; color: $muted; border-color: $line; }
QPushButton[kind="segment"] { background: $surface; }
QPushButton[kind="segment"]:checked { background: $accent; color: $accent_text; border-color: $accent; }
QPushButton[kind="segment"]:checked:focus { border-color: $text; }
QPushButton[kind="quiet"], QToolButton[kind="quiet"] { background: transparent; border-color: transparent; }
QPushButton[kind="quiet"]:hover, QToolButton[kind="quiet"]:hover { border-color: $line; }
QPushButton[kind="quiet"]:focus, QToolButton[kind="quiet"]:focus { border-color: $accent; }

QToolButton[kind="rail"] {
    background: transparent; border: 2px solid transparent; border-radius: 8px; padding: 7px 4px; font-size: 13px;
    min-width: 104px;
}
QToolButton[kind="rail"]:hover { background: $surface; }
QToolButton[kind="rail"]:checked { background: $surface; color: $accent; font-weight: 600; }
QToolButton[kind="rail"]:focus { border-color: $accent; padding: 7px 4px; }

QLineEdit, QPlainTextEdit, QTextEdit, QTextBrowser, QListView, QTableView, QTreeView {
    background: $surface; border: 1px solid $line; border-radius: 6px; selection-background-color: $accent;
    selection-color: $accent_text;
}
QLineEdit { padding: 5px 8px; min-height: 20px; }
QLineEdit > QToolButton { background: transparent; border: none; padding: 0; min-height: 0; }
QComboBox { background: $raised; border: 1px solid $line; border-radius: 6px; padding: 5px 8px; min-height: 20px; }
QComboBox:hover { border-color: $muted; }
/* Qt measures the list that drops down by this padding too: were it another in focus, the last entry had no room. */
QComboBox:focus { border: 2px solid $accent; padding: 5px 7px; min-height: 18px; }
QComboBox:disabled { color: $muted; }
QComboBox::drop-down { border: none; width: 22px; }
QComboBox::down-arrow { image: url("$arrow"); width: 12px; height: 12px; }
QAbstractSpinBox {
    background: $surface; border: 1px solid $line; border-radius: 6px; padding: 3px 0 4px 8px; min-height: 20px;
    selection-background-color: $accent; selection-color: $accent_text;
}
QAbstractSpinBox:focus { border: 2px solid $accent; padding: 2px 0 3px 7px; }
QAbstractSpinBox:disabled { color: $muted; }
QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {
    subcontrol-origin: padding; width: 20px; height: 15px; border: none; background: transparent;
}
QAbstractSpinBox::up-button { subcontrol-position: top right; }
QAbstractSpinBox::down-button { subcontrol-position: bottom right; }
QAbstractSpinBox::up-button:hover, QAbstractSpinBox::down-button:hover { background: $raised; }
QAbstractSpinBox::up-arrow { image: url("$arrow_up"); width: 10px; height: 10px; }
QAbstractSpinBox::down-arrow { image: url("$arrow"); width: 10px; height: 10px; }
QAbstractSpinBox::up-arrow:off, QAbstractSpinBox::down-arrow:off { image: none; }
QAbstractSpinBox QLineEdit, QComboBox QLineEdit { border: none; padding: 0; background: transparent; }
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus, QTextBrowser:focus, QListView:focus, QTableView:focus,
QTreeView:focus { border: 2px solid $accent; }
QPlainTextEdit[role="reading"] { font-size: 16px; background: transparent; border: 1px solid transparent; }
QPlainTextEdit[role="reading"]:focus { border: 1px solid $accent; }
QPlainTextEdit[role="fact"] { background: transparent; border: none; }
QPlainTextEdit[prompt="true"] { font-weight: 600; border: none; border-left: 3px solid $accent; border-radius: 0; }
QAbstractItemView { alternate-background-color: $window; gridline-color: $line; }
QTableView::item { padding: 0 8px; }
QHeaderView::section {
    background: $raised; color: $text; border: none; border-bottom: 1px solid $line; padding: 6px 8px; font-weight: 600;
}
QTableCornerButton::section { background: $raised; border: none; }

QScrollBar { background: transparent; }
QScrollBar:vertical { width: 12px; }
QScrollBar:horizontal { height: 12px; }
QScrollBar::handle { background: $line; border-radius: 4px; margin: 2px; }
QScrollBar::handle:hover { background: $muted; }
QScrollBar::handle:vertical { min-height: 32px; }
QScrollBar::handle:horizontal { min-width: 32px; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }

QProgressBar { background: $surface; border: 1px solid $line; border-radius: 5px; height: 8px; text-align: center; }
QProgressBar::chunk { background: $accent; border-radius: 4px; }
QCheckBox, QRadioButton { spacing: 8px; background: transparent; }
QCheckBox:focus, QRadioButton:focus { color: $accent; }
QCheckBox::indicator, QRadioButton::indicator {
    width: 14px; height: 14px; background: $surface; border: 1px solid $muted; border-radius: 4px;
}
QRadioButton::indicator { border-radius: 8px; }
QCheckBox::indicator:checked { background: $accent; border-color: $accent; image: url("$check"); }
QRadioButton::indicator:checked { background: $accent; border-color: $accent; }
QCheckBox::indicator:focus, QRadioButton::indicator:focus { border: 2px solid $text; }
QGroupBox { border: 1px solid $line; border-radius: 8px; margin-top: 12px; padding-top: 10px; font-weight: 600; }
QGroupBox::title { subcontrol-origin: margin; left: 12px; padding: 0 4px; }
QTabBar::tab { background: transparent; padding: 7px 14px; border-bottom: 3px solid transparent; }
QTabBar::tab:selected { border-bottom-color: $accent; }
QTabWidget::pane { border: 1px solid $line; border-radius: 6px; }
QMenuBar { background: $raised; }
QMenuBar::item { background: transparent; padding: 5px 10px; }
QMenuBar::item:selected, QMenu::item:selected { background: $accent; color: $accent_text; }
QMenu { background: $surface; border: 1px solid $line; padding: 4px; }
QMenu::item { padding: 6px 24px; }
QMenu::item:disabled { color: $muted; }
QSplitter::handle { background: $line; }
QSlider:horizontal { min-height: 18px; }
QSlider::groove:horizontal { height: 4px; background: $line; border-radius: 2px; }
QSlider::sub-page:horizontal { background: $accent; border-radius: 2px; }
QSlider::handle:horizontal {
    width: 12px; margin: -6px 0; background: $surface; border: 2px solid $accent; border-radius: 8px;
}
QSlider::handle:horizontal:hover { background: $accent; }
QSlider::handle:horizontal:focus { background: $accent; border-color: $text; }
QSlider::sub-page:horizontal:disabled { background: $muted; }
QSlider::handle:horizontal:disabled { border-color: $muted; }
QDialogButtonBox { dialogbuttonbox-buttons-have-icons: 0; }
QScrollArea { border: none; }
""")

_current = LIGHT


def current() -> Theme:
    """The theme that was applied last."""
    return _current


def apply(app: QApplication, theme: Theme) -> None:
    """Dress the whole program in ``theme``; widgets that paint themselves hear of it as a PaletteChange."""
    global _current
    _current = theme
    app.setStyle("Fusion")
    app.setPalette(_palette(theme))
    colours = {key: value for key, value in vars(theme).items() if isinstance(value, str)}
    drawings = {name.replace("-", "_"): _drawing(name, theme) for name in ("arrow", "arrow-up", "check")}
    app.setStyleSheet(_SHEET.substitute(colours, **drawings))


def choice() -> str:
    """What the person chose: ``system``, ``light`` or ``dark``."""
    chosen = str(QSettings().value("view/theme", SYSTEM))
    return chosen if chosen in (SYSTEM, LIGHT_NAME, DARK_NAME) else SYSTEM


def choose(app: QApplication, name: str) -> None:
    """Keep a choice and apply it."""
    QSettings().setValue("view/theme", name)
    follow(app)


def follow(app: QApplication) -> None:
    """Apply what was chosen, or what the system says."""
    chosen = choice()
    dark = chosen == DARK_NAME or (chosen == SYSTEM and app.styleHints().colorScheme() == Qt.ColorScheme.Dark)
    apply(app, DARK if dark else LIGHT)


def set_role(widget: QWidget, value: str, property: str = "role") -> None:
    """Set a styling property on a widget that may be on the screen already."""
    widget.setProperty(property, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def _drawing(name: str, theme: Theme) -> str:
    """A stylesheet takes its drawings from files only, so there is one for each theme."""
    return (resources_path() / "icons" / f"{name}-{theme.name}.svg").as_posix()


def _palette(theme: Theme) -> QPalette:
    role = QPalette.ColorRole
    colours = {
        role.Window: theme.window,
        role.WindowText: theme.text,
        role.Base: theme.surface,
        role.AlternateBase: theme.window,
        role.Text: theme.text,
        role.PlaceholderText: theme.muted,
        role.Button: theme.raised,
        role.ButtonText: theme.text,
        role.Highlight: theme.accent,
        role.HighlightedText: theme.accent_text,
        role.Link: theme.accent,
        role.ToolTipBase: theme.raised,
        role.ToolTipText: theme.text,
        role.Mid: theme.line,
    }
    palette = QPalette()
    for where, colour in colours.items():
        palette.setColor(where, QColor(colour))
    for where in (role.Text, role.ButtonText, role.WindowText):
        palette.setColor(QPalette.ColorGroup.Disabled, where, QColor(theme.muted))
    return palette
