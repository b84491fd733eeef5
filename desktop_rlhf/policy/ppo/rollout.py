"""One PPO rollout: what the policy wrote, and what policy, reference, value and reward model said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from desktop_rlhf.adapters.packing import Packed, completion_logits, hidden_states, predicting_states
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.completions.sampling import Drawn
from desktop_rlhf.numerics.logprobs import token_logprobs


class ValueHead(nn.Module):
    """Expected return from each token, read from the policy's hidden states; 0 before training."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., H] to [...]. The gradient stops here: the value never moves the policy's trunk."""
        return self.linear(hidden.detach()).squeeze(-1)


@dataclass(frozen=True, slots=True)
class Episode:
    """The completions of one prompt; N of them, the longest of C tokens. Tensors are [N, C] unless said otherwise.

    Attributes:
        scores: [N] from the reward model, penalties included.
    """

    prompt: str
    drawn: Sequence[Drawn]
    packed: Packed
    scores: Tensor
    old_logprobs: Tensor
    reference_logprobs: Tensor
    old_values: Tensor
    entropy: Tensor


def evaluate(
    model: ResidentModel, value_head: ValueHead, packed: Packed, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, values and token entropies, each [N, C], under the model's present role.

    Old and new log-probabilities both come from here and from the same packing, so the first ratio is exactly 1.
    """
    hidden = hidden_states(model, packed)
    logits = completion_logits(model, hidden, packed).float()
    kept = token_logprobs(logits, packed.targets[packed.mask], temperature)
    with torch.no_grad():
        distribution = (logits.detach() / temperature).log_softmax(-1)
        kept_entropy = -(distribution.exp() * distribution).sum(-1)
    empty = torch.zeros(packed.mask.shape, dtype=kept.dtype)
    values = torch.where(packed.mask, value_head(predicting_states(hidden, packed)), 0.0)
    return empty.masked_scatter(packed.mask, kept), values, empty.masked_scatter(packed.mask, kept_entropy)
