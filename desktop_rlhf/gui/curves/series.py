"""The points of one curve: arrays that grow, a smoothed twin, and a short form to draw."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWN_IN_FULL = 5_000
BUCKETS = 1_000


class Series:
    """Values by rising step. Appending is O(1); a step that was there already replaces it and what came after it.

    The last rule lets a run that was rolled back, and news that arrive twice, draw what is true now.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        self._steps: Floats = np.empty(64)
        self._values: Floats = np.empty(64)
        self._smooth: Floats = np.empty(64)
        self._weights: Floats = np.empty(64)
        self._count = 0
        self._smoothing = smoothing
        self._smooth_count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def steps(self) -> Floats:
        """[n] steps, rising. A view: do not write to it."""
        return self._steps[: self._count]

    @property
    def values(self) -> Floats:
        """[n] as logged, not finite ones included."""
        return self._values[: self._count]

    @property
    def smoothed(self) -> Floats:
        """[n] exponential moving average, corrected for its start; NaN where the value is not finite.

        Brought up to date when it is read, so that a slider can be dragged over long curves.
        """
        for i in range(self._smooth_count, self._count):
            self._smooth_at(i)
        self._smooth_count = self._count
        return np.where(np.isfinite(self.values), self._smooth[: self._count], np.nan)

    @property
    def not_finite(self) -> Floats:
        """[m] the steps whose value is NaN or infinite."""
        return self.steps[~np.isfinite(self.values)]

    def append(self, step: float, value: float) -> None:
        if self._count and step <= self._steps[self._count - 1]:
            self._count = int(np.searchsorted(self.steps, step))
        if self._count == len(self._steps):
            for name in ("_steps", "_values", "_smooth", "_weights"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.empty(max(64, len(old)))]))
        self._steps[self._count] = step
        self._values[self._count] = value
        self._smooth_count = min(self._smooth_count, self._count)
        self._count += 1

    def replace(self, points: Iterable[tuple[float, float]]) -> None:
        """Hold these points and no others."""
        self._count = self._smooth_count = 0
        held = np.array(list(points), dtype=float).reshape(-1, 2)
        if not (np.diff(held[:, 0]) > 0).all():
            for step, value in held.tolist():
                self.append(step, value)
            return
        self._count = len(held)
        self._steps, self._values = held[:, 0].copy(), held[:, 1].copy()
        self._smooth, self._weights = np.empty(len(held)), np.empty(len(held))

    def set_smoothing(self, smoothing: float) -> None:
        """``smoothing`` in [0, 1): the share of the average that stays from one step to the next."""
        self._smoothing = smoothing
        self._smooth_count = 0

    def at(self, step: float | None) -> tuple[float, float] | None:
        """The (step, value) nearest to ``step``, the last for None; None when there is no point."""
        if not self._count:
            return None
        near = self._count - 1
        if step is not None:
            right = min(int(np.searchsorted(self.steps, step)), near)
            near = min((max(right - 1, 0), right), key=lambda i: abs(self._steps[i] - step))
        return float(self._steps[near]), float(self._values[near])

    def _smooth_at(self, i: int) -> None:
        """The average at ``i``. A value that is not finite leaves the average as it was."""
        keep, value = self._smoothing, self._values[i]
        average, weight = (self._smooth[i - 1], self._weights[i - 1]) if i else (0.0, 0.0)
        if np.isfinite(value):
            # The weight grows towards 1, so that the first values are not pulled towards 0.
            past = keep * weight * average
            weight = keep * weight + (1 - keep)
            average = (past + (1 - keep) * value) / weight
        self._smooth[i], self._weights[i] = average, weight


def thinned(
    steps: Floats, values: Floats, in_full: int = DRAWN_IN_FULL, buckets: int = BUCKETS
) -> tuple[Floats, Floats]:
    """(steps, values) to draw: all of them up to ``in_full``, else the lowest and highest of each of ``buckets``.

    Peaks survive, and so does a gap: each bucket that holds a value that is not finite keeps one, as NaN.
    """
    finite = np.isfinite(values)
    count = len(values)
    if count > in_full:
        width = -(-count // buckets)
        starts = np.arange(0, count, width)
        rows = np.minimum(starts[:, None] + np.arange(width)[None, :], count - 1)
        low = np.where(finite, values, np.inf)[rows].argmin(axis=1)
        high = np.where(finite, values, -np.inf)[rows].argmax(axis=1)
        gap = finite[rows].argmin(axis=1)
        picked = np.unique(np.concatenate([starts + low, starts + high, starts + gap, [0, count - 1]]))
        picked = picked[picked < count]
        steps, values, finite = steps[picked], values[picked], finite[picked]
    return steps, np.where(finite, values, np.nan)
