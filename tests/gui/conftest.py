"""What the GUI tests stand on: settings of their own, a project with a tiny base, and an engine that only listens."""

from __future__ import annotations

import queue
from pathlib import Path
from uuid import uuid4

import pytest
from PySide6.QtCore import QSettings

from desktop_rlhf.gui import theme
from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.window import MainWindow
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.runs.events import SampleShown
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.project import Project


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch, qapp):
    """Neither the settings nor the data of the person who runs the tests are touched."""
    monkeypatch.setenv("DESKTOP_RLHF_DATA", str(tmp_path / "data"))
    qapp.setOrganizationName("tests")
    qapp.setApplicationName("tests")
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    theme.apply(qapp, theme.LIGHT)


@pytest.fixture
def project(tmp_path, tiny_model_path):
    """A project with the starter prompts and no completions."""
    made = Project.create(tmp_path / "project", name="Kind answers", base_model=str(tiny_model_path))
    yield made
    made.close()


@pytest.fixture
def empty_project(tmp_path, tiny_model_path):
    """A project without prompts."""
    made = Project.create(tmp_path / "empty", base_model=str(tiny_model_path), starter_prompts=False)
    yield made
    made.close()


@pytest.fixture
def add_group(project):
    """Stores a group that waits for a label, as the engine would, on a connection of its own; gives the group's id."""
    prompts = iter(project.prompts() * 4)

    def add(*texts: str, ended: bool = True, adapter_id: str | None = None) -> str:
        prompt, group_id = next(prompts), uuid4().hex
        group = [
            Completion(uuid4().hex, prompt.id, group_id, adapter_id, text, (1, 2), ended, Sampler(), seed)
            for seed, text in enumerate(texts)
        ]
        store = Store.open(project.path / STORE_FILE)
        store.completions.add_group(group, to_label=True)
        store.close()
        return group_id

    return add


@pytest.fixture
def judged(project, add_group):
    """One comparison with a winner."""
    add_group("a good one", "a bad one")
    project.save_comparison(project.next_showing(), Outcome.RANKED, (1, 2))


@pytest.fixture
def add_adapter(project):
    """Stores an adapter with the ended run that made it; gives the adapter's id."""

    def add(
        name: str,
        kind: AdapterKind,
        algorithm: str = "dpo",
        status: RunStatus = RunStatus.COMPLETED,
        report: dict[str, object] | None = None,
    ) -> str:
        store = Store.open(project.path / STORE_FILE)
        run_id, adapter_id = uuid4().hex, uuid4().hex
        store.runs.add(Run(run_id, algorithm, {}, None, None, (), {}))
        store.runs.record(run_id, [MetricPoint(1, "loss", 0.69)], [SampleShown(1, "Hello?", "Stored words.", 0.5)])
        store.runs.end(run_id, status, report=report)
        store.adapters.add(Adapter(adapter_id, name, kind, None, run_id, f"adapters/{adapter_id}", "0" * 64))
        store.close()
        return adapter_id

    return add


class ListeningEngine:
    """Keeps what it was asked, says what a test has it say, and runs until it is shut down."""

    def __init__(self, project_path: Path, say) -> None:
        self.say = say
        self.asked: list[tuple[str, object]] = []
        self._work: queue.SimpleQueue = queue.SimpleQueue()

    @property
    def commands(self) -> list:
        return [what for verb, what in self.asked if verb == "submit"]

    def submit(self, command) -> None:
        self.asked.append(("submit", command))

    def pause(self, job_id) -> None:
        self.asked.append(("pause", job_id))

    def resume(self, job_id) -> None:
        self.asked.append(("resume", job_id))

    def stop(self, job_id) -> None:
        self.asked.append(("stop", job_id))

    def shutdown(self) -> None:
        self._work.put(None)

    def have_it(self, work) -> None:
        """Run ``work`` on the engine's thread."""
        self._work.put(work)

    def run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


@pytest.fixture
def engines():
    """Every listening engine that was made, the newest last."""
    return []


@pytest.fixture
def make_engine(engines):
    def make(project_path, say):
        engines.append(ListeningEngine(project_path, say))
        return engines[-1]

    return make


@pytest.fixture
def engine(project, make_engine, engines, qtbot):
    """The handle of a listening engine that runs."""
    handle = EngineHandle(project.path, make_engine)
    handle.start()
    qtbot.waitUntil(lambda: bool(engines))
    yield handle
    assert handle.close(within_s=10)


@pytest.fixture
def closed_project(project) -> Path:
    """The folder of a project that nobody has open."""
    project.close()
    return project.path


@pytest.fixture
def window(qtbot, make_engine):
    """A window with listening engines."""
    made = MainWindow(make_engine)
    qtbot.addWidget(made)
    made.resize(1100, 700)
    made.show()
    yield made
    made.close()
    assert not made.left_behind
