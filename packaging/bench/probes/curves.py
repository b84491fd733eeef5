"""How long a frame of the Runs page takes with 500 runs, one of them of 100,000 steps: scrolled, cursor moved.

Also a frame in which all its curves are painted anew, as while it is trained, and for how long at a time the window is
held while that run is opened. Pairs of figures are milliseconds by the clock and of the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter, process_time
from typing import TypeAlias

from PySide6.QtWidgets import QScrollArea

from bench.probes.figures import say, small, spread
from bench.probes.many_runs import fill
from bench.probes.window import IdleEngine, application
from desktop_rlhf.gui.pages.runs import RunsPage
from desktop_rlhf.gui.window import MainWindow

Timed: TypeAlias = tuple[float, float]
RUNS, STEPS, FRAMES = 500, 100_000, 200
FEW_RUNS, FEW_STEPS, FEW_FRAMES = 50, 5_000, 20


def main() -> None:
    runs, steps, frames = (FEW_RUNS, FEW_STEPS, FEW_FRAMES) if small(__doc__) else (RUNS, STEPS, FRAMES)
    with application() as (app, folder):
        fill(folder / "project", runs, steps)

        def timed(work: Callable[[], object]) -> Timed:
            """Milliseconds until the work and all that it brought about are done: by the clock, of the processor."""
            clock, processor = perf_counter(), process_time()
            work()
            app.processEvents()
            return 1000 * (perf_counter() - clock), 1000 * (process_time() - processor)

        window = MainWindow(IdleEngine)
        window.resize(1280, 800)
        window.show()
        opened = timed(lambda: window.open_project(folder / "project"))
        workspace = window.workspace
        assert workspace is not None
        shown = timed(lambda: workspace.show_page("runs"))
        page = workspace.page("runs")
        assert isinstance(page, RunsPage)
        board = page.curves.board
        chosen = timed(lambda: page.runs.selectRow(1))
        began = perf_counter()
        holds = [timed(lambda: page.runs.selectRow(0))]
        while board.reading:
            holds.append(timed(lambda: None))
        holds.append(timed(lambda: None))
        read_after = 1000 * (perf_counter() - began)
        again = timed(lambda: workspace.show_page("runs"))
        bar = page.findChildren(QScrollArea)[0].verticalScrollBar()

        def frame(number: int) -> None:
            bar.setValue(bar.maximum() * (number % 50) // 50)
            board.panels[0].hovered.emit(float(number * steps // frames))

        def repaint() -> None:
            for panel in board.panels:
                panel.redraw()

        moved = [timed(partial(frame, number)) for number in range(frames)]
        live = [timed(repaint) for _ in range(frames // 5)]
        points = [len(line.getData()[0]) for panel in board.panels for line in panel._lines.values()]
        window.close()
    say(
        spread([clock for clock, _ in moved])["p95"],
        "ms a frame, p95",
        frame_ms=both(moved),
        repaint_ms=both(live),
        hold_ms=both(holds),
        open_project_ms=opened,
        show_page_ms=shown,
        show_page_again_ms=again,
        choose_short_run_ms=chosen,
        read_long_run_ms=round(read_after, 1),
        runs=runs,
        steps=steps,
        most_points_drawn=max(points),
    )


def both(taken: Sequence[Timed]) -> dict[str, dict[str, float]]:
    """By the clock and of the processor, which on a busy machine tells more."""
    return {"clock": spread([clock for clock, _ in taken]), "processor": spread([busy for _, busy in taken])}


if __name__ == "__main__":
    main()
