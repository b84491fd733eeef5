"""The Help viewer: notes that ship with the program, and what the program is."""

from __future__ import annotations

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QImage, QTextDocument
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QMessageBox, QTextBrowser, QVBoxLayout, QWidget

from desktop_rlhf import __doc__ as ABOUT
from desktop_rlhf import __version__
from desktop_rlhf.settings import data_path, resources_path

NOTES = {
    "labelling": "Labelling",
    "metrics": "Metrics",
    "trainers": "Trainers",
    "performance": "Performance",
    "correctness": "Correctness",
    "licences": "Licences",
}
WIDTH = 760  # pixels
WIDE = {"metrics": 1180}  # its tables have seven columns
PICTURE_WIDTH = 680  # what a dialog of the usual width has room for


class _NoteBrowser(QTextBrowser):
    """Shows a note and loads nothing that it names but the pictures that lie beside it."""

    def loadResource(self, type: int, name: QUrl | str) -> object:
        asked = name.toString() if isinstance(name, QUrl) else name
        picture = resources_path() / "notes" / asked
        if type != QTextDocument.ResourceType.ImageResource.value or asked != picture.name or not picture.is_file():
            return None
        return QImage(str(picture)).scaledToWidth(PICTURE_WIDTH, Qt.TransformationMode.SmoothTransformation)


class NoteDialog(QDialog):
    """One note in a window of its own, to be read beside the work."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName(f"note-{name}")
        self.setWindowTitle(NOTES[name])
        self.resize(min(WIDE.get(name, WIDTH), self.screen().availableSize().width()), 640)
        self.browser = _NoteBrowser()
        self.browser.setAccessibleName(NOTES[name])
        self.browser.setOpenLinks(False)
        self.browser.document().setDocumentMargin(18)
        self.browser.setMarkdown((resources_path() / "notes" / f"{name}.md").read_text(encoding="utf-8"))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        column = QVBoxLayout(self)
        column.addWidget(self.browser)
        column.addWidget(buttons)


def show_about(parent: QWidget) -> None:
    """Say what the program is and where it keeps things."""
    box = QMessageBox(QMessageBox.Icon.NoIcon, "About", f"desktop_rlhf {__version__}", parent=parent)
    box.setObjectName("about")
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setInformativeText(f"{ABOUT}\n\nModels and projects are in:\n{data_path()}")
    box.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    box.open()
