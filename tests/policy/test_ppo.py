from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from desktop_rlhf.adapters.optimizer import AdamW
from desktop_rlhf.adapters.packing import pack
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.completions.sampling import sample
from desktop_rlhf.numerics.advantages import gae
from desktop_rlhf.policy import on_policy, rollout
from desktop_rlhf.policy.ppo.critic import ValueHead
from desktop_rlhf.policy.ppo.loss import policy_loss, token_rewards, value_loss
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.policy.ppo.train import train
from desktop_rlhf.policy.rloo.spec import RlooSpec
from desktop_rlhf.policy.rollout import Rollouts, evaluate
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import AdapterSaved, Noted, Progressed, SampleShown, StepTaken
from desktop_rlhf.runs.stop import StopToken

PROMPTS = tuple(Prompt(f"p{i}", (Message("user", f"question {i}"),)) for i in range(4))
SMALL = PpoSpec(updates=2, ppo_epochs=1, max_new_tokens=6, prompts_per_update=2, learning_rate=1e-2)


def run(model, path: Path, spec: PpoSpec, prompts=PROMPTS):
    return list(train(spec, TrainingInputs(model, None, (), prompts, path, path / "ppo"), StopToken()))


def steps_of(events) -> list[StepTaken]:
    return [event for event in events if isinstance(event, StepTaken)]


def notes_of(events) -> list[str]:
    return [event.sentence for event in events if isinstance(event, Noted)]


def test_that_the_policy_loss_equals_a_table_worked_by_hand() -> None:
    old = torch.zeros(1, 4)
    new = torch.log(torch.tensor([[1.5, 0.5, 1.5, 9.0]]))
    advantages = torch.tensor([[1.0, -1.0, -1.0, 5.0]])
    mask = torch.tensor([[True, True, True, False]])
    # clipped gain 1.2; clipped loss 0.8; unclipped loss 1.5; the last token is padding
    loss, clipped = policy_loss(new, old, advantages, mask, 0.2)
    assert loss.item() == pytest.approx((-1.2 + 0.8 + 1.5) / 3, rel=1e-6)
    assert clipped.item() == pytest.approx(2 / 3)


def test_that_the_value_loss_equals_a_table_worked_by_hand() -> None:
    old, new = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.1, 7.0]])
    returns, mask = torch.tensor([[1.0, 1.0, -7.0]]), torch.tensor([[True, True, False]])
    loss, clipped = value_loss(new, old, returns, mask, 0.2)
    assert loss.item() == pytest.approx(0.5 * (0.8**2 + 0.9**2) / 2, rel=1e-6)
    assert clipped.item() == 0.5


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_that_a_completions_token_rewards_add_up_to_score_less_kl(estimator) -> None:
    generator = torch.Generator().manual_seed(0)
    policy, reference = torch.randn(3, 5, generator=generator), torch.randn(3, 5, generator=generator)
    mask = torch.arange(5) < torch.tensor([[5], [1], [3]])
    scores = torch.tensor([1.0, -2.0, 0.5])
    rewards = token_rewards(scores, policy, reference, mask, 0.3, estimator)
    for row, length in enumerate((5, 1, 3)):
        kl = 0.0
        for p, r in zip(policy[row, :length].tolist(), reference[row, :length].tolist(), strict=True):
            kl += p - r if estimator == "k1" else math.exp(r - p) - 1 - (r - p)
        assert rewards[row].sum().item() == pytest.approx(scores[row].item() - 0.3 * kl, rel=1e-5)
    assert (rewards[~mask] == 0).all()


def test_that_the_score_lands_on_the_last_token_alone_and_earlier_ones_are_credited_from_there() -> None:
    same, scores = torch.full((3, 5), -1.0), torch.tensor([1.0, -2.0, 0.5])
    lengths = (5, 1, 3)
    mask = torch.arange(5) < torch.tensor(lengths).unsqueeze(-1)
    rewards = token_rewards(scores, same, same, mask, 0.3)
    credit = gae(rewards, torch.zeros(3, 5), mask, gamma=0.9, lam=0.5)
    for row, (score, length) in enumerate(zip(scores.tolist(), lengths, strict=True)):
        padding = [0.0] * (5 - length)
        assert rewards[row].tolist() == [0.0] * (length - 1) + [score] + padding
        expected = [score * (0.9 * 0.5) ** (length - 1 - t) for t in range(length)] + padding
        assert credit[row].tolist() == pytest.approx(expected)


