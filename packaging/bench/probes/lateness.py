"""How late a timer of 16 ms comes in the first minute of the window: imports, model, training, sampling, labels."""

from __future__ import annotations

import threading
import time

from bench.probes.figures import say, small, spread
from bench.probes.session import JUDGED, WAITING, lived, prepared

SECONDS, FEW = 60.0, 25.0


class Idle(threading.Thread):
    """How late a sleep of 16 ms ends in a process that does nothing: what the machine adds by itself."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.late: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            began = time.perf_counter()
            time.sleep(0.016)
            self.late.append(1000 * (time.perf_counter() - began) - 16)


def main() -> None:
    few = small(__doc__)
    with prepared(JUDGED, WAITING) as project:
        idle = Idle()
        idle.start()
        _, said = lived(project, FEW if few else SECONDS)
        idle.over.set()
        idle.join()
    ticks = said["end"]["late"]
    by_stage: dict[str, list[float]] = {}
    for late, _, doing in ticks:
        by_stage.setdefault(doing, []).append(late)
    late_ms = spread([late for late, _, _ in ticks])
    worst = [
        {"late_ms": round(late), "at_s": round(at, 1), "while": doing} for late, at, doing in sorted(ticks)[:-6:-1]
    ]
    say(
        late_ms["p99"],
        "ms late, p99",
        late_ms=late_ms,
        idle_process_late_ms=spread(idle.late),
        by_stage={doing: spread(late) for doing, late in by_stage.items()},
        worst=worst,
    )


if __name__ == "__main__":
    main()
