from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.adapters.packing import Packed, pack
from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.completions.sampling import sample
from desktop_rlhf.policy.ppo import train as ppo
from desktop_rlhf.policy.ppo.loss import policy_loss, token_rewards, value_loss
from desktop_rlhf.policy.ppo.rollout import ValueHead, evaluate
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.errors import NotEnoughDataError, NotFiniteError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import AdapterSaved, Progressed, StepTaken
from desktop_rlhf.runs.stop import StopToken

PROMPTS = tuple(Prompt(f"p{i}", (Message("user", f"question {i}"),)) for i in range(4))


class TableReward:
    """A reward model that looks a completion's first token up."""

    name = None

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table

    def score(self, packed: Packed) -> torch.Tensor:
        return self.table[packed.targets[:, 0]]


@pytest.fixture
def table_reward(monkeypatch):
    def use(table: torch.Tensor) -> None:
        monkeypatch.setattr(ppo.RewardModel, "attach", lambda *_: TableReward(table))

    return use


def test_that_the_policy_loss_equals_a_table_worked_by_hand() -> None:
    old = torch.zeros(1, 4)
    new = torch.log(torch.tensor([[1.5, 0.5, 1.5, 9.0]]))
    advantages = torch.tensor([[1.0, -1.0, -1.0, 5.0]])
    mask = torch.tensor([[True, True, True, False]])
    # clipped gain 1.2; clipped loss 0.8; unclipped loss 1.5; the last token is padding
    assert policy_loss(new, old, advantages, mask, 0.2).item() == pytest.approx((-1.2 + 0.8 + 1.5) / 3, rel=1e-6)


def test_that_the_value_loss_equals_a_table_worked_by_hand() -> None:
    old, new = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.1]])
    returns, mask = torch.tensor([[1.0, 1.0]]), torch.tensor([[True, True]])
    assert value_loss(new, old, returns, mask, 0.2).item() == pytest.approx(0.5 * (0.8**2 + 0.9**2) / 2, rel=1e-6)


def test_that_a_completions_token_rewards_add_up_to_score_less_kl() -> None:
    generator = torch.Generator().manual_seed(0)
    policy, reference = torch.randn(3, 5, generator=generator), torch.randn(3, 5, generator=generator)
    mask = torch.arange(5) < torch.tensor([[5], [1], [3]])
    scores = torch.tensor([1.0, -2.0, 0.5])
    rewards = token_rewards(scores, policy, reference, mask, kl_coef=0.3)
    kl = torch.where(mask, policy - reference, 0.0).sum(-1)
    assert torch.allclose(rewards.sum(-1), scores - 0.3 * kl)
    assert (rewards[~mask] == 0).all()


def test_that_the_first_ratio_is_exactly_one_with_sampling_served_between(llama, tmp_path, table_reward) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    ratios = []
    inputs = TrainingInputs(llama, None, (), PROMPTS, tmp_path, tmp_path / "ppo")
    spec = PpoSpec(updates=2, ppo_epochs=1, max_new_tokens=6, prompts_per_update=2, learning_rate=1e-2)
    for event in ppo.train(spec, inputs, StopToken()):
        if isinstance(event, Progressed):
            role = llama.role
            for _ in sample(llama, None, [[5, 6]], [1], Sampler(max_new_tokens=3), StopToken()):
                pass
            llama.take_role(role)
        if isinstance(event, StepTaken):
            ratios.append((event.metrics["val/ratio"], event.metrics["policy/approxkl_avg"]))
    assert ratios == [(1.0, 0.0), (1.0, 0.0)]


def test_that_no_gradient_of_the_value_reaches_the_policy(llama) -> None:
    llama.new_adapter("policy", rank=4, alpha=8, seed=0)
    llama.take_role(Role("policy", trainable=True))
    head = ValueHead(llama.hidden_size)
    torch.nn.init.ones_(head.linear.weight)
    _, values, _ = evaluate(llama, head, pack([([5, 6], [[7, 8, 9]])]), 1.0)
    values.sum().backward()
    assert all(parameter.grad is None for parameter in llama.trainable_parameters())
    assert head.linear.weight.grad is not None


def test_that_ppo_reaches_the_closed_form_optimum(eight, next_logprobs, tmp_path, table_reward) -> None:
    """With one-token completions the best policy is ref * exp(r / kl_coef), normalised."""
    rewards = torch.tensor([0.0, 0.3, -0.5, 0.8, 0.0, -0.2, 0.5, 0.1])
    kl_coef = 0.5
    table_reward(rewards)
    base = eight.base_sha256()
    reference = next_logprobs(eight, None)
    optimum = (reference + rewards / kl_coef).softmax(-1)
    spec = PpoSpec(
        updates=150, prompts_per_update=1, completions_per_prompt=64, max_new_tokens=1, ppo_epochs=2,
        kl_coef=kl_coef, learning_rate=3e-3,
    )  # fmt: skip
    steps = [
        event
        for event in ppo.train(
            spec, TrainingInputs(eight, None, (), PROMPTS[:1], tmp_path, tmp_path / "p"), StopToken()
        )
        if isinstance(event, StepTaken)
    ]
    eight.attach("trained", tmp_path / "p")
    reached = next_logprobs(eight, "trained").exp()
    before = 0.5 * (reference.exp() - optimum).abs().sum().item()
    after = 0.5 * (reached - optimum).abs().sum().item()
    assert before > 0.25
    assert after < 0.08, (reached, optimum)
    best = torch.logsumexp(reference + rewards / kl_coef, -1).item() * kl_coef
    last = [step.metrics["objective/rlhf_reward"] for step in steps[-30:]]
    assert sum(last) / 30 == pytest.approx(best, abs=0.06)
    assert eight.base_sha256() == base


def test_that_a_stopped_run_saves_what_it_has(llama, tmp_path, table_reward) -> None:
    table_reward(torch.zeros(258))
    stop = StopToken()
    inputs = TrainingInputs(llama, None, (), PROMPTS, tmp_path, tmp_path / "ppo")
    events = []
    for event in ppo.train(PpoSpec(updates=50, max_new_tokens=4), inputs, stop):
        events.append(event)
        if isinstance(event, StepTaken):
            stop.request()
    assert sum(isinstance(event, StepTaken) for event in events) == 1
    assert isinstance(events[-1], AdapterSaved)
    assert (tmp_path / "ppo" / "adapter_model.safetensors").is_file()


def test_that_a_score_that_is_not_a_number_ends_the_run(llama, tmp_path, table_reward) -> None:
    table_reward(torch.full((258,), math.nan))
    inputs = TrainingInputs(llama, None, (), PROMPTS, tmp_path, tmp_path / "ppo")
    with pytest.raises(NotFiniteError):
        list(ppo.train(PpoSpec(updates=1, max_new_tokens=4), inputs, StopToken()))


def test_that_ppo_without_a_reward_model_says_what_to_do(llama, tmp_path) -> None:
    with pytest.raises(NotEnoughDataError, match="needs a reward model"):
        next(ppo.train(PpoSpec(), TrainingInputs(llama, None, (), PROMPTS, None, tmp_path / "x"), StopToken()))
