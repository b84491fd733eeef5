"""The SimPO loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def simpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float) -> Tensor:
    """-log sigmoid(beta (chosen - rejected) - gamma), per pair.

    Args:
        chosen, rejected: [P] nats per token, the mean over each completion's tokens.
        gamma:            the margin by which the chosen's reward should be ahead, in nats.

    Returns:
        [P] nats; ln 2 where the margin is met exactly.

    Source: Meng et al., "SimPO: Simple preference optimization with a reference-free reward" (2024), equation 6.
    """
    return -logsigmoid(beta * (chosen - rejected) - gamma)
