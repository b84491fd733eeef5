"""Train a policy by GRPO against a reward model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.numerics.advantages import group_relative
from desktop_rlhf.policy.grpo.loss import grpo_loss
from desktop_rlhf.policy.grpo.spec import GrpoSpec
from desktop_rlhf.policy.on_policy import Memoryless, learn
from desktop_rlhf.policy.rollout import Episode, mean_entropy, mean_length, share_ended
from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.stop import StopToken


def train(spec: GrpoSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one GRPO run; raises and steps as ``policy.on_policy.learn``."""
    yield from learn(spec, inputs, stop, GrpoLearner(spec))


class GrpoLearner(Memoryless):
    """A token is one action, and every token of a completion gets its completion's advantage."""

    critic = None

    def __init__(self, spec: GrpoSpec) -> None:
        self.spec = spec
        self.episodes: Sequence[Episode] = ()
        self.advantages: list[Tensor] = []

    def begin(self, step: int, episodes: Sequence[Episode]) -> None:
        self.episodes = episodes
        self.advantages = [group_relative(e.rewards, scale=self.spec.scale_rewards) for e in episodes]

    def weight(self, episode: Episode) -> int:
        return int(episode.packed.mask.sum())

    def loss(self, index: int, logprobs: Tensor, values: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        episode = self.episodes[index]
        loss, kl, clipped = grpo_loss(
            logprobs,
            episode.old_logprobs,
            episode.reference_logprobs,
            self.advantages[index],
            episode.packed.mask,
            cliprange=self.spec.cliprange,
            beta=self.spec.beta,
        )
        return loss, {"loss": loss, "kl": kl, "clip_ratio/region_mean": clipped}

    def finish(self) -> dict[str, float]:
        episodes = self.episodes
        spread = torch.stack([e.scores.std() for e in episodes])
        return {
            "reward": torch.cat([e.scores for e in episodes]).mean().item(),
            "reward_std": spread.mean().item(),
            "frac_reward_zero_std": (spread < 1e-6).float().mean().item(),
            "entropy": mean_entropy(episodes),
            "completions/mean_length": mean_length(episodes),
            "completions/clipped_ratio": 1 - share_ended(episodes),
        }
