"""Seconds from the start of the process to the first pair on the Label page, in a new project of the starter model."""

from __future__ import annotations

from bench.probes.figures import say, small, spread
from bench.probes.session import lived, prepared

TIMES, FEW = 5, 1


def main() -> None:
    took, busy = [], []
    for _ in range(FEW if small(__doc__) else TIMES):
        with prepared() as project:
            after, _ = lived(project, seconds=300, until="pair")
        took.append(after["pair"])
        busy.append(after["processor"])
    say(spread(took)["p50"], "s", seconds=spread(took), processor_s=spread(busy))


if __name__ == "__main__":
    main()