def test_that_every_token_pays_its_own_kl_and_the_last_one_alone_gets_the_score() -> None:
    policy = torch.tensor([[-1.0, -2.0, 7.0, 7.0], [-0.5, -0.25, -3.0, -1.0]])
    reference = torch.tensor([[-1.5, -1.0, -9.0, 9.0], [-0.5, -2.25, -3.0, -2.0]])
    mask = torch.arange(4) < torch.tensor([[2], [4]])
    scores = torch.tensor([3.0, -1.0])
    rewards = token_rewards(scores, policy, reference, mask, 0.5)
    wanted = torch.tensor([[-0.25, 3.0 + 0.5, 0.0, 0.0], [0.0, -1.0, 0.0, -1.0 - 0.5]])
    assert torch.allclose(rewards, wanted)
    spike = torch.tensor([[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, -1.0]])
    assert torch.equal(token_rewards(scores, policy, reference, mask, 0.0), spike)


@pytest.mark.parametrize(
    ("max_length", "again"),
    [(512, False), (512, True), (40, False)],
    ids=["all prompts in one forward", "in one forward that is made again", "each in its own"],
)
def test_that_the_first_ratio_is_exactly_one_with_sampling_served_between(
    llama, tmp_path, table_reward, monkeypatch, max_length, again
) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    if again:
        monkeypatch.setattr(Rollouts, "take_forward", lambda self: None)
    ratios = []
    inputs = TrainingInputs(llama, None, (), PROMPTS, tmp_path, tmp_path / "ppo")
    for event in train(dataclasses.replace(SMALL, max_length=max_length), inputs, StopToken()):
        if isinstance(event, Progressed):
            role = llama.role
            for _ in sample(llama, None, [[5, 6]], [1], Sampler(max_new_tokens=3), StopToken()):
                pass
            llama.take_role(role)
        if isinstance(event, StepTaken):
            ratios.append((event.metrics["val/ratio"], event.metrics["policy/approxkl_avg"]))
    assert ratios == [(1.0, 0.0), (1.0, 0.0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_that_the_first_pass_learns_from_the_forward_that_scored_the_rollout(
    fresh_llama, tmp_path, table_reward, monkeypatch, dtype
) -> None:
    """With the same bytes as if it were made again, whatever other jobs do meanwhile."""
    table_reward(torch.linspace(-1, 1, 258))
    spec, made = dataclasses.replace(SMALL, ppo_epochs=2), []

    def counted(*arguments):
        made.append(torch.is_grad_enabled())
        return evaluate(*arguments)

    def weights(name: str) -> tuple[dict[str, torch.Tensor], list]:
        llama = fresh_llama()
        model = ResidentModel(llama.base.to(dtype), llama.tokenizer)
        inputs = TrainingInputs(model, None, (), PROMPTS, tmp_path, tmp_path / name)
        metrics = []
        for number, event in enumerate(train(spec, inputs, StopToken())):
            if isinstance(event, Progressed):
                role, other = model.role, f"other {number}"
                model.new_adapter(other, rank=32, alpha=32, seed=0)
                for _ in sample(model, other, [[5, 6]], [1], Sampler(max_new_tokens=3), StopToken()):
                    pass
                model.take_role(role)
                model.detach(other)
            if isinstance(event, StepTaken):
                metrics.append(event.metrics)
        return load_file(tmp_path / name / "adapter_model.safetensors"), metrics

    monkeypatch.setattr(rollout, "evaluate", counted)
    monkeypatch.setattr(on_policy, "evaluate", counted)
    taken, metrics = weights("taken")
    assert made == [True, True] * 2  # scoring with the first pass, and the second pass, of two updates
    monkeypatch.setattr(Rollouts, "take_forward", lambda self: None)
    again, as_before = weights("again")
    assert made == [True, True] * 2 + [True, True, True] * 2
    assert as_before == metrics
    assert taken.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in taken.items())


def test_that_no_gradient_of_the_value_reaches_the_policy(llama) -> None:
    llama.new_adapter("policy", rank=4, alpha=8, seed=0)
    llama.take_role(Role("policy", trainable=True))
    head = ValueHead(llama.hidden_size)
    torch.nn.init.ones_(head.weight)
    _, values, _ = evaluate(llama, pack([([5, 6], [[7, 8, 9]])]), 1.0, head)
    values.sum().backward()
    assert all(parameter.grad is None for parameter in llama.trainable_parameters())
    assert head.weight.grad is not None


def test_that_a_new_critic_values_everything_at_exactly_nothing() -> None:
    values = ValueHead(8)(torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(values, torch.zeros(2, 3))


def test_that_every_update_shows_a_sample_beside_its_curves(llama, tmp_path, table_reward) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    events = run(llama, tmp_path, SMALL)
    assert [e.step for e in events if isinstance(e, SampleShown)] == [e.step for e in steps_of(events)] == [1, 2]


def test_that_every_declared_metric_is_told_and_no_other(llama, tmp_path, table_reward) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    (first, _) = steps_of(run(llama, tmp_path, SMALL))
    assert set(first.metrics) == {metric.name for metric in PpoSpec.metrics}
    told = first.metrics
    assert told["objective/rlhf_reward"] == pytest.approx(
        told["objective/scores"] + told["objective/non_score_reward"], abs=1e-6
    )


def test_that_curves_of_the_reward_are_named_so_that_two_add_up_to_the_third() -> None:
    ppo, rloo = ({metric.name: metric.title for metric in spec.metrics} for spec in (PpoSpec, RlooSpec))
    score, penalty = ppo["objective/scores"], ppo["objective/non_score_reward"]
    assert penalty == "KL penalty"
    assert ppo["objective/rlhf_reward"] == rloo["rlhf_reward"] == f"{score} with {penalty}"


@pytest.mark.parametrize("adaptive", [False, True])
def test_that_ppo_reaches_the_closed_form_optimum(eight, next_logprobs, tmp_path, table_reward, adaptive: bool) -> None:
    """With one-token completions the best policy is ref * exp(r / kl_coef), normalised; adaptive KL finds kl_coef."""
    rewards = torch.tensor([0.0, 0.3, -0.5, 0.8, 0.0, -0.2, 0.5, 0.1])
    kl_coef = 0.5
    table_reward(rewards)
    base = eight.base_sha256()
    reference = next_logprobs(eight, None)
    optimum = (reference + rewards / kl_coef).softmax(-1)
    spec = PpoSpec(
        temperature=1.0,
        updates=150, prompts_per_update=1, completions_per_prompt=64, max_new_tokens=1, ppo_epochs=2,
        kl_coef=2.0 if adaptive else kl_coef, learning_rate=3e-3, adaptive_kl=adaptive, kl_horizon=400,
        target_kl=(optimum * (optimum.log() - reference)).sum().item() if adaptive else 6.0,
        anneal=True,
    )  # fmt: skip
    steps = steps_of(run(eight, tmp_path, spec, PROMPTS[:1]))
    eight.attach("trained", tmp_path / "ppo")
    reached = next_logprobs(eight, "trained").exp()
    before = 0.5 * (reference.exp() - optimum).abs().sum().item()
    after = 0.5 * (reached - optimum).abs().sum().item()
    assert before > 0.25
    assert after < 0.02, (reached, optimum)
    last = steps[-30:]
    if adaptive:
        assert sum(s.metrics["objective/kl_coef"] for s in last) / 30 == pytest.approx(kl_coef, rel=0.3)
    else:
        best = torch.logsumexp(reference + rewards / kl_coef, -1).item() * kl_coef
        assert sum(s.metrics["objective/rlhf_reward"] for s in last) / 30 == pytest.approx(best, abs=0.06)
    assert eight.base_sha256() == base


def test_that_a_value_warm_up_moves_the_value_and_not_the_policy(llama, tmp_path, table_reward) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    spec = dataclasses.replace(SMALL, updates=3, value_warmup=2, ppo_epochs=2)
    steps = steps_of(run(llama, tmp_path, spec))
    assert [s.metrics["grad_norm"] == 0 for s in steps] == [True, True, False]
    assert [s.metrics["val/ratio"] == 1 for s in steps] == [True, True, False]
    assert [s.metrics["objective/kl"] == 0 for s in steps] == [True, True, True]


def test_that_the_optimiser_does_not_meet_the_policy_while_the_value_warms_up(
    llama, tmp_path, table_reward, monkeypatch
) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    met: list[list[bool]] = []
    taken = AdamW.step

    def step(self, *arguments, **named):
        met.append([all(p.grad is None for p in group.parameters) for group in self.groups])
        return taken(self, *arguments, **named)

    monkeypatch.setattr(AdamW, "step", step)
    run(llama, tmp_path, dataclasses.replace(SMALL, updates=2, value_warmup=1, ppo_epochs=2))
    assert met == [[True, False]] * 2 + [[False, False]] * 2


def test_that_gradients_stay_where_they_lay_from_pass_to_pass(llama, tmp_path, table_reward, monkeypatch) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    places: list[list[int]] = []
    taken = AdamW.step

    def step(self, *arguments, **named):
        places.append([p.grad.data_ptr() for p in self.parameters()])
        return taken(self, *arguments, **named)

    monkeypatch.setattr(AdamW, "step", step)
    run(llama, tmp_path, dataclasses.replace(SMALL, updates=2, ppo_epochs=2))
    assert len(places) == 4
    assert places[0] == places[1] == places[2] == places[3]


def test_that_the_rate_falls_to_its_last_share_only_with_anneal(llama, tmp_path, table_reward, monkeypatch) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    rates: list[float] = []
    taken = AdamW.step

    def step(self, *arguments, **named):
        rates.append(self.groups[0].rate)
        return taken(self, *arguments, **named)

    monkeypatch.setattr(AdamW, "step", step)
    run(llama, tmp_path / "falling", dataclasses.replace(SMALL, updates=4, anneal=True))
    assert rates == pytest.approx([1e-2, 0.75e-2, 0.5e-2, 0.25e-2])
    rates.clear()
    run(llama, tmp_path / "steady", SMALL)
    assert rates == [1e-2, 1e-2]


def test_that_adam_takes_a_large_epsilon_and_gradients_that_were_clipped(
    llama, tmp_path, table_reward, monkeypatch
) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    met: list[tuple[float, float]] = []
    taken = AdamW.step

    def step(self, *arguments, **named):
        for group in self.groups:
            met.append((self.eps, torch.stack([p.grad.norm() for p in group.parameters]).norm().item()))
        return taken(self, *arguments, **named)

    monkeypatch.setattr(AdamW, "step", step)
    steps = steps_of(run(llama, tmp_path, dataclasses.replace(SMALL, max_grad_norm=1e-3)))
    assert all(s.metrics["grad_norm"] > 1e-2 for s in steps)
    assert len(met) == 2 * 2  # the policy and its critic
    assert all(eps == 1e-5 and norm == pytest.approx(1e-3, rel=1e-2) for eps, norm in met)


def test_that_a_run_above_its_kl_limit_ends_and_keeps_what_it_has(llama, tmp_path, table_reward) -> None:
    table_reward(torch.linspace(-1, 1, 258))
    events = run(llama, tmp_path, dataclasses.replace(SMALL, updates=30, ppo_epochs=4, stop_kl=0.5))
    assert 1 <= len(steps_of(events)) < 30
    assert all(s.metrics["objective/kl"] <= 0.5 for s in steps_of(events))
    (sentence,) = notes_of(events)
    assert "above 0.5" in sentence
    assert isinstance(events[-1], AdapterSaved)
    assert not llama.attached


def test_that_a_kl_below_zero_is_told_once(llama, tmp_path, table_reward, monkeypatch) -> None:
    """As if the reference were scored at another temperature than the policy."""
    from desktop_rlhf.policy import rollout

    table_reward(torch.zeros(258))
    plain = rollout.completion_logprobs
    assert notes_of(run(llama, tmp_path / "sound", SMALL)) == []
    monkeypatch.setattr(rollout, "completion_logprobs", lambda *known: plain(*known) + 1.0)
    (sentence,) = notes_of(run(llama, tmp_path / "unsound", SMALL))
    assert "disagree" in sentence


def test_that_prompts_without_room_are_left_out_and_told(llama, tmp_path, table_reward) -> None:
    table_reward(torch.zeros(258))
    long = Prompt("long", (Message("user", "word " * 60),))
    events = run(llama, tmp_path, dataclasses.replace(SMALL, max_length=80), (*PROMPTS, long))
    assert notes_of(events) == ["Learns from 4 of 5 prompts. Left out: 1 without room for max_new_tokens."]
    with pytest.raises(NotEnoughDataError, match="leaves room"):
        run(llama, tmp_path / "none", dataclasses.replace(SMALL, max_length=80), (long,))


def test_that_a_stopped_run_saves_what_it_has(llama, tmp_path, table_reward) -> None:
    table_reward(torch.zeros(258))
    stop = StopToken()
    inputs = TrainingInputs(llama, None, (), PROMPTS, tmp_path, tmp_path / "ppo")
    events = []
    for event in train(PpoSpec(updates=50, max_new_tokens=4), inputs, stop):
        events.append(event)
        if isinstance(event, StepTaken):
            stop.request()
    assert len(steps_of(events)) == 1
    assert isinstance(events[-1], AdapterSaved)
    assert (tmp_path / "ppo" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("stage", ["writing", "scoring", "learning"])
def test_that_a_stop_is_heard_before_the_next_piece_of_work(llama, tmp_path, table_reward, stage: str) -> None:
    table_reward(torch.zeros(258))
    stop = StopToken()
    inputs = TrainingInputs(llama, None, (), PROMPTS, tmp_path, tmp_path / "ppo")
    after = []
    for event in train(SMALL, inputs, stop):
        if stop.requested:
            after.append(event)
        elif isinstance(event, Progressed) and event.stage == stage:
            stop.request()
    assert after == []
    assert not (tmp_path / "ppo").exists()
    assert not llama.attached


def test_that_ppo_without_a_reward_model_says_what_to_do(llama, tmp_path) -> None:
    with pytest.raises(NotEnoughDataError, match="PPO needs a reward model"):
        next(train(PpoSpec(), TrainingInputs(llama, None, (), PROMPTS, None, tmp_path / "x"), StopToken()))
