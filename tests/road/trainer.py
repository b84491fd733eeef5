"""Starts a run, or goes on with one, with a checkpoint after every step; to be killed at any moment."""

from __future__ import annotations

import sys
from pathlib import Path

from desktop_rlhf.adapters.checkpoint import Checkpoints
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.messages import JobEnded, ResumeRun, RunSaid, StartRun
from desktop_rlhf.workbench.project import Project

Checkpoints.due = property(lambda _: True)
SMALL = {"lora_rank": 4, "learning_rate": 1e-2, "batch_size": 2, "epochs": 40}

project = Project.open(Path(sys.argv[1]))
resumable = [run for run in project.runs() if project.resumable(run.id)]


def say(news: object) -> None:
    if isinstance(news, RunSaid):
        print(news.run_id, flush=True)
    if isinstance(news, JobEnded):
        print(news.status, flush=True)


engine = Engine(project.path, say, threads=1)
engine.submit(ResumeRun("job", resumable[0].id) if resumable else StartRun("job", "dpo", SMALL))
engine.run_until_idle()
engine.close()
project.close()
