"""How much memory grows while PPO trains for long, of a tiny model and of the starter model, and what a run leaves.

Every run is made by the real engine, in a process of its own. Automatic collection is off, as in the window, and one is
made before each look, as the window makes them from time to time. A checkpoint follows every update, where the window
keeps one every 30 seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import linear_regression, median
from tempfile import TemporaryDirectory
from typing import Any

from bench.probes.figures import say, small
from bench.probes.session import prepared
from bench.processes import python_of, said
from bench.tiny_model import make
from desktop_rlhf.settings import starter_model_path

JUDGED = 24
TINY_UPDATES, STARTER_UPDATES, FEW_UPDATES = 500, 50, 20
NOT_COUNTED = 0.1  # the first part of a run, in which libraries and the allocator fill what they keep


def growth(mb: Sequence[float]) -> float:
    """MB for each 100 updates: the median of the slopes between every two of them, all but the first part.

    The library keeps code for the sizes of products that it met last, and exchanges it when new ones come: 1 or 2 MB
    more or less at once, some updates apart. The least-squares line rises or falls with such a step near an end; this
    one does not. In turn it is 0 wherever most of the pairs are level: after a single step, however high, or for what
    begins to grow late. So both are told.

    Source: Sen, "Estimates of the regression coefficient based on Kendall's tau" (1968).
    """
    return 100 * median((b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(_counted(mb)), 2))


def least_squares(mb: Sequence[float]) -> float:
    """MB for each 100 updates: the slope of the least-squares line through the same."""
    counted = _counted(mb)
    return 100 * linear_regression(range(len(counted)), counted).slope


def _counted(mb: Sequence[float]) -> Sequence[float]:
    return mb[int(NOT_COUNTED * len(mb)) :]


def soaked(updates: int, base_model: Path | None) -> dict[str, Any]:
    """What one process measured; see ``bench.probes.long_run``."""
    with prepared(JUDGED, base_model=base_model) as project:
        return said([python_of("own"), "-m", "bench.probes.long_run", project, str(updates)], project.parent)


def summary(found: Mapping[str, Any]) -> dict[str, object]:
    """Slopes by what was measured, and by how much more than before is held after each run.

    ``left_by_second_mb`` is what a run leaves: by how much more is held after the second than after the first, without
    garbage and what is free, as in the slopes. The first is not held against what was before it, for in it the
    libraries fill what they keep for all runs. The second has a fifth of the updates, 100 of the tiny model, so what
    100 updates may add is its goal.
    """
    before, runs = found["before"], [found["first"], found["second"]]
    return {
        "updates": len(runs[0]["mb"]),
        "slope": round(growth(runs[0]["mb"]), 3),
        "slope_by_least_squares": round(least_squares(runs[0]["mb"]), 3),
        "slope_with_what_is_free": round(growth(runs[0]["kept_mb"]), 3),
        "slope_allocated": round(growth(runs[0]["allocated_mb"]), 3),
        "before_mb": round(before["mb"], 1),
        "highest_mb": round(max(runs[0]["mb"]), 1),
        "left_mb": [round(run["after_mb"] - before["mb"], 1) for run in runs],
        "left_by_second_mb": round(runs[1]["given_back_mb"] - runs[0]["given_back_mb"], 3),
        "left_allocated_mb": [round(run["allocated_after_mb"] - before["allocated_mb"], 1) for run in runs],
        "garbage": found["garbage"],
    }


def main() -> None:
    few = small(__doc__)
    with TemporaryDirectory() as folder:
        tiny = soaked(FEW_UPDATES if few else TINY_UPDATES, make(Path(folder) / "tiny", starter_model_path()))
    # The tiny one stands for both where little is to be done.
    starter = tiny if few else soaked(STARTER_UPDATES, None)
    models = {"tiny": summary(tiny), "starter": summary(starter)}
    say(max(float(str(one["slope"])) for one in models.values()), "MB for 100 updates", **models)


if __name__ == "__main__":
    main()
