"""The points of one curve: arrays that grow, a smoothed twin, and a short form to draw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWN_IN_FULL = 5_000
BUCKETS = 1_000
BLOCK = 64  # values that are averaged at once


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
        start, self._smooth_count = self._smooth_count, self._count
        if start < self._count:
            self._smooth_from(start)
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
        held = np.array(points if isinstance(points, np.ndarray) else list(points), dtype=float).reshape(-1, 2)
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

    def _smooth_from(self, start: int) -> None:
        """The average at ``start`` and after it. A value that is not finite leaves the average as it was."""
        keep, values = self._smoothing, self.values[start:]
        average, weight = (self._smooth[start - 1], self._weights[start - 1]) if start else (0.0, 0.0)
        finite = np.isfinite(values)
        # The weight grows towards 1, so that the first values are not pulled towards 0.
        weights = 1 - (1 - weight) * keep ** np.arange(1, finite.sum() + 1)
        averages = decayed_sums((1 - keep) * values[finite], keep, weight * average) / weights
        last = np.cumsum(finite)  # the number of finite values up to each: where its average stands
        self._smooth[start : self._count] = np.concatenate([[average], averages])[last]
        self._weights[start : self._count] = np.concatenate([[weight], weights])[last]


def decayed_sums(values: Floats, keep: float, before: float) -> Floats:
    """[n] sums s[i] = keep * s[i - 1] + values[i], where s[-1] is ``before``: by blocks, and from block to block."""
    count = len(values)
    padded = np.zeros(-(-count // BLOCK) * BLOCK)
    padded[:count] = values
    apart = np.arange(BLOCK)[:, None] - np.arange(BLOCK)[None, :]
    within = padded.reshape(-1, BLOCK) @ np.where(apart >= 0, keep ** np.maximum(apart, 0), 0.0).T
    carried = np.empty(len(within))
    for block, last in enumerate(within[:, -1].tolist()):
        carried[block] = before
        before = last + keep**BLOCK * before
    return (within + carried[:, None] * keep ** np.arange(1, BLOCK + 1)).reshape(-1)[:count]


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
        rows = -(-count // width)
        starts = np.arange(0, rows * width, width)

        def padded(array: NDArray[Any], fill: float) -> NDArray[Any]:
            """[rows, width], what is missing of the last row filled with what is never picked in it."""
            return np.concatenate([array, np.full(rows * width - count, fill, array.dtype)]).reshape(rows, width)

        low = padded(np.where(finite, values, np.inf), np.inf).argmin(axis=1)
        high = padded(np.where(finite, values, -np.inf), -np.inf).argmax(axis=1)
        gap = padded(finite, True).argmin(axis=1)
        picked = np.sort(np.concatenate([starts + low, starts + high, starts + gap, [0, count - 1]]))
        picked = picked[np.diff(picked, prepend=-1) > 0]
        steps, values, finite = steps[picked], values[picked], finite[picked]
    return steps, np.where(finite, values, np.nan)
