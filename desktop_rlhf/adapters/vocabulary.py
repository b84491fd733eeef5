"""The projection onto the vocabulary, for what is drawn, scored or learned from, and never all of it at once.

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
from desktop_rlhf.numerics.logprobs import ROWS_IN_CACHE, TokenScores, token_scores

ROWS = 128
"""Of logits at once. More of them need memory and gain nothing; fewer read the weights too often."""
ON_A_GPU = 512
"""Of them at once on a GPU, which 128 do not fill."""
MOST_LOGITS = 2**26
"""There, so that with a large vocabulary they are fewer rows."""

EXACT = 32
"""Of the likeliest tokens that may be drawn next the logits are not rounded, where all others are."""


class Vocabulary:
    """The frozen output projection of a base.

    In a base of bfloat16 the weights and the hidden states are numbers that bfloat16 holds. Products of them are summed
    in float32 and then rounded to bfloat16, and a logit of 20 is off by up to 0.06 nats. What is lost depends on how
    large the number is, and no probability on a constant added to all logits: so what is scored is made less the
    target's own logit, which leaves those of likely tokens near 0, and its log-probability off by a 256th of itself
    and 0.002 nats at most. Of what may be drawn next the likeliest are made again in float32. On a GPU, and where
    logits are capped or have a bias, all of them are made in float32 from a copy of the weights.
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
        elif self._rounds:
            logits = linear(_filled_up(hidden.to(weight.dtype), weight), weight)[: len(hidden)].float()
            likeliest = logits.topk(min(EXACT, len(weight)), dim=-1).indices
            logits.scatter_(-1, likeliest, (weight[likeliest].float() @ hidden.unsqueeze(-1)).squeeze(-1))
        else:
            if self._wide is None:
                self._wide = weight.detach().float()
            with short_products():
                logits = linear(_filled_up(hidden, weight), self._wide, None if bias is None else bias.float())
            logits = logits[: len(hidden)]
        return logits.div_(self._cap).tanh_().mul_(self._cap) if self._cap else logits

    def memory(self, rows: int) -> Tensor | None:
        """Where the rounded logits of so many rows can lie, again and again; None where none are."""
        weight = self._projection.weight
        return weight.new_empty(tiled(rows), len(weight)) if self._rounds else None

    def _beside(self, hidden: Tensor, targets: Tensor, memory: Tensor | None) -> Tensor:
        """[M, V] logits less a number for each row, about its target's own where they are rounded and 0 elsewhere."""
        if memory is None:
            return self.logits(hidden)
        weight = self._projection.weight
        of_targets = torch.linalg.vecdot(hidden, weight[targets].float()).unsqueeze(-1)
        rows = _filled_up(hidden.to(weight.dtype), weight)
        less = _filled_up(-of_targets.to(weight.dtype), weight).expand(-1, len(weight))
        return torch.addmm(less, rows, weight.t(), out=memory[: len(rows)])[: len(hidden)]

    @property
    def _rounds(self) -> bool:
        """Whether logits are made in bfloat16."""
        weight, bias = self._projection.weight, self._projection.bias
        return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and bias is None and not self._cap

    def scores(self, hidden: Tensor, targets: Tensor, temperature: float = 1.0) -> TokenScores:
        """What is said of M tokens by the [M, H] hidden states, float32, before them.

        A gradient goes through the log-probabilities alone, and only once.
        """
        learns = torch.is_grad_enabled() and hidden.requires_grad
        return TokenScores(*_Scores.apply(hidden, self, targets, temperature, learns))

    @torch.no_grad()
    def part(
        self, hidden: Tensor, targets: Tensor, temperature: float, learns: bool, memory: Tensor | None
    ) -> tuple[TokenScores, Tensor]:
        """The scores of some rows, and [m, H] the gradient of each log-probability, empty where nothing ``learns``."""
        logits = self._beside(hidden, targets, memory)
        # The cap's own derivative; without a cap it is 1.
        slopes = 1 - (logits / self._cap).square() if learns and self._cap else None
        scores, probabilities = token_scores(logits, targets, temperature)
        if not learns:
            return scores, hidden[:0]
        weight = self._projection.weight
        # The target's own part is taken out of the product: of a likely token the two would cancel, and the gradient be
        # what rounding left.
        place = targets.unsqueeze(-1)
        # Not by scatter, which copies all of a bfloat16 tensor to float32 and back.
        probabilities[torch.arange(len(targets), device=targets.device), targets] = 0.0
        few = probabilities.split(ROWS_IN_CACHE)  # all at once they would be copied to be summed in float32
        others = torch.cat([rows.sum(-1, keepdim=True, dtype=torch.float32) for rows in few])
        if slopes is not None:
            others = others * slopes.gather(-1, place)
            probabilities.mul_(slopes)
        if memory is None:
            whole = _filled_up(probabilities.to(weight.dtype), weight)
        else:  # where they lie there are rows enough
            whole = memory[: tiled(len(hidden))]
            whole[len(hidden) :] = 0.0
        rest = (whole @ weight)[: len(hidden)].float()
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
        memory = vocabulary.memory(min(together, len(hidden)))
        parts = [
            vocabulary.part(rows, own, temperature, learns, memory)
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
