"""Mean and deviation of numbers that arrive in batches."""

from __future__ import annotations

import math

from torch import Tensor


class RunningMoments:
    """Moments of everything seen so far, without keeping it. ``state`` gives the arguments that make it again.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """

    def __init__(self, count: int = 0, mean: float = 0.0, squares: float = 0.0) -> None:
        self.count = count
        self.mean = mean
        self._squares = squares

    def state(self) -> tuple[int, float, float]:
        return self.count, self.mean, self._squares

    @property
    def deviation(self) -> float:
        """The biased standard deviation; 0 before anything was seen."""
        return math.sqrt(self._squares / self.count) if self.count else 0.0

    def add(self, values: Tensor) -> None:
        """Take in a batch of any shape with at least one number."""
        wide = values.cpu().double()  # some devices have no double precision
        count, mean = wide.numel(), wide.mean().item()
        total = self.count + count
        apart = mean - self.mean
        self._squares += ((wide - mean) ** 2).sum().item() + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total

    def normalised(self, values: Tensor, eps: float = 1e-8) -> Tensor:
        """``values`` less the mean, over the deviation; the same shape."""
        return (values - self.mean) / (self.deviation + eps)
