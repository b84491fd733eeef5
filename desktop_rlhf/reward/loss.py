"""The reward-model loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry_loss(chosen: Tensor, rejected: Tensor, *, center: float = 0.0) -> Tensor:
    """-log sigmoid(r_c - r_r) + center * (r_c + r_r)^2, the mean over the pairs of one comparison.

    Args:
        chosen, rejected: [P] rewards of the pairs.

    Returns:
        Scalar, nats.

    Source: Bradley and Terry (1952); K-wise mean: InstructGPT (2022); centring: Eisenstein et al. (2023), as TRL.
    """
    return (-logsigmoid(chosen - rejected) + center * (chosen + rejected) ** 2).mean()
