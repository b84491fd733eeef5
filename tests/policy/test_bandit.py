"""One token, one reward: what every algorithm that learns from rollouts has to get right before anything harder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.grpo.spec import GrpoSpec
from desktop_rlhf.policy.grpo.train import train as grpo
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.policy.ppo.train import train as ppo
from desktop_rlhf.policy.rloo.spec import RlooSpec
from desktop_rlhf.policy.rloo.train import train as rloo
from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.stop import StopToken

PROMPT = Prompt("p", (Message("user", "q"),))
SMALL = {
    "temperature": 1.0, "updates": 40, "prompts_per_update": 1, "completions_per_prompt": 32, "max_new_tokens": 1,
}  # fmt: skip


def with_ppo(coefficient: float, **settings) -> tuple[Callable, RolloutSpec]:
    return ppo, PpoSpec(kl_coef=coefficient, **SMALL, **settings)


def with_rloo(coefficient: float, **settings) -> tuple[Callable, RolloutSpec]:
    return rloo, RlooSpec(beta=coefficient, **SMALL, **settings)


def with_grpo(coefficient: float, **settings) -> tuple[Callable, RolloutSpec]:
    return grpo, GrpoSpec(beta=coefficient, **SMALL, **settings)


@pytest.fixture(params=[with_ppo, with_rloo, with_grpo])
def learnt(request, eight, next_logprobs, table_reward, tmp_path: Path):
    """[V] probabilities before and after learning from a table of rewards."""

    def learn(rewards: torch.Tensor, coefficient: float, **settings) -> tuple[torch.Tensor, torch.Tensor]:
        table_reward(rewards)
        train, spec = request.param(coefficient, **settings)
        path = tmp_path / f"coefficient-{coefficient:g}"
        for _ in train(spec, TrainingInputs(eight, None, (), (PROMPT,), path, path), StopToken()):
            pass
        eight.attach("trained", path)
        before, after = (next_logprobs(eight, name).exp() for name in (None, "trained"))
        eight.detach("trained")
        return before, after

    return learn


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Total variation."""
    return 0.5 * (one - other).abs().sum().item()


def test_that_the_one_token_with_a_reward_is_all_that_is_said(learnt) -> None:
    before, after = learnt(torch.eye(8)[7], 0.0, learning_rate=1e-2)
    assert before[7] < 0.05
    assert after[7] > 0.95


def test_that_a_huge_kl_penalty_holds_the_policy_at_the_reference(learnt) -> None:
    learn = partial(learnt, torch.tensor([0.0, 0.3, -0.5, 0.8, 0.0, -0.2, 0.5, 0.1]), learning_rate=1e-4, anneal=True)
    assert distance(*learn(1000.0)) < 1e-3
    assert distance(*learn(0.0)) > 0.1


def test_that_the_same_reward_for_all_moves_nothing(learnt) -> None:
    assert distance(*learnt(torch.full((8,), 0.3), 0.0, learning_rate=1e-2)) == 0
