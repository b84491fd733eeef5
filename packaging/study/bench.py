"""What every part of the study works with: a project, its engine, and a folder that remembers what was done."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from desktop_rlhf.adapters.base_models import base_model_folder
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.records.adapters import Adapter
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.spec import Value
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.messages import (
    Command,
    CompletionsReady,
    EngineFailed,
    JobEnded,
    JobProgressed,
    News,
    SampleGroups,
    StartRun,
)
from desktop_rlhf.workbench.project import Project

SECONDS_BETWEEN_LINES = 20.0


class Bench:
    """A project in a folder of its own and the model that scores what it holds.

    What is sampled, trained and measured is kept under a name; asked for again, it is read and not made again, so a
    study that was broken off goes on where it was.

    Args:
        folder: of the project and of what was remembered; made when it is not there.
        say:    called with a line for the person.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], base_model: str | None, starter_prompts: bool) -> None:
        self.say = say
        self._memory = folder / "remembered"
        self._memory.mkdir(parents=True, exist_ok=True)
        path = folder / "project"
        if (path / "project.sqlite").exists():
            self.project = Project.open(path)
        else:
            self.project = Project.create(path, name="Study", base_model=base_model, starter_prompts=starter_prompts)
        self.store = Store.open(path / "project.sqlite")
        self._engine = Engine(path, self._hear)
        self._model: ResidentModel | None = None
        self._news: list[News] = []
        self._said_at = 0.0
        self.made = 0  # things that were not remembered yet

    def close(self) -> None:
        self._engine.close()
        self.store.close()
        self.project.close()

    def copy_to(self, folder: Path) -> None:
        """Copy the project and all that is remembered, unless that was done before."""
        if not folder.exists():
            aside = folder.with_name(folder.name + ".part")
            shutil.rmtree(aside, ignore_errors=True)
            for part in (self.project.path, self._memory):
                shutil.copytree(part, aside / part.name)
            os.replace(aside, folder)

    @property
    def model(self) -> ResidentModel:
        """A second copy of the base, for scoring; the engine's own belongs to its jobs."""
        if self._model is None:
            self._model = ResidentModel.load(str(base_model_folder(self.project.info.base_model)))
        return self._model

    def remembered(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gave as JSON the first time that it was asked for under ``name``."""
        path = self._memory / f"{name}.json"
        if not path.exists():
            began = time.monotonic()
            found = make()
            seconds = time.monotonic() - began
            aside = path.with_name(path.name + ".part")
            aside.write_text(json.dumps({"seconds": seconds, "found": found}), encoding="utf-8")
            os.replace(aside, path)
            self.made += 1
            self.say(f"  {name}: {seconds:.0f} s")
        return json.loads(path.read_text(encoding="utf-8"))["found"]

    def seconds(self) -> dict[str, float]:
        """How long each thing that is remembered took to make, by name."""
        files = sorted(self._memory.glob("*.json"), key=lambda file: file.stat().st_mtime)
        return {file.stem: json.loads(file.read_text(encoding="utf-8"))["seconds"] for file in files}

    def sampled(
        self, name: str, prompt_ids: Sequence[str], count: int, sampler: Sampler, seed: int, adapter: str | None = None
    ) -> list[list[Completion]]:
        """``count`` completions for each prompt, in the prompts' order, from an adapter or from the base."""

        def make() -> dict[str, str]:
            command = SampleGroups(uuid4().hex, tuple(prompt_ids), count, adapter, sampler, seed, repeats=True)
            self._work(command)
            return {news.prompt_id: news.group_id for news in self._news if isinstance(news, CompletionsReady)}

        groups = self.remembered(name, make)
        return [self.store.completions.group(groups[prompt_id]) for prompt_id in prompt_ids]

    def trained(
        self, name: str, algorithm: str, settings: Mapping[str, Value], reward: str | None = None
    ) -> tuple[Adapter, dict[str, Any]]:
        """The adapter of a finished run and the run's report."""

        def make() -> str:
            ending = self._work(StartRun(uuid4().hex, algorithm, settings, reward_adapter_id=reward, name=name))
            if ending.adapter_id is None:
                raise WorldError(f"The run “{name}” made no adapter.")
            return ending.adapter_id

        adapter = self.store.adapters.get(self.remembered(name, make))
        return adapter, dict(self.project.run(adapter.run_id).report)

    def path_of(self, adapter: Adapter) -> Path:
        """The folder of an adapter."""
        return self.project.path / adapter.path

    def _work(self, command: Command) -> JobEnded:
        """Let the engine do one job.

        Raises:
            WorldError: the job failed for a reason that a person can mend.
        """
        self._news.clear()
        self._said_at = time.monotonic()
        self._engine.submit(command)
        self._engine.run_until_idle()
        ending = next(news for news in reversed(self._news) if isinstance(news, JobEnded | EngineFailed))
        if ending.traceback:
            raise RuntimeError(ending.traceback)
        if isinstance(ending, EngineFailed) or ending.status is not RunStatus.COMPLETED:
            raise WorldError(ending.reason or "The job was stopped.", ending.next_step)
        return ending

    def _hear(self, news: News) -> None:
        if isinstance(news, JobProgressed):
            if news.left_s is not None and time.monotonic() - self._said_at > SECONDS_BETWEEN_LINES:
                self._said_at = time.monotonic()
                self.say(f"  {news.stage}: {news.share:.0%}, {news.left_s:.0f} s left")
            return
        self._news.append(news)
