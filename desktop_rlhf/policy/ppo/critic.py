"""The critic of PPO."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class ValueHead(nn.Module):
    """Expected return from each token, read from the policy's hidden states; 0 before training."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, hidden_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., H] to [...]. The gradient stops here: the value never moves the policy's trunk."""
        return linear(hidden.detach(), self.weight, self.bias).squeeze(-1)
