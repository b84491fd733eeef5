"""The critic of PPO."""

from __future__ import annotations

from torch import Tensor, nn


class ValueHead(nn.Module):
    """Expected return from each token, read from the policy's hidden states; 0 before training."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.utils.skip_init(nn.Linear, hidden_size, 1)  # drawn weights would only be written over
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., H] to [...]. The gradient stops here: the value never moves the policy's trunk."""
        return self.linear(hidden.detach()).squeeze(-1)
