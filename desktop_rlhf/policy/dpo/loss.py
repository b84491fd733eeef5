"""The DPO losses, under TRL's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu


@dataclass(frozen=True, slots=True)
class Pairs:
    """P pairs; along the last dimension the chosen stands first, the rejected second.

    Attributes:
        ratios:    [P, 2] nats, log-probability under the policy less that under the reference, summed over tokens.
        reference: [P, 2] nats, log-probability under the reference, summed over tokens.
        lengths:   [P, 2] tokens.
        offsets:   [P] nats by which the implicit reward of the chosen is to exceed that of the rejected; 0 is none.
    """

    ratios: Tensor
    reference: Tensor
    lengths: Tensor
    offsets: Tensor

    @property
    def policy(self) -> Tensor:
        """[P, 2] nats, log-probability under the policy, summed over tokens."""
        return self.reference + self.ratios


def joined(parts: Sequence[Pairs]) -> Pairs:
    """All pairs of ``parts``, in order."""
    return Pairs(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Pairs)))


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


def preference_loss(
    pairs: Pairs, loss_type: str, *, beta: float, label_smoothing: float = 0.0, discopop_tau: float = 0.05
) -> Tensor:
    """The loss of every pair.

    With c and r the log-ratios of chosen and rejected, m = c - r - offset / beta, z = beta m and e the smoothing:

    - sigmoid: as ``dpo_loss`` of m.
    - sigmoid_norm: the same, c and r being means over tokens. Source: Lambert et al., "Tulu 3" (2024).
    - ipo: (m - 1 / (2 beta))^2, c and r being means over tokens. Source: Azar et al., "A general theoretical paradigm
      to understand learning from human preferences" (2023); means as TRL.
    - hinge: max(0, 1 - z). Source: Liu et al., "Statistical rejection sampling improves preference optimization"
      (2023), after SLiC.
    - robust: (-(1 - e) log sigmoid(z) + e log sigmoid(-z)) / (1 - 2 e), whose mean over labels of which a share e is
      turned round is that of sigmoid over the true ones; may be negative. Source: Chowdhury et al., "Provably robust
      DPO" (2024).
    - aot: policy's and reference's (chosen - rejected), each sorted over all pairs, then ``dpo_loss`` of the k-th less
      the k-th. Source: Melnyk et al., "Distributional preference alignment of LLMs via optimal transport" (2024).
    - apo_zero: 1 - sigmoid(beta c) + sigmoid(beta r). Source: D'Oosterlinck et al., "Anchored preference optimization
      and contrastive revisions" (2024).
    - sppo_hard: (c - 1 / (2 beta))^2 + (r + 1 / (2 beta))^2. Source: Wu et al., "Self-play preference optimization"
      (2024), with probabilities of 1 and 0.
    - discopop: (1 - s)(-log sigmoid(z)) + s exp(-z) with s = sigmoid(z / tau). Source: Lu et al., "Discovering
      preference optimization algorithms with and for large language models" (2024).

    Offsets are taken by those with an m. Source: Amini et al., "Direct preference optimization with an offset" (2024).

    Returns:
        [P].

    Raises:
        ValueError: no loss has that name.
    """
    ratios = pairs.ratios / pairs.lengths if loss_type in ("ipo", "sigmoid_norm") else pairs.ratios
    chosen, rejected = ratios.unbind(dim=-1)
    margins = chosen - rejected - pairs.offsets / beta
    scaled = beta * margins
    match loss_type:
        case "sigmoid" | "sigmoid_norm":
            return dpo_loss(margins, beta=beta, label_smoothing=label_smoothing)
        case "ipo":
            return (margins - 1 / (2 * beta)) ** 2
        case "hinge":
            return relu(1 - scaled)
        case "robust":
            right, turned = -logsigmoid(scaled), -logsigmoid(-scaled)
            return ((1 - label_smoothing) * right - label_smoothing * turned) / (1 - 2 * label_smoothing)
        case "aot":
            policy, reference = (sums[:, 0] - sums[:, 1] for sums in (pairs.policy, pairs.reference))
            apart = policy.sort().values - reference.sort().values
            return dpo_loss(apart, beta=beta, label_smoothing=label_smoothing)
        case "apo_zero":
            return torch.sigmoid(-beta * chosen) + torch.sigmoid(beta * rejected)
        case "sppo_hard":
            return (chosen - 1 / (2 * beta)) ** 2 + (rejected + 1 / (2 * beta)) ** 2
        case "discopop":
            share = torch.sigmoid(-scaled / discopop_tau)
            # exp of one sum: exp(-z) alone overflows where its share has long vanished, and 0 times infinity is NaN.
            return -logsigmoid(scaled) * share + torch.exp(logsigmoid(scaled / discopop_tau) - scaled)
    raise ValueError(f"no loss is named {loss_type}")


def chosen_nll(pairs: Pairs) -> Tensor:
    """[P] nats per token: surprise of the policy at the chosen, the mean over its tokens.

    Source: Pang et al., "Iterative reasoning preference optimization" (2024), which adds it to the DPO loss.
    """
    return -pairs.policy[:, 0] / pairs.lengths[:, 0]
