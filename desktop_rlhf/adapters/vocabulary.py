"""The projection onto the vocabulary, for what is scored or learned from: float32, and never all of it at once.

The logits of one micro-batch, their softmax and its gradient would be the largest tensors of a training step. Each
token's log-probability has one gradient with respect to its hidden state, the sum over v of p_v (W_target - W_v), so
that is made in the forward, some rows at a time, and the logits are forgotten.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from desktop_rlhf.adapters.precision import short_products, tiled
from desktop_rlhf.numerics.logprobs import TokenScores, token_scores

ROWS = 128
"""Of logits at once. More of them need memory and gain nothing; fewer read the weights too often."""
ON_A_GPU = 512
"""Of them at once on a GPU, which 128 do not fill."""
MOST_LOGITS = 2**26
"""There, so that with a large vocabulary they are fewer rows."""


class Vocabulary:
    """The frozen output projection of a base.

    In a base of bfloat16 the weights and the hidden states are numbers that bfloat16 holds, so its unit multiplies them
    and sums in float32. Logits of 20 rounded to bfloat16 would be off by 0.06 nats.
    """

    def __init__(self, base: Any) -> None:
        self._projection = base.get_output_embeddings()
        self._cap = getattr(base.config.get_text_config(), "final_logit_softcapping", None)
        self._wide: Tensor | None = None

    def rows_at_once(self, device: torch.device) -> int:
        """Of logits on a device."""
        if device.type == "cpu":
            return ROWS
        return max(ROWS, min(ON_A_GPU, MOST_LOGITS // len(self._projection.weight)))

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """[M, H] hidden states to [M, V] logits, both float32, without a gradient."""
        weight, bias = self._projection.weight, self._projection.bias
        if weight.dtype == torch.float32:
            logits = linear(hidden, weight, bias)
        else:
            if self._wide is None:
                self._wide = weight.detach().float()
            with short_products():
                logits = linear(_filled_up(hidden, weight), self._wide, None if bias is None else bias.float())
            logits = logits[: len(hidden)]
        return logits.div_(self._cap).tanh_().mul_(self._cap) if self._cap else logits

    def scores(self, hidden: Tensor, targets: Tensor, temperature: float = 1.0) -> TokenScores:
        """What is said of M tokens by the [M, H] hidden states, float32, before them.

        A gradient goes through the log-probabilities alone, and only once.
        """
        learns = torch.is_grad_enabled() and hidden.requires_grad
        return TokenScores(*_Scores.apply(hidden, self, targets, temperature, learns))

    @torch.no_grad()
    def part(self, hidden: Tensor, targets: Tensor, temperature: float, learns: bool) -> tuple[TokenScores, Tensor]:
        """The scores of some rows, and [m, H] the gradient of each log-probability, empty where nothing ``learns``."""
        logits = self.logits(hidden)
        # The cap's own derivative; without a cap it is 1.
        slopes = 1 - (logits / self._cap).square() if learns and self._cap else None
        scores, probabilities = token_scores(logits, targets, temperature)
        if not learns:
            return scores, hidden[:0]
        weight = self._projection.weight
        # The target's own part is taken out of the product: of a likely token the two would cancel, and the gradient be
        # what rounding left.
        place = targets.unsqueeze(-1)
        probabilities.scatter_(-1, place, 0.0)
        others = probabilities.sum(-1, keepdim=True)
        if slopes is not None:
            others = others * slopes.gather(-1, place)
            probabilities.mul_(slopes)
        rest = (_filled_up(probabilities.to(weight.dtype), weight) @ weight)[: len(hidden)].float()
        return scores, (others * weight[targets].float() - rest) / temperature


def _filled_up(rows: Tensor, weight: Tensor) -> Tensor:
    """As many rows as in other steps, where the base is in bfloat16: each new shape costs, see ``precision.tiled``."""
    spare = tiled(len(rows)) - len(rows) if weight.dtype == torch.bfloat16 else 0
    return pad(rows, (0, 0, 0, spare)) if spare else rows


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, vocabulary: Vocabulary, targets: Tensor, temperature: float, learns: bool
    ) -> tuple[Tensor, ...]:
        together = vocabulary.rows_at_once(hidden.device)
        parts = [
            vocabulary.part(rows, own, temperature, learns)
            for rows, own in zip(hidden.split(together), targets.split(together), strict=True)
        ]
        logprobs, entropy, hits = (torch.cat(found) for found in zip(*(scores for scores, _ in parts), strict=True))
        ctx.save_for_backward(torch.cat([gradient for _, gradient in parts]))
        ctx.mark_non_differentiable(entropy, hits)
        return logprobs, entropy, hits

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        (of_logprobs,) = ctx.saved_tensors
        return gradient.unsqueeze(-1) * of_logprobs, None, None, None, None
