"""How long a label takes in a project of a million comparisons: saving it, the next pair, the counts, undo, opening."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.probes.figures import say, small, spread
from bench.probes.many_comparisons import fill
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.workbench.project import Project
from desktop_rlhf.workbench.views import Showing

COMPARISONS, FEW = 1_000_000, 10_000
LABELS, UNDONE = 300, 50
T = TypeVar("T")


class Stopwatches:
    """Milliseconds by what was done: by the clock, and of the processor."""

    def __init__(self) -> None:
        self.clock: dict[str, list[float]] = {}
        self.processor: dict[str, list[float]] = {}

    def time(self, what: str, work: Callable[[], T]) -> T:
        began, busy = time.perf_counter(), time.process_time()
        done = work()
        self.processor.setdefault(what, []).append(1000 * (time.process_time() - busy))
        self.clock.setdefault(what, []).append(1000 * (time.perf_counter() - began))
        return done


def measure(path: Path, labels: int, undone: int) -> Stopwatches:
    """Label and undo in the project at ``path`` as the Label page does."""
    watches = Stopwatches()
    project = watches.time("open", lambda: Project.open(path))
    for _ in range(labels):
        showing = watches.time("next", partial(_next, project))
        assert showing is not None
        watches.time("save", partial(project.save_comparison, showing, Outcome.RANKED, (1, 2)))
        watches.time("counts", project.label_counts)
        watches.time("fsync of 4 kB alone", partial(_written, path / "written"))
    for _ in range(undone):
        watches.time("undo", project.undo)
    watches.time("prompts to sample", lambda: project.prompts_to_sample(8))
    project.close()
    return watches


def _next(project: Project) -> Showing | None:
    """The slowest case: an adapter is sampled from of whose pairs none waits yet, so all that do are looked at."""
    return project.next_showing_from("another adapter") or project.next_showing()


def _written(path: Path) -> None:
    """What the disk takes by itself: no save can be faster."""
    with path.open("ab") as file:
        file.write(bytes(4096))
        os.fsync(file.fileno())


def main() -> None:
    few = small(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "project"
        began = time.perf_counter()
        fill(path, FEW if few else COMPARISONS)
        filled_s = time.perf_counter() - began
        watches = measure(path, LABELS, UNDONE)
        size = (path / "project.sqlite").stat().st_size
    figures = {what: spread(took) for what, took in watches.clock.items()}
    say(
        figures["save"]["p95"],
        "ms to save a label, p95",
        comparisons=FEW if few else COMPARISONS,
        megabytes=round(size / 1e6),
        filled_s=round(filled_s, 1),
        clock_ms=figures,
        processor_ms={what: spread(took) for what, took in watches.processor.items()},
    )


if __name__ == "__main__":
    main()
