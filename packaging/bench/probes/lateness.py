"""How late a timer of 16 ms comes in the first minute of the window: imports, model, training, sampling, labels."""

from __future__ import annotations

from bench.probes.figures import say, small, spread
from bench.probes.session import JUDGED, WAITING, lived, prepared

SECONDS, FEW = 60.0, 25.0


def main() -> None:
    with prepared(JUDGED, WAITING) as project:
        _, said = lived(project, FEW if small(__doc__) else SECONDS)
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
        by_stage={doing: spread(late) for doing, late in by_stage.items()},
        worst=worst,
    )


if __name__ == "__main__":
    main()
