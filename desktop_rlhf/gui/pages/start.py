"""The Start page: no project is open yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QSettings, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from desktop_rlhf.adapters.download import is_model_id
from desktop_rlhf.gui.widgets.centred import centred
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.settings import STARTER_MODEL_NAME, projects_path, recent_path

MOST_RECENT = 8


@dataclass(frozen=True)
class NewProject:
    """What a person asks for. ``base_model`` is a folder or a Hugging Face id, None the starter model."""

    path: Path
    name: str
    base_model: str | None = None
    starter_prompts: bool = True


def recent_projects() -> list[Path]:
    """Projects that were open before and still stand, the last one first."""
    kept = _recent().value("projects", [])
    paths = [kept] if isinstance(kept, str) else kept if isinstance(kept, list) else []
    return [Path(path) for path in paths if Path(path).is_dir()]


def remember_project(path: Path) -> None:
    """Put a project first among the recent ones."""
    others = [str(other) for other in recent_projects() if other != path]
    _recent().setValue("projects", [str(path), *others][:MOST_RECENT])


def _recent() -> QSettings:
    return QSettings(str(recent_path()), QSettings.Format.IniFormat)


class StartPage(QWidget):
    """Offers the starter project, a new one, and those that were open before.

    Signals:
        starter: open the starter project, or make it.
        new, open: ask for a project's particulars or for its folder.
        recent: a Path that was open before.
    """

    starter = Signal()
    new = Signal()
    open = Signal()
    recent = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("start-page")
        self._starter = button("Open the starter project", "start-starter", kind="primary")
        self._starter.setMinimumHeight(44)
        self._starter.clicked.connect(self.starter)
        new = button("New project…", "start-new", tip="Ctrl+N")
        new.clicked.connect(self.new)
        other = button("Open…", "start-open", tip="Ctrl+O")
        other.clicked.connect(self.open)
        more = QHBoxLayout()
        more.addWidget(new)
        more.addWidget(other)
        self._recent = QVBoxLayout()
        self._recent.setSpacing(2)

        choices = QWidget()
        column = QVBoxLayout(choices)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(self._starter)
        column.addLayout(more)
        column.addLayout(self._recent)
        home = QVBoxLayout(self)
        home.addWidget(
            centred(
                label("Teach a small model what you prefer", role="title"),
                label(
                    f"The starter project has {STARTER_MODEL_NAME} and a set of prompts. Choose between its "
                    "completions; after about twenty choices it can begin to learn.",
                    role="hint",
                ),
                choices,
                width=500,
            )
        )
        self.refresh()

    def refresh(self) -> None:
        """List the recent projects again."""
        while (item := self._recent.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        paths = recent_projects()
        if paths:
            self._recent.addWidget(label("Open before", role="heading"))
        for path in paths:
            made = button(path.name.replace("&", "&&"), f"recent-{path.name}", kind="quiet", tip=str(path))
            made.setStyleSheet("text-align: left;")
            made.clicked.connect(lambda _=False, path=path: self.recent.emit(path))
            self._recent.addWidget(made)


class NewProjectDialog(QDialog):
    """Asks for a name, a folder and a base model; filled in so that Enter is enough."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("New project")
        self.setMinimumWidth(560)
        self._name = QLineEdit(_free_name())
        self._name.setObjectName("new-name")
        self._place = QLineEdit(str(projects_path()))
        self._place.setObjectName("new-place")
        self._base = QLineEdit()
        self._base.setObjectName("new-base")
        self._base.setPlaceholderText(f"{STARTER_MODEL_NAME}; or a folder, or organisation/name to download")
        self._prompts = QCheckBox("Begin with the starter prompts")
        self._prompts.setObjectName("new-prompts")
        self._prompts.setChecked(True)
        self._problem = label(role="error", name="new-problem")
        self._problem.hide()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.button(QDialogButtonBox.StandardButton.Ok).setText("Make the project")
        buttons.button(QDialogButtonBox.StandardButton.Ok).setProperty("kind", "primary")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout(self)
        form.setSpacing(12)
        form.addRow("Name", self._name)
        form.addRow("In the folder", self._with_browse(self._place, "Folder for the new project"))
        form.addRow("Base model", self._with_browse(self._base, "Folder of the base model"))
        form.addRow("", self._prompts)
        form.addRow(self._problem)
        form.addRow(buttons)
        self._name.selectAll()

    @property
    def asked(self) -> NewProject:
        """What was filled in."""
        name = self._name.text().strip()
        base = self._base.text().strip()
        return NewProject(Path(self._place.text().strip()) / name, name, base or None, self._prompts.isChecked())

    def accept(self) -> None:
        problem = self._find_problem()
        self._problem.setText(problem)
        self._problem.setVisible(bool(problem))
        if not problem:
            super().accept()

    def _find_problem(self) -> str:
        asked = self.asked
        if not asked.name or Path(asked.name).name != asked.name:
            return "Give the project a name that can also name a folder."
        if asked.path.exists():
            return f"“{asked.path}” is there already. Choose another name or folder."
        if asked.base_model and not Path(asked.base_model).is_dir() and not is_model_id(asked.base_model):
            return (
                f"“{asked.base_model}” is no folder and no Hugging Face id. Choose a model's folder, or leave it empty."
            )
        return ""

    def _with_browse(self, field: QLineEdit, title: str) -> QWidget:
        browse = button("Browse…", f"{field.objectName()}-browse")
        browse.setAutoDefault(False)
        browse.clicked.connect(lambda: self._browse(field, title))
        home = QWidget()
        row = QHBoxLayout(home)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(field, 1)
        row.addWidget(browse)
        return home

    def _browse(self, field: QLineEdit, title: str) -> None:
        chosen = QFileDialog.getExistingDirectory(self, title, field.text())
        if chosen:
            field.setText(chosen)


def _free_name() -> str:
    """A name that no project has yet."""
    number = 1
    while (projects_path() / f"project {number}").exists():
        number += 1
    return f"project {number}"
