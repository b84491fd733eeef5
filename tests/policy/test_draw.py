"""What a rollout holds, from a model of bytes: the ids that were sampled, and what every role says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.policy import rollout
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.policy.ppo.train import PpoLearner
from desktop_rlhf.policy.rollout import Episode, Rollouts, evaluate
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.model import RewardModel
from desktop_rlhf.runs.stop import StopToken

PROMPTS = tuple(Prompt(f"p{i}", (Message("user", f"question {i}"),)) for i in range(4))
WARM = PpoSpec(temperature=1.5, max_new_tokens=40, prompts_per_update=2, completions_per_prompt=24)


@pytest.fixture
def draw(table_reward) -> Callable[..., list[Episode]]:
    """Draws one rollout with an adapter named ``policy``; the reward hangs on the first token."""
    table_reward(torch.linspace(-1, 1, 258))

    def drawn(model: ResidentModel, spec: PpoSpec, critic=None) -> list[Episode]:
        return finish(Rollouts(spec, model, PROMPTS, "policy", None, RewardModel.attach(model, "judge", None), critic))

    return drawn


def finish(rollouts: Rollouts, step: int = 0) -> list[Episode]:
    drawing = rollouts.draw(step, StopToken())
    with pytest.raises(StopIteration) as ended:
        while True:
            next(drawing)
    return ended.value.value


def new_policy(model: ResidentModel, moved: bool) -> None:
    """An adapter that says what the base says or, ``moved``, something else."""
    model.new_adapter("policy", rank=4, alpha=8, seed=0)
    model.take_role(Role("policy", trainable=True))
    if moved:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.trainable_parameters():
                parameter += torch.randn(parameter.shape, generator=generator) / 10


def plain(model: ResidentModel, adapter: str | None, episode: Episode, row: int, temperature: float) -> torch.Tensor:
    """One unpadded completion through the model as transformers runs it."""
    model.take_role(Role(adapter))
    prompt, completion = list(episode.prompt_ids), list(episode.drawn[row].completion_ids)
    with torch.no_grad():
        logits = model.base(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1)[range(len(completion)), completion]


def test_that_the_ids_learned_from_are_the_ids_that_were_sampled(llama, draw, monkeypatch) -> None:
    new_policy(llama, moved=True)
    sampled = []

    def listened(*asked):
        sampled.extend((yield from sampling(*asked)))
        return sampled

    sampling = rollout.sample
    monkeypatch.setattr(rollout, "sample", listened)
    episodes = draw(llama, WARM)
    kept = [
        tuple(ids[mask].tolist()) for e in episodes for ids, mask in zip(e.packed.targets, e.packed.mask, strict=True)
    ]
    assert kept == [one.completion_ids for one in sampled]
    assert {one.ended for one in sampled} == {True, False}
    assert all((ids[-1] in llama.end_ids) is one.ended for ids, one in zip(kept, sampled, strict=True))


def test_that_only_what_was_cut_pays_the_penalty_and_nothing_stands_behind_the_end(llama, draw) -> None:
    new_policy(llama, moved=True)
    free = draw(llama, WARM)
    paid = draw(llama, dataclasses.replace(WARM, missing_eos_penalty=1.0))
    cut = torch.tensor([not one.ended for e in free for one in e.drawn])
    assert 0 < cut.sum() < len(cut)
    assert not all(e.packed.mask.all() for e in free)
    for name in ("scores", "rewards"):
        difference = torch.cat([getattr(e, name) for e in free]) - torch.cat([getattr(e, name) for e in paid])
        assert difference.tolist() == pytest.approx(cut.float().tolist(), abs=1e-6)
    learner = PpoLearner(WARM, llama.hidden_size)
    learner.begin(0, paid)
    for e, advantages in zip(paid, learner.advantages, strict=True):
        padding = ~e.packed.mask
        assert not any(x[padding].any() for x in (advantages, e.old_logprobs, e.reference_logprobs, e.entropy))


def test_that_a_new_policy_says_of_its_rollout_exactly_what_the_reference_says(resident, draw) -> None:
    new_policy(resident, moved=False)
    for episode in draw(resident, PpoSpec(max_new_tokens=6)):
        assert torch.equal(episode.old_logprobs, episode.reference_logprobs)


def test_that_policy_and_reference_are_scored_at_the_temperature_of_sampling(resident, draw) -> None:
    new_policy(resident, moved=True)
    for episode in draw(resident, PpoSpec(temperature=0.7, max_new_tokens=6)):
        for adapter, told in (("policy", episode.old_logprobs), (None, episode.reference_logprobs)):
            for row, mask in enumerate(episode.packed.mask):
                assert torch.allclose(told[row, mask], plain(resident, adapter, episode, row, 0.7), atol=1e-5)
        assert not torch.allclose(episode.old_logprobs, episode.reference_logprobs, atol=0.01)


def test_that_a_value_is_read_from_the_state_that_predicts_its_token(resident, draw) -> None:
    new_policy(resident, moved=True)
    episodes = draw(resident, PpoSpec(max_new_tokens=6), lambda hidden: hidden[..., 0])
    for episode in episodes:
        resident.take_role(Role("policy"))
        for row, mask in enumerate(episode.packed.mask):
            prompt, completion = list(episode.prompt_ids), list(episode.drawn[row].completion_ids)
            with torch.no_grad():
                states = resident.trunk(torch.tensor([prompt + completion])).last_hidden_state[0, :, 0]
            assert torch.allclose(episode.old_values[row, mask], states[len(prompt) - 1 : -1], atol=1e-5)


def test_that_every_prompt_comes_once_before_any_comes_again_and_the_order_changes(llama, table_reward) -> None:
    table_reward(torch.zeros(258))
    new_policy(llama, moved=False)
    spec = PpoSpec(max_new_tokens=1, prompts_per_update=2, completions_per_prompt=1)
    rollouts = Rollouts(spec, llama, PROMPTS, "policy", None, RewardModel.attach(llama, "judge", None), None)
    passes = [[e.prompt for half in (0, 1) for e in finish(rollouts, 2 * n + half)] for n in range(6)]
    assert all(sorted(each) == sorted(p.text for p in PROMPTS) for each in passes)
    assert len(set(map(tuple, passes))) > 1


@pytest.mark.parametrize("role", [Role("policy", trainable=True), Role(None)])
def test_that_no_role_draws_dropout(resident, draw, role: Role) -> None:
    """The model of absolute positions is made with dropout, of its own modules and within attention."""
    new_policy(resident, moved=True)
    (episode, *_) = draw(resident, PpoSpec(max_new_tokens=6))
    resident.take_role(role)
    first, again = (evaluate(resident, episode.packed, 1.0)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert first.requires_grad is role.trainable
