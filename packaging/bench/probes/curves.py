"""How long a frame of the Runs page takes with 500 runs, one of them of 100,000 steps: scrolled, cursor moved.

Also how long the page and that run take to appear, and a repaint of all its curves, as while it is trained.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter, process_time

from PySide6.QtWidgets import QScrollArea

from bench.probes.figures import say, small, spread
from bench.probes.many_runs import fill
from bench.probes.window import IdleEngine, application
from desktop_rlhf.gui.pages.runs import RunsPage
from desktop_rlhf.gui.window import MainWindow

RUNS, STEPS, FRAMES = 500, 100_000, 200
FEW_RUNS, FEW_STEPS, FEW_FRAMES = 50, 5_000, 20


def main() -> None:
    runs, steps, frames = (FEW_RUNS, FEW_STEPS, FEW_FRAMES) if small(__doc__) else (RUNS, STEPS, FRAMES)
    with application() as (app, folder):
        fill(folder / "project", runs, steps)

        def milliseconds(work: object) -> float:
            began = perf_counter()
            assert callable(work)
            work()
            app.processEvents()
            return 1000 * (perf_counter() - began)

        window = MainWindow(IdleEngine)
        window.resize(1280, 800)
        window.show()
        opened = milliseconds(lambda: window.open_project(folder / "project"))
        workspace = window.workspace
        assert workspace is not None
        shown = milliseconds(lambda: workspace.show_page("runs"))
        page = workspace.page("runs")
        assert isinstance(page, RunsPage)
        chosen = milliseconds(lambda: page.runs.selectRow(1))
        chosen_long = milliseconds(lambda: page.runs.selectRow(0))
        again = milliseconds(lambda: workspace.show_page("runs"))
        board = page.curves.board
        bar = page.findChildren(QScrollArea)[0].verticalScrollBar()

        def frame(number: int) -> None:
            bar.setValue(bar.maximum() * (number % 50) // 50)
            board.panels[0].hovered.emit(float(number * steps // frames))

        busy, took = [], []
        for number in range(frames):
            before = process_time()
            took.append(milliseconds(partial(frame, number)))
            busy.append(1000 * (process_time() - before))
        points = [len(line.getData()[0]) for panel in board.panels for line in panel._lines.values()]

        def repaint() -> None:
            for panel in board.panels:
                panel.redraw()
            board.repaint()

        live = [milliseconds(repaint) for _ in range(10)]
        window.close()
    say(
        spread(took)["p95"],
        "ms a frame, p95",
        frame_ms=spread(took),
        frame_processor_ms=spread(busy),
        open_project_ms=round(opened, 1),
        show_page_ms=round(shown, 1),
        show_page_again_ms=round(again, 1),
        choose_short_run_ms=round(chosen, 1),
        choose_long_run_ms=round(chosen_long, 1),
        repaint_all_curves_ms=spread(live),
        runs=runs,
        steps=steps,
        most_points_drawn=max(points),
    )


if __name__ == "__main__":
    main()
