"""The reward-model loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

STRENGTH_MARGINS = {1: 0.0, 2: 1 / 3, 3: 2 / 3, 4: 1.0}


def bradley_terry_loss(chosen: Tensor, rejected: Tensor, *, center: float = 0.0, margin: float = 0.0) -> Tensor:
    """-log sigmoid(r_c - r_r - margin) + center * (r_c + r_r)^2, the mean over the pairs of one comparison.

    Args:
        chosen, rejected: [P] rewards of the pairs.
        margin: how far apart the rewards have to be before a pair costs less than ln 2.

    Returns:
        Scalar, nats.

    Source: Bradley and Terry (1952); K-wise mean: InstructGPT (2022); centring: Eisenstein et al. (2023), as TRL;
    margin: Llama 2 (2023), section 3.2.2.
    """
    return (-logsigmoid(chosen - rejected - margin) + center * (chosen + rejected) ** 2).mean()


def strength_margin(strength: int | None, scale: float = 1.0) -> float:
    """The margin for a preference of this strength, 0 where it was not said.

    Source: the small margins of Llama 2 (2023); its large ones are those at a scale of 3.
    """
    return 0.0 if strength is None else scale * STRENGTH_MARGINS[strength]
