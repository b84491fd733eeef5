"""What is scored of a rollout is what was sampled, under the distribution that it was sampled from."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import torch

from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.completions.sampling import filtered_weights, sample
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.policy.rollout import Episode, Rollouts, mean_kl
from desktop_rlhf.policy.sft.spec import SftSpec
from desktop_rlhf.policy.sft.train import train as sft
from desktop_rlhf.records.comparisons import JudgedCompletion
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import Progressed
from desktop_rlhf.runs.stop import StopToken

from .conftest import PROMPT_IDS, TableReward

PROMPTS = tuple(Prompt(f"p{i}", (Message("user", text),)) for i, text in enumerate(("q", "a longer question")))


def finished(work: Generator[Progressed, None, object]) -> object:
    with pytest.raises(StopIteration) as ended:
        while True:
            next(work)
    return ended.value.value


def rollout(model: ResidentModel, temperature: float, adapter: str = "policy") -> list[Episode]:
    """One rollout of a fresh adapter, the base being its reference."""
    model.new_adapter(adapter, rank=4, alpha=8, seed=0)
    spec = PpoSpec(temperature=temperature, prompts_per_update=2, completions_per_prompt=3, max_new_tokens=10)
    table = TableReward(torch.linspace(-1, 1, 258))
    episodes = finished(Rollouts(spec, model, PROMPTS, adapter, None, table, None).draw(0, StopToken()))
    assert isinstance(episodes, list)
    return episodes


@pytest.mark.parametrize("temperature", [0.5, 0.7, 1.0, 1.3])
def test_that_a_rollout_is_scored_under_the_distribution_it_was_drawn_from(resident, temperature) -> None:
    sampler = Sampler(temperature=temperature)
    for episode in rollout(resident, temperature):
        for row, drawn in enumerate(episode.drawn):
            ids, answer = [*episode.prompt_ids, *drawn.completion_ids], torch.tensor(drawn.completion_ids)
            with torch.no_grad():
                logits = resident.base(torch.tensor([ids])).logits[0, len(episode.prompt_ids) - 1 : -1]
            weights = filtered_weights(logits, sampler)
            chances = weights / weights.sum(-1, keepdim=True)
            wanted = chances.gather(-1, answer.unsqueeze(-1)).squeeze(-1).log()
            assert torch.allclose(episode.old_logprobs[row, : len(answer)], wanted, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 0.7, 1.0, 1.3])
def test_that_the_reference_is_scored_at_the_temperature_of_the_policy(resident, temperature) -> None:
    """So before anything was learned the two agree to the last bit."""
    episodes = rollout(resident, temperature)
    assert all(torch.equal(episode.old_logprobs, episode.reference_logprobs) for episode in episodes)
    assert mean_kl(episodes) == 0.0


def test_that_a_rollout_is_drawn_from_the_whole_distribution(llama) -> None:
    spec = PpoSpec(temperature=1.3, max_new_tokens=10)
    rollouts = Rollouts(spec, llama, PROMPTS, "policy", None, TableReward(torch.zeros(258)), None)
    assert rollouts.sampler == Sampler(temperature=1.3, top_p=1.0, top_k=0, max_new_tokens=10)


def test_that_a_rollout_is_learned_from_by_the_ids_that_were_sampled(llama) -> None:
    for episode in rollout(llama, 1.3):
        kept = [
            tuple(row[mask].tolist()) for row, mask in zip(episode.packed.targets, episode.packed.mask, strict=True)
        ]
        assert kept == [drawn.completion_ids for drawn in episode.drawn]


def test_that_a_policy_taught_where_to_stop_stops(eight, tmp_path) -> None:
    """Its end token is its padding token too, which must not keep it from being learned."""
    assert eight.base.config.pad_token_id == eight.tokenizer.eos_token_id
    prompt = Prompt("p", (Message("user", "q"),))
    said = ((4, 1), (6, 4, 1), (7, 7, 4, 1))
    judged = tuple(
        JudgedCompletion(
            str(ids), prompt, Completion(str(ids), "p", "g", None, str(ids), ids, True, Sampler(), 0), desirable=True
        )
        for ids in said
    )
    inputs = TrainingInputs(eight, None, (), (), None, tmp_path / "run", judged)
    for _ in sft(SftSpec(learning_rate=2e-2, batch_size=3, epochs=80), inputs, StopToken()):
        pass
    eight.attach("trained", tmp_path / "run")
    eight.take_role(Role("trained"))
    sampler = Sampler(temperature=1.0, max_new_tokens=16)
    drawn = finished(sample(eight, "trained", [PROMPT_IDS], list(range(100)), sampler, StopToken()))
    assert isinstance(drawn, list)
    assert sum(one.ended for one in drawn) >= 95
