"""Running the engine on the command's own thread until its job is done."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.messages import Command, EngineFailed, JobEnded, JobProgressed, ModelLoading, News
from desktop_rlhf.workbench.project import Project


def work(project: Project, command: Command, listen: Callable[[News], None] | None = None) -> JobEnded:
    """Carry out one job and give its ending. Ctrl+C asks it to stop and keeps what it has; a second one breaks off.

    Raises:
        WorldError: the job or the engine failed for a reason that a person can mend.
        RuntimeError: a bug of ours.
    """
    said: list[JobEnded | EngineFailed] = []

    def say(news: News) -> None:
        _show_progress(news)
        if isinstance(news, JobEnded | EngineFailed):
            said.append(news)
        if listen:
            listen(news)

    engine = Engine(project.path, say)

    def interrupted(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        engine.stop(command.job_id)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, interrupted)
    try:
        engine.submit(command)
        engine.run_until_idle()
    finally:
        signal.signal(signal.SIGINT, before)
        engine.close()
    ending = said[-1]
    if ending.traceback:
        raise RuntimeError(ending.traceback)
    if isinstance(ending, EngineFailed) or ending.status in (RunStatus.FAILED, RunStatus.INTERRUPTED):
        raise WorldError(ending.reason, ending.next_step)
    return ending


def _show_progress(news: News) -> None:
    """One line that is written over, on a terminal only."""
    if not sys.stderr.isatty():
        return
    if isinstance(news, ModelLoading):
        print(f"\r\033[K{news.sentence}", end="", file=sys.stderr)
    elif isinstance(news, JobProgressed):
        left = "" if news.left_s is None else f", about {news.left_s / 60:.0f} min left"
        print(f"\r\033[K{news.stage}: {news.share:.0%}{left}", end="", file=sys.stderr)
    elif isinstance(news, JobEnded):
        print("\r\033[K", end="", file=sys.stderr)
    sys.stderr.flush()
