from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.numerics.advantages import group_relative
from desktop_rlhf.policy.grpo.loss import grpo_loss
from desktop_rlhf.policy.grpo.spec import GrpoSpec
from desktop_rlhf.policy.grpo.train import train
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.stop import StopToken

PROMPTS = tuple(Prompt(f"p{i}", (Message("user", f"question {i}"),)) for i in range(2))


def steps_of(model, path, spec: GrpoSpec, prompts=PROMPTS) -> list[StepTaken]:
    inputs = TrainingInputs(model, None, (), prompts, path, path / "grpo")
    return [event for event in train(spec, inputs, StopToken()) if isinstance(event, StepTaken)]


def test_that_rewards_are_taken_relative_to_their_group() -> None:
    rewards = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    assert group_relative(rewards, scale=False).tolist() == pytest.approx([-2, -1, 3])
    deviation = math.sqrt((4 + 1 + 9) / 2)
    wanted = [x / (deviation + 1e-4) for x in (-2, -1, 3)]
    assert group_relative(rewards, scale=True).tolist() == pytest.approx(wanted, rel=1e-9)


def test_that_the_loss_equals_a_table_worked_by_hand() -> None:
    ratios, references = [[1.5, 0.9, 1.1], [0.5, 1.5]], [[-1.0, -2.0, -0.5], [-1.5, -0.2]]
    old, advantages, beta = -1.0, [2.0, -1.0], 0.3
    surrogate = [-2 * 1.2, -2 * 0.9, -2 * 1.1, 0.8, 1.5]
    flat = [
        (math.log(q), r) for row, refs in zip(ratios, references, strict=True) for q, r in zip(row, refs, strict=True)
    ]
    k3 = [math.exp(r - (old + q)) - 1 - (r - (old + q)) for q, r in flat]
    wanted = sum(s + beta * k for s, k in zip(surrogate, k3, strict=True)) / 5  # five tokens, each the same weight
    new = torch.full((2, 3), 4.0, dtype=torch.float64)
    reference = torch.full((2, 3), -40.0, dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    new[mask] = torch.tensor([old + q for q, _ in flat], dtype=torch.float64)
    reference[mask] = torch.tensor([r for _, r in flat], dtype=torch.float64)
    loss, kl, clipped = grpo_loss(
        new, torch.full_like(new, old), reference, torch.tensor(advantages, dtype=torch.float64), mask,
        cliprange=0.2, beta=beta,
    )  # fmt: skip
    assert loss.item() == pytest.approx(wanted, rel=1e-9)
    assert kl.item() == pytest.approx(sum(k3) / 5, rel=1e-9)
    assert clipped.item() == pytest.approx(2 / 5)


def test_that_the_first_gradient_is_the_advantage_and_a_pull_to_the_reference() -> None:
    old = torch.tensor([[-1.0, -2.0]], dtype=torch.float64)
    reference = torch.tensor([[-1.5, -2.0]], dtype=torch.float64)
    new = old.clone().requires_grad_()
    loss, _, _ = grpo_loss(
        new, old, reference, torch.tensor([0.6], dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool),
        cliprange=0.2, beta=0.5,
    )  # fmt: skip
    loss.backward()
    assert new.grad[0].tolist() == pytest.approx([(-0.6 + 0.5 * (1 - math.exp(-0.5))) / 2, -0.3])


def test_that_the_same_reward_for_all_teaches_nothing(llama, tmp_path, table_reward) -> None:
    table_reward(torch.full((258,), 0.1))
    spec = GrpoSpec(updates=2, completions_per_prompt=3, prompts_per_update=2, max_new_tokens=4, beta=0.0)
    steps = steps_of(llama, tmp_path, spec)
    assert [(s.metrics["grad_norm"], s.metrics["frac_reward_zero_std"]) for s in steps] == [(0.0, 1.0)] * 2
    assert set(steps[0].metrics) == {metric.name for metric in GrpoSpec.metrics}


def test_that_the_first_update_starts_at_no_kl_and_no_clipping(llama, tmp_path, table_reward) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    (step,) = steps_of(llama, tmp_path, GrpoSpec(updates=1, prompts_per_update=2, max_new_tokens=4))
    assert step.metrics["kl"] == pytest.approx(0, abs=1e-6)
    assert step.metrics["clip_ratio/region_mean"] == 0
    assert step.metrics["grad_norm"] > 0


def test_that_grpo_reaches_its_closed_form_optimum(eight, next_logprobs, tmp_path, table_reward) -> None:
    """k3 in the loss is, in the mean over the policy's tokens, a pull by KL(ref || policy), not KL(policy || ref).

    So with one-token completions and plain rewards the best policy is beta ref / (c - r), c making it add up to 1.
    """
    rewards = torch.tensor([0.0, 0.3, -0.5, 0.8, 0.0, -0.2, 0.5, 0.1])
    beta = 0.5
    table_reward(rewards)
    reference = next_logprobs(eight, None)
    low, high = rewards.max().item() + 1e-6, rewards.max().item() + beta
    for _ in range(60):
        middle = (low + high) / 2
        above = (beta * reference.exp() / (middle - rewards)).sum().item() > 1
        low, high = (middle, high) if above else (low, middle)
    optimum = beta * reference.exp() / (low - rewards)
    spec = GrpoSpec(
        temperature=1.0,
        updates=150, prompts_per_update=1, completions_per_prompt=64, max_new_tokens=1, beta=beta, learning_rate=3e-3,
        scale_rewards=False, anneal=True,
    )  # fmt: skip
    steps_of(eight, tmp_path, spec, PROMPTS[:1])
    eight.attach("trained", tmp_path / "grpo")
    reached = next_logprobs(eight, "trained").exp()
    assert 0.5 * (reference.exp() - optimum).abs().sum().item() > 0.2
    assert 0.5 * (reached - optimum).abs().sum().item() < 0.02, (reached, optimum)


def test_that_grpo_without_a_reward_model_says_what_to_do(llama, tmp_path) -> None:
    with pytest.raises(NotEnoughDataError, match="GRPO needs a reward model"):
        next(train(GrpoSpec(), TrainingInputs(llama, None, (), PROMPTS, None, tmp_path / "x"), StopToken()))
