"""A reward model: an adapter and a linear head that reads the hidden states of a completion."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from desktop_rlhf.adapters.packing import Packed, hidden_states
from desktop_rlhf.adapters.resident import ResidentModel, Role, load_head
from desktop_rlhf.records.errors import ModelFolderError


class RewardHead(nn.Module):
    """Hidden states of a completion -> reward. ``gain`` and ``bias`` put the base's samples at mean 0, variance 1.

    The weights start at 0, so that no completion is preferred before anything was learned.

    Args:
        pooling: ``last`` reads the state at the completion's last token, as InstructGPT does; ``mean`` reads the mean
            over its tokens. On whole answers that people judged the last token learned more, on completions that were
            cut at 32 tokens the mean did; see the note on the trainers.
    """

    def __init__(self, hidden_size: int, pooling: str = "last") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size))
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("pools_mean", torch.tensor(pooling == "mean"))
        self.gain: Tensor
        self.bias: Tensor
        self.pools_mean: Tensor

    def rewards(self, model: ResidentModel, packed: Packed) -> Tensor:
        """[N] one reward per packed completion, under the model's present role."""
        return self(hidden_states(model, packed, wanted=self.read(packed)), packed)

    def read(self, packed: Packed) -> Tensor:
        """[W] the tokens whose states are read, ascending; the others need no last layer."""
        return packed.wanted if self.pools_mean else packed.last

    def forward(self, hidden: Tensor, packed: Packed) -> Tensor:
        """[S, H] states of a packed forward to [N], one reward per completion."""
        pooled = mean_states(hidden, packed) if self.pools_mean else last_states(hidden, packed)
        return (pooled @ self.weight) * self.gain + self.bias


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
        head = RewardHead(model.hidden_size)
        try:
            head.load_state_dict(stored)
        except RuntimeError as error:
            raise ModelFolderError(f"The reward head in “{path}” does not fit this base model.") from error
        model.attach(name, path)
        return cls(model, name, head.to(model.device))

    @torch.no_grad()
    def score(self, packed: Packed) -> Tensor:
        """[N] rewards, one per packed completion. The model's role is put back afterwards."""
        before = self.model.role
        self.model.take_role(Role(self.name))
        scores = self.head.rewards(self.model, packed)
        self.model.take_role(before)
        return scores


def last_states(hidden: Tensor, packed: Packed) -> Tensor:
    """[N, H] the hidden state at each completion's last real token, found by position."""
    return hidden[packed.last]


def mean_states(hidden: Tensor, packed: Packed) -> Tensor:
    """[N, H] the mean hidden state over each completion's real tokens."""
    lengths = packed.mask.sum(-1)
    places = (packed.last - lengths + 1).unsqueeze(-1) + torch.arange(packed.mask.shape[1], device=hidden.device)
    own = hidden[places.clamp(max=len(hidden) - 1)]
    return torch.where(packed.mask.unsqueeze(-1), own, 0.0).sum(1) / lengths.unsqueeze(-1)
