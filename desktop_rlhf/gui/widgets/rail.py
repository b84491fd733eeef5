"""The pages of a project, down the left side."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QFrame, QToolButton, QVBoxLayout, QWidget

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.widgets.icons import icon


class Rail(QFrame):
    """One button for each page.

    Signals:
        chosen: the name of the page that was asked for.
        help:   the person wants to read about the page that is open.
    """

    chosen = Signal(str)
    help = Signal()

    def __init__(self, pages: dict[str, str], parent: QWidget | None = None) -> None:
        """``pages`` maps a page's name, which is also its icon's, to its title."""
        super().__init__(parent)
        self.setProperty("role", "rail")
        self.setAccessibleName("Pages")
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QToolButton] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 10, 6, 10)
        column.setSpacing(4)
        for number, (name, title) in enumerate(pages.items(), start=1):
            button = self._make(name, title, f"Ctrl+{number}")
            button.setCheckable(True)
            button.clicked.connect(self._clicked)
            self._group.addButton(button)
            column.addWidget(button)
        column.addStretch(1)
        about = self._make("help", "Help", "F1")
        about.clicked.connect(self.help)
        column.addWidget(about)
        self._draw_icons()

    def _make(self, name: str, title: str, keys: str) -> QToolButton:
        button = QToolButton()
        button.setObjectName(f"rail-{name}")
        button.setText(title)
        button.setProperty("kind", "rail")
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(24, 24))
        button.setToolTip(f"{title} ({keys})")
        button.setAccessibleName(title)
        self._buttons[name] = button
        return button

    def mark(self, name: str) -> None:
        """Show ``name`` as the page that is open."""
        self._buttons[name].setChecked(True)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._draw_icons()

    def _draw_icons(self) -> None:
        colours = theme.current()
        for name, button in self._buttons.items():
            button.setIcon(icon(name, colours.text, colours.accent))

    def _clicked(self) -> None:
        button = self._group.checkedButton()
        self.chosen.emit(next(name for name, one in self._buttons.items() if one is button))
