"""Milliseconds from a key that judges a pair to the paint of the next one, while training and sampling go on.

A key is pressed every second. One for which no pair is shown, or that would come before the next pair did, is dropped;
how many were is told beside the figure, for their waits are not in it.
"""

from __future__ import annotations

from bench.probes.figures import say, small, spread
from bench.probes.session import JUDGED, WAITING, lived, prepared

SECONDS, FEW = 60.0, 25.0


def main() -> None:
    with prepared(JUDGED, WAITING) as project:
        _, said = lived(project, FEW if small(__doc__) else SECONDS)
    took = spread(said["end"]["key_to_paint"])
    say(took["p95"], "ms, p95", key_to_paint_ms=took, dropped_keys=said["end"]["dropped"])


if __name__ == "__main__":
    main()
