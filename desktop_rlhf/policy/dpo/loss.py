"""The DPO loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo_loss(margins: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """-(1 - e) log sigmoid(beta m) - e log sigmoid(-beta m), per pair.

    Args:
        margins: [P] nats, (policy - reference) of the chosen minus the same of the rejected, summed over tokens.

    Returns:
        [P] nats; ln 2 where the margin is 0.

    Source: Rafailov et al., "Direct preference optimization" (2023); smoothing: E. Mitchell, cDPO (2023).
    """
    scaled = beta * margins
    return -(1 - label_smoothing) * logsigmoid(scaled) - label_smoothing * logsigmoid(-scaled)
