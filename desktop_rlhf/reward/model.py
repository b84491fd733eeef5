"""A reward model: an adapter and a linear head that reads the hidden state of a completion's last token."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from desktop_rlhf.adapters.packing import Packed, hidden_states
from desktop_rlhf.adapters.resident import ResidentModel, Role, load_head
from desktop_rlhf.records.errors import ModelFolderError


class RewardHead(nn.Module):
    """Hidden state -> reward. ``gain`` and ``bias`` put the reference's samples at mean 0 and variance 1.

    Source: weights N(0, 1 / sqrt(d + 1)), Ziegler et al. (2019) as corrected by Huang et al. (2023).
    """

    def __init__(self, hidden_size: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(hidden_size, generator=generator) / math.sqrt(hidden_size + 1))
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))
        self.gain: Tensor
        self.bias: Tensor

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., H] to [...]."""
        return (hidden @ self.weight) * self.gain + self.bias


class RewardModel:
    """A trained reward model attached to the resident base under ``name``."""

    def __init__(self, model: ResidentModel, name: str, head: RewardHead) -> None:
        self.model = model
        self.name = name
        self.head = head

    @classmethod
    def attach(cls, model: ResidentModel, name: str, path: Path) -> RewardModel:
        """Attach the reward model saved in ``path``.

        Raises:
            ModelFolderError: files are missing, the head among them.
        """
        stored = load_head(path)
        head = RewardHead(model.hidden_size, seed=0)
        try:
            head.load_state_dict(stored)
        except RuntimeError as error:
            raise ModelFolderError(f"The reward head in “{path}” does not fit this base model.") from error
        model.attach(name, path)
        return cls(model, name, head)

    @torch.no_grad()
    def score(self, packed: Packed) -> Tensor:
        """[N] rewards, one per packed completion. The model's role is put back afterwards."""
        before = self.model.role
        self.model.take_role(Role(self.name))
        scores = self.head(last_states(hidden_states(self.model, packed), packed))
        self.model.take_role(before)
        return scores


def last_states(hidden: Tensor, packed: Packed) -> Tensor:
    """[N, H] the hidden state at each completion's last real token, found by position."""
    return hidden[packed.rows, packed.last]
