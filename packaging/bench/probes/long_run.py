"""Runs of PPO by the real engine, in a process of their own, with its memory written down after every update.

`python -m bench.probes.long_run FOLDER UPDATES` is that process: in the project at FOLDER it trains a reward model,
then PPO of so many updates, then a fifth of that again. Its last line says what it measured.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from desktop_rlhf.adapters.checkpoint import Checkpoints
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.workbench.engine import Engine, usual_threads
from desktop_rlhf.workbench.memory import held_mb
from desktop_rlhf.workbench.messages import EngineFailed, JobEnded, News, RunSaid, StartRun

PPO: dict[str, Any] = {
    "prompts_per_update": 4,
    "completions_per_prompt": 4,
    "max_new_tokens": 12,
    "ppo_epochs": 1,
}


# Every update is followed by one. The first lifts what Python holds by 0.7 MB for good, for the names of its tensors;
# after 30 seconds, as in the window, it would come within the first tenth of a run on a slow computer only.
CHECKPOINTS = patch("desktop_rlhf.workbench.run_plan.Checkpoints", partial(Checkpoints, every_s=0.0))


class Soak:
    """An engine on this thread that says how much memory the process holds whenever a run took a step."""

    def __init__(self, project: Path) -> None:
        self._engine = Engine(project, self._hear, threads=usual_threads)
        self._mb: list[float] = []
        self._kept_mb: list[float] = []
        self._allocated_mb: list[float] = []
        self._ended: JobEnded | None = None

    def run(self, algorithm: str, reward: str | None = None, **settings: Any) -> dict[str, Any]:
        """Train, with the reward adapter where one is needed; what was held after each step and the end, in MB.

        ``mb`` is without garbage, and without what the allocator keeps though it is free, which swings by tens of MB
        from step to step; ``kept_mb`` is with both. ``after_mb`` is what the program itself leaves: nothing is given
        back before it is read. ``given_back_mb`` is read after that, as ``mb`` is.
        """
        self._mb, self._kept_mb, self._allocated_mb, self._ended = [], [], [], None
        self._engine.submit(StartRun(algorithm, algorithm, settings, reward_adapter_id=reward))
        self._engine.run_until_idle()
        ended = self._ended
        if ended is None or ended.status is not RunStatus.COMPLETED:
            raise RuntimeError(f"{algorithm} failed: {ended.reason + ended.traceback if ended else ''}")
        after_mb, allocated_after_mb = held_mb(), allocated_mb()
        give_back()
        return {
            "adapter_id": ended.adapter_id,
            "mb": self._mb,
            "kept_mb": self._kept_mb,
            "allocated_mb": self._allocated_mb,
            "after_mb": after_mb,
            "given_back_mb": held_mb(),
            "allocated_after_mb": allocated_after_mb,
        }

    def close(self) -> None:
        self._engine.close()

    def _hear(self, news: News) -> None:
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken):
            self._kept_mb.append(held_mb())
            give_back()
            self._mb.append(held_mb())
            self._allocated_mb.append(allocated_mb())
        elif isinstance(news, EngineFailed):
            raise RuntimeError(news.reason + news.traceback)
        elif isinstance(news, JobEnded):
            self._ended = news


class _Mallinfo2(ctypes.Structure):
    """What glibc's allocator says of itself, in bytes; see malloc(3)."""

    _fields_ = (
        ("arena", ctypes.c_size_t),
        ("ordblks", ctypes.c_size_t),
        ("smblks", ctypes.c_size_t),
        ("hblks", ctypes.c_size_t),
        ("hblkhd", ctypes.c_size_t),
        ("usmblks", ctypes.c_size_t),
        ("fsmblks", ctypes.c_size_t),
        ("uordblks", ctypes.c_size_t),
        ("fordblks", ctypes.c_size_t),
        ("keepcost", ctypes.c_size_t),
    )


# Once: each time that it is opened Python makes classes for it, which refer to each other and are not collected here.
_LIBC = ctypes.CDLL(None)


def give_back() -> None:
    """Collect garbage, as the window does every two minutes, and have glibc give the system what is free.

    Other libraries have no such call.
    """
    gc.collect()
    malloc_trim = getattr(_LIBC, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


def allocated_mb() -> float:
    """What the program asked for and did not give back: what is resident beyond it is the allocator's own keeping."""
    mallinfo2 = getattr(_LIBC, "mallinfo2", None)
    if mallinfo2 is None:
        return 0.0
    mallinfo2.restype = _Mallinfo2
    said = mallinfo2()
    return (said.uordblks + said.hblkhd) / 1e6


def main() -> None:
    folder, updates = Path(sys.argv[1]), int(sys.argv[2])
    gc.disable()  # as the window does; the engine frees by reference count
    soak = Soak(folder)
    try:
        reward = soak.run("reward", epochs=1)["adapter_id"]
        gc.freeze()
        before = {"mb": held_mb(), "allocated_mb": allocated_mb()}
        with CHECKPOINTS:
            first = soak.run("ppo", reward, **PPO, updates=updates)
            second = soak.run("ppo", reward, **PPO, updates=max(2, updates // 5))
    finally:
        soak.close()
    print(json.dumps({"before": before, "first": first, "second": second, "garbage": gc.collect()}))


if __name__ == "__main__":
    main()
