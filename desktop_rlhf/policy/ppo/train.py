"""Train a policy by PPO against a reward model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.numerics.advantages import gae
from desktop_rlhf.numerics.kl import kl_tokens
from desktop_rlhf.numerics.masked import whiten_together
from desktop_rlhf.policy.kl_control import AdaptiveKl
from desktop_rlhf.policy.on_policy import learn
from desktop_rlhf.policy.ppo.critic import ValueHead
from desktop_rlhf.policy.ppo.loss import policy_loss, token_rewards, value_loss
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.policy.rollout import Episode, mean_kl, mean_length, share_ended
from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.stop import StopToken

FEWEST_TOKENS = 8  # fewer have no deviation worth dividing by


def train(spec: PpoSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one PPO run; raises and steps as ``policy.on_policy.learn``."""
    yield from learn(spec, inputs, stop, PpoLearner(spec, inputs.model.hidden_size, inputs.model.device))


class PpoLearner:
    """Advantages by GAE over a critic; the KL penalty is a reward of every token."""

    def __init__(self, spec: PpoSpec, hidden_size: int, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        self.critic = ValueHead(hidden_size).to(device)
        self.kl = AdaptiveKl(spec.kl_coef, spec.target_kl, spec.kl_horizon)
        self.trains_policy = True
        self.episodes: Sequence[Episode] = ()
        self.advantages: list[Tensor] = []
        self.returns: list[Tensor] = []

    def begin(self, step: int, episodes: Sequence[Episode]) -> None:
        spec = self.spec
        self.trains_policy = step >= spec.value_warmup
        self.episodes = episodes
        masks = [e.packed.mask for e in episodes]
        rewards = [
            token_rewards(
                e.rewards, e.old_logprobs, e.reference_logprobs, e.packed.mask, self.kl.coefficient, spec.kl_estimator
            )
            for e in episodes
        ]
        if spec.whiten_rewards and sum(map(self.weight, episodes)) >= FEWEST_TOKENS:
            rewards = whiten_together(rewards, masks, shift_mean=False)
        raw = [
            gae(r, e.old_values, e.packed.mask, gamma=spec.gamma, lam=spec.lam)
            for r, e in zip(rewards, episodes, strict=True)
        ]
        self.returns = [a + e.old_values for a, e in zip(raw, episodes, strict=True)]
        self.advantages = whiten_together(raw, masks)

    def weight(self, episode: Episode) -> int:
        return int(episode.packed.mask.sum())

    def loss(self, index: int, logprobs: Tensor, values: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        spec, episode = self.spec, self.episodes[index]
        mask = episode.packed.mask
        policy, clipped = policy_loss(logprobs, episode.old_logprobs, self.advantages[index], mask, spec.cliprange)
        value, value_clipped = value_loss(values, episode.old_values, self.returns[index], mask, spec.cliprange_value)
        change = (logprobs.detach() - episode.old_logprobs)[mask]
        loss = spec.vf_coef * value + (policy if self.trains_policy else 0.0)
        return loss, {
            "loss/policy_avg": policy,
            "loss/value_avg": value,
            "policy/approxkl_avg": 0.5 * (change**2).mean(),
            "policy/clipfrac_avg": clipped,
            "val/clipfrac_avg": value_clipped,
            "val/ratio": change.exp().mean(),
        }

    def finish(self) -> dict[str, float]:
        """Metrics over real tokens only; with ``adaptive_kl`` the coefficient moves afterwards."""
        episodes, coefficient = self.episodes, self.kl.coefficient
        scores = torch.cat([e.scores for e in episodes])
        cost = coefficient * torch.cat(
            [
                kl_tokens(e.old_logprobs, e.reference_logprobs, e.packed.mask, self.spec.kl_estimator).sum(-1)
                for e in episodes
            ]
        )
        entropy = torch.cat([torch.where(e.packed.mask, e.entropy, 0.0).sum(-1) for e in episodes])
        kl = mean_kl(episodes)
        if self.spec.adaptive_kl:
            self.kl.update(kl, len(scores))
        return {
            "objective/scores": scores.mean().item(),
            "objective/non_score_reward": -cost.mean().item(),
            "objective/rlhf_reward": (torch.cat([e.rewards for e in episodes]) - cost).mean().item(),
            "objective/kl": kl,
            "objective/kl_coef": coefficient,
            "objective/entropy": entropy.mean().item(),
            "completions/mean_length": mean_length(episodes),
            "val/contain_eos_token": share_ended(episodes),
        }

    def state(self) -> dict[str, float]:
        return {"kl_coef": self.kl.coefficient}

    def restore(self, state: Mapping[str, float]) -> None:
        self.kl.coefficient = state["kl_coef"]
