"""A KL coefficient that follows the KL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class AdaptiveKl:
    """Raises the coefficient while the KL is above its target and lowers it while it is below.

    Attributes:
        coefficient: reward per nat, as it stands.
        target:      nats per completion.
        horizon:     completions over which the coefficient changes by at most about a fifth.

    Source: Ziegler et al., "Fine-tuning language models from human preferences" (2019), as in the code beside it.
    """

    coefficient: float
    target: float
    horizon: int

    def update(self, kl: float, completions: int) -> None:
        """Take in the mean KL of some completions, in nats per completion."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        # A rollout larger than the horizon counts as one horizon, else the coefficient could turn negative.
        self.coefficient *= 1 + error * min(completions / self.horizon, 1)
