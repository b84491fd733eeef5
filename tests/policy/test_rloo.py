from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.numerics.advantages import leave_one_out
from desktop_rlhf.policy.rloo.loss import rloo_advantages, rloo_loss
from desktop_rlhf.policy.rloo.spec import RlooSpec
from desktop_rlhf.policy.rloo.train import train
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.stop import StopToken

PROMPTS = tuple(Prompt(f"p{i}", (Message("user", f"question {i}"),)) for i in range(2))


def steps_of(model, path, spec: RlooSpec, prompts=PROMPTS) -> list[StepTaken]:
    inputs = TrainingInputs(model, None, (), prompts, path, path / "rloo")
    return [event for event in train(spec, inputs, StopToken()) if isinstance(event, StepTaken)]


def test_that_a_baseline_is_the_mean_of_the_others() -> None:
    assert leave_one_out(torch.tensor([1.0, 2.0, 6.0])).tolist() == pytest.approx([1 - 4, 2 - 3.5, 6 - 1.5])
    assert leave_one_out(torch.tensor([3.0, 1.0])).tolist() == pytest.approx([2.0, -2.0])


def test_that_advantages_take_the_whole_completions_kl_off_the_score() -> None:
    policy = torch.tensor([[-1.0, -2.0], [-0.5, 8.0]])
    reference = torch.tensor([[-1.5, -3.0], [-0.1, 0.0]])
    mask = torch.tensor([[True, True], [True, False]])
    # k1 is 0.5 + 1.0 = 1.5 and -0.4; rewards 2 - 0.3 = 1.7 and 1 + 0.08 = 1.08
    advantages = rloo_advantages(torch.tensor([2.0, 1.0]), policy, reference, mask, 0.2)
    assert advantages.tolist() == pytest.approx([0.62, -0.62])


def test_that_the_loss_equals_a_table_worked_by_hand() -> None:
    old = torch.zeros(4, 2)
    new = torch.tensor([[0.3, 0.2], [0.05, 0.05], [-0.4, -0.1], [0.4, 9.0]])
    mask = torch.tensor([[True, True], [True, True], [True, True], [True, False]])
    advantages = torch.tensor([1.0, -2.0, -1.0, -0.5])
    wanted = (-1.2 + 2 * math.exp(0.1) + 0.8 + 0.5 * math.exp(0.4)) / 4  # ratios of whole completions, clipped at 0.2
    loss, clipped = rloo_loss(new, old, advantages, mask, 0.2)
    assert loss.item() == pytest.approx(wanted, rel=1e-6)
    assert clipped.item() == 0.5


def test_that_the_first_gradient_is_that_of_reinforce() -> None:
    old = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], dtype=torch.float64)
    new = old.clone().requires_grad_()
    mask = torch.tensor([[True, True], [True, False]])
    loss, _ = rloo_loss(new, old, torch.tensor([0.7, -0.7], dtype=torch.float64), mask, 0.2)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    loss.backward()
    assert new.grad.flatten().tolist() == pytest.approx([-0.35, -0.35, 0.35, 0.0])


def test_that_the_same_reward_for_all_teaches_nothing(llama, tmp_path, table_reward) -> None:
    table_reward(torch.full((258,), 0.1))
    spec = RlooSpec(updates=2, completions_per_prompt=3, prompts_per_update=2, max_new_tokens=4, beta=0.0, ppo_epochs=2)
    steps = steps_of(llama, tmp_path, spec)
    assert [(s.metrics["grad_norm"], s.metrics["frac_reward_zero_std"]) for s in steps] == [(0.0, 1.0)] * 2
    assert set(steps[0].metrics) == {metric.name for metric in RlooSpec.metrics}


def test_that_rloo_reaches_the_closed_form_optimum(eight, next_logprobs, tmp_path, table_reward) -> None:
    """With one-token completions the best policy is ref * exp(r / beta), normalised."""
    rewards = torch.tensor([0.0, 0.3, -0.5, 0.8, 0.0, -0.2, 0.5, 0.1])
    beta = 0.5
    table_reward(rewards)
    base = eight.base_sha256()
    reference = next_logprobs(eight, None)
    optimum = (reference + rewards / beta).softmax(-1)
    spec = RlooSpec(
        temperature=1.0,
        updates=150, prompts_per_update=1, completions_per_prompt=64, max_new_tokens=1, beta=beta, learning_rate=3e-3,
        anneal=True,
    )  # fmt: skip
    steps = steps_of(eight, tmp_path, spec, PROMPTS[:1])
    eight.attach("trained", tmp_path / "rloo")
    reached = next_logprobs(eight, "trained").exp()
    assert 0.5 * (reference.exp() - optimum).abs().sum().item() > 0.25
    assert 0.5 * (reached - optimum).abs().sum().item() < 0.02, (reached, optimum)
    best = torch.logsumexp(reference + rewards / beta, -1).item() * beta
    assert sum(s.metrics["rlhf_reward"] for s in steps[-30:]) / 30 == pytest.approx(best, abs=0.06)
    assert eight.base_sha256() == base


def test_that_rloo_without_a_reward_model_says_what_to_do(llama, tmp_path) -> None:
    with pytest.raises(NotEnoughDataError, match="RLOO needs a reward model"):
        next(train(RlooSpec(), TrainingInputs(llama, None, (), PROMPTS, None, tmp_path / "x"), StopToken()))
