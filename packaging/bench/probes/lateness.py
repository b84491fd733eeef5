"""How late a timer of 16 ms comes in the first minute of the window: imports, model, training, sampling, labels."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from bench.probes.figures import say, small, spread
from bench.probes.session import JUDGED, TICK_MS, WAITING, lived, prepared

SECONDS, FEW = 60.0, 25.0


def with_swallowed(late_ms: Iterable[float], every_ms: float = TICK_MS) -> list[float]:
    """How late every tick was, of which those were given that came: a late one swallowed the ones due before it.

    A hold of 150 ms is one late tick beside 60 in each second without one, so a quantile of those that came does not
    see it. But something that was due at any moment of it was late too, by what was left of it then.

    Source: Tene, "How NOT to Measure Latency" (2013), which calls what is amended here coordinated omission.
    """
    every: list[float] = []
    for late in late_ms:
        every.append(late)
        while (late := late - every_ms) > 0:
            every.append(late)
    return every


class Idle(threading.Thread):
    """How late a sleep of 16 ms ends in a process that does nothing: what the machine adds by itself."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.late: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            began = time.perf_counter()
            time.sleep(TICK_MS / 1000)
            self.late.append(1000 * (time.perf_counter() - began) - TICK_MS)


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
    late_ms = spread(with_swallowed(late for late, _, _ in ticks))
    worst = [
        {"late_ms": round(late), "at_s": round(at, 1), "while": doing} for late, at, doing in sorted(ticks)[:-6:-1]
    ]
    say(
        late_ms["p99"],
        "ms late, p99",
        late_ms=late_ms,
        ticks=len(ticks),
        idle_process_late_ms=spread(with_swallowed(idle.late)),
        by_stage={doing: spread(with_swallowed(late)) for doing, late in by_stage.items()},
        worst=worst,
    )


if __name__ == "__main__":
    main()
