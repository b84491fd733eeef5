"""The reward-model loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry_loss(
    chosen: Tensor, rejected: Tensor, *, center: float = 0.0, margin: Tensor | float = 0.0
) -> Tensor:
    """-log sigmoid(r_c - r_r - margin) + center * (r_c + r_r)^2, per pair.

    Args:
        chosen, rejected: [P] rewards of the pairs.
        margin: [P] or one for all, how far apart the rewards have to be before a pair costs less than ln 2.

    Returns:
        [P] nats.

    Source: Bradley and Terry (1952); centring: Eisenstein et al. (2023), as TRL; margin: Llama 2 (2023), section 3.2.2.
    """
    return -logsigmoid(chosen - rejected - margin) + center * (chosen + rejected) ** 2
