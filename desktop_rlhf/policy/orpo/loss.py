"""The ORPO loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

SUREST = -1e-6
"""A mean log-probability counts as no nearer to 0 than this: odds of a certain text would be infinite."""


def log_odds_chosen(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Log of the odds ratio of chosen to rejected, odds(y) = p / (1 - p) with p = exp(mean log-probability).

    Args:
        chosen, rejected: [P] nats per token, the mean over each completion's tokens.

    Returns:
        [P] nats; 0 where both are as likely.
    """
    return _log_odds(chosen) - _log_odds(rejected)


def orpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """NLL of the chosen per token, less beta * log sigmoid(log odds ratio), per pair.

    Args as ``log_odds_chosen``; beta is the paper's lambda.

    Returns:
        [P] nats.

    Source: Hong et al., "ORPO: Monolithic preference optimization without reference model" (2024), equations 4 to 7.
    """
    return -chosen - beta * logsigmoid(log_odds_chosen(chosen, rejected))


def _log_odds(mean_logprobs: Tensor) -> Tensor:
    likely = mean_logprobs.clamp(max=SUREST)
    return likely - (-likely.expm1()).log()
