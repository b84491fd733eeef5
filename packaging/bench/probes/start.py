"""Seconds from the start of the process to the first paint of the window, seen from outside; torch must be absent."""

from __future__ import annotations

from bench.probes.figures import say, small, spread
from bench.probes.session import lived

TIMES, FEW = 11, 3


def main() -> None:
    took, busy, torch = [], [], False
    for _ in range(FEW if small(__doc__) else TIMES):
        after, said = lived(None, seconds=30, until="window")
        took.append(after["window"])
        busy.append(after["processor"])
        torch |= said["window"]["torch"]
    say(spread(took)["p50"], "s", seconds=spread(took), processor_s=spread(busy), torch_was_loaded=torch)


if __name__ == "__main__":
    main()
