"""Train a policy by RLOO against a reward model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.on_policy import Memoryless, learn
from desktop_rlhf.policy.rloo.loss import rloo_advantages, rloo_loss
from desktop_rlhf.policy.rloo.spec import RlooSpec
from desktop_rlhf.policy.rollout import Episode, mean_entropy, mean_kl, mean_length, share_ended
from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.stop import StopToken


def train(spec: RlooSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one RLOO run; raises and steps as ``policy.on_policy.learn``."""
    yield from learn(spec, inputs, stop, RlooLearner(spec))


class RlooLearner(Memoryless):
    """A completion is one action, and its siblings are its baseline."""

    critic = None

    def __init__(self, spec: RlooSpec) -> None:
        self.spec = spec
        self.episodes: Sequence[Episode] = ()
        self.advantages: list[Tensor] = []

    def begin(self, step: int, episodes: Sequence[Episode]) -> None:
        self.episodes = episodes
        self.advantages = [
            rloo_advantages(e.rewards, e.old_logprobs, e.reference_logprobs, e.packed.mask, self.spec.beta)
            for e in episodes
        ]

    def weight(self, episode: Episode) -> int:
        return len(episode.scores)

    def loss(self, index: int, logprobs: Tensor, values: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        episode = self.episodes[index]
        loss, clipped = rloo_loss(
            logprobs, episode.old_logprobs, self.advantages[index], episode.packed.mask, self.spec.cliprange
        )
        return loss, {"loss": loss, "clip_ratio/region_mean": clipped}

    def finish(self) -> dict[str, float]:
        episodes, kl = self.episodes, mean_kl(self.episodes)
        spread = torch.stack([e.scores.std() for e in episodes])
        return {
            "reward": torch.cat([e.scores for e in episodes]).mean().item(),
            "rlhf_reward": torch.cat([e.rewards for e in episodes]).mean().item() - self.spec.beta * kl,
            "reward_std": spread.mean().item(),
            "frac_reward_zero_std": (spread < 1e-6).float().mean().item(),
            "kl": kl,
            "entropy": mean_entropy(episodes),
            "completions/mean_length": mean_length(episodes),
            "completions/clipped_ratio": 1 - share_ended(episodes),
        }
