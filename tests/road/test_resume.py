"""Every algorithm, broken off at many moments and resumed, ends with the bytes of the run that was never broken off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from desktop_rlhf.adapters.checkpoint import Checkpoints
from desktop_rlhf.adapters.few_rows import WAYS
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.model import RewardHead
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.runs.events import AdapterSaved, Event, Progressed, SampleShown, StepTaken
from desktop_rlhf.runs.spec import AlgorithmSpec, with_settings
from desktop_rlhf.runs.stop import StopToken
from desktop_rlhf.workbench.algorithms import TRAINABLE

PROMPTS = tuple(Prompt(f"p{n}", (Message("user", "say " * (1 + n % 3) + str(n)),)) for n in range(9))
SMALL = {"lora_rank": 4, "learning_rate": 3e-3}
SETTINGS: dict[str, list[dict[str, bool | int | float | str]]] = {
    "reward": [{"batch_size": 4, "epochs": 2}],
    "dpo": [{"batch_size": 4, "epochs": 2}, {"batch_size": 4, "epochs": 1, "loss_type": "aot"}],
    "sft": [{"batch_size": 4, "epochs": 2}],
    "orpo": [{"batch_size": 4, "epochs": 2}],
    "simpo": [{"batch_size": 4, "epochs": 2}],
    "kto": [{"batch_size": 6, "epochs": 2}],
    "ppo": [
        {"adaptive_kl": True, "normalise_reward": True, "ppo_epochs": 3, "value_warmup": 1, "anneal": True,
         "kl_horizon": 20, "stop_kl": 0.0},
    ],
    "rloo": [{"normalise_reward": True}],
    "grpo": [{"ppo_epochs": 2}],
}  # fmt: skip
ON_POLICY = {"updates": 3, "prompts_per_update": 2, "completions_per_prompt": 2, "max_new_tokens": 10}
BY = {"reward": ["columns"], "dpo": ["columns"], "ppo": list(WAYS)}
"""Which algorithms learn on a base in bfloat16 too, and the ways that the few rows go which they write at a time."""
CASES = [
    pytest.param(spec, with_settings(spec, SMALL | (ON_POLICY if spec.needs_reward_model else {}) | chosen), way,
                 id=f"{spec.name}{number or ''}{f'-bfloat16-{way}' if way else ''}")
    for spec in TRAINABLE
    for number, chosen in enumerate(SETTINGS[spec.name])
    for way in [None, *BY.get(spec.name, [])]
]  # fmt: skip
each_case = pytest.mark.parametrize(("kind", "spec", "fresh_base"), CASES, indirect=["fresh_base"])


@pytest.fixture
def fresh_base(request, fresh_llama):
    """Makes the model that is learned on: in float32, or in bfloat16 where there is a way for few rows."""

    def make():
        if request.param is None:
            return fresh_llama()
        model = fresh_llama(torch.bfloat16)
        assert model.fused is not None  # else there is but one way
        model.few_go_by = request.param
        return model

    return make


def completion(prompt: Prompt, number: int) -> Completion:
    ids = tuple(5 + (7 * number + k) % 200 for k in range(2 + number % 7))
    return Completion(f"{prompt.id}-{number}", prompt.id, "g", None, str(ids), ids, True, Sampler(), 0)


def groups() -> tuple[PreferenceGroup, ...]:
    made = []
    for number in range(24):
        prompt = PROMPTS[number % 9]
        pair = (completion(prompt, 2 * number), completion(prompt, 2 * number + 1))
        made.append(PreferenceGroup(f"c{number}", prompt, pair, ((0, 1),), 1 + number % 4))
    return tuple(made)


def begin(model, spec: AlgorithmSpec, folder: Path, output: str, every_s: float = 0.0) -> tuple[TrainingInputs, Path]:
    """The same inputs on a model that was just read, and with a reward model that scores by a fixed head."""
    reward = folder / "reward"
    if spec.needs_reward_model and not reward.exists():
        head = RewardHead(model.hidden_size)
        with torch.no_grad():
            head.weight.copy_(torch.linspace(-1, 1, model.hidden_size))
        model.new_adapter("scorer", rank=2, alpha=4, seed=3)
        model.save_adapter("scorer", reward, head=head.state_dict())
        model.detach("scorer")
    pairs = groups()
    judged = tuple(
        JudgedCompletion(group.comparison_id, group.prompt, one, place == 0)
        for group in pairs for place, one in enumerate(group.completions)
    )  # fmt: skip
    path = folder / output
    return TrainingInputs(
        model, None, pairs, PROMPTS, reward if spec.needs_reward_model else None, path, judged,
        Checkpoints(folder / "checkpoints", every_s),
    ), path  # fmt: skip


def told(events: list[Event]) -> dict[int, list[object]]:
    """What was said of each step."""
    said: dict[int, list[object]] = {}
    for event in events:
        if isinstance(event, StepTaken | SampleShown):
            said.setdefault(event.step, []).append(event)
    return said


def sha256(events: list[Event]) -> str:
    return next(event.sha256 for event in events if isinstance(event, AdapterSaved))


@pytest.fixture
def whole(tmp_path, fresh_base):
    """The run that nobody broke off."""

    def run(spec: AlgorithmSpec) -> list[Event]:
        inputs, _ = begin(fresh_base(), spec, tmp_path / "whole", "adapter", every_s=1e9)
        return list(resolve(type(spec))(spec, inputs, StopToken()))

    return run


def moments(count: int, spec: AlgorithmSpec) -> list[int]:
    """Five places among ``count`` events, the last one before the end among them."""
    return sorted({round(count * share) for share in (0.15, 0.4, 0.6, 0.8)} | {count - 2})


@each_case
def test_that_a_run_resumed_after_it_was_broken_off_ends_with_the_same_bytes(
    kind, spec, whole, fresh_base, tmp_path
) -> None:
    events = whole(spec)
    for moment in moments(len(events), spec):
        folder = tmp_path / f"broken-{moment}"
        inputs, _ = begin(fresh_base(), spec, folder, "adapter")
        running = resolve(kind)(spec, inputs, StopToken())
        before = [next(running) for _ in range(moment)]
        running.close()
        torch.rand(100)  # whatever else draws from the common generator meanwhile
        inputs, _ = begin(fresh_base(), spec, folder, "adapter")
        after = list(resolve(kind)(spec, inputs, StopToken()))
        assert sha256(after) == sha256(events)
        assert told(before) | told(after) == told(events)
        done_again = sum(isinstance(event, Progressed) for event in [*before, *after])
        assert done_again < 2 * sum(isinstance(event, Progressed) for event in events)


@each_case
def test_that_a_run_resumed_after_it_was_stopped_ends_with_the_same_bytes(
    kind, spec, whole, fresh_base, tmp_path
) -> None:
    events = whole(spec)
    for moment in moments(len(events), spec)[::2]:
        folder, stop = tmp_path / f"stopped-{moment}", StopToken()
        inputs, _ = begin(fresh_base(), spec, folder, "first", every_s=1e9)
        before = []
        for event in resolve(kind)(spec, inputs, stop):
            before.append(event)
            if len(before) == moment:
                stop.request()
        inputs, _ = begin(fresh_base(), spec, folder, "second", every_s=1e9)
        after = list(resolve(kind)(spec, inputs, StopToken()))
        assert sha256(after) == sha256(events)
        assert told(before) | told(after) == told(events)


@each_case
def test_that_a_run_draws_nothing_from_the_common_generator(kind, spec, fresh_base, tmp_path) -> None:
    inputs, _ = begin(fresh_base(), spec, tmp_path, "adapter")
    before = torch.get_rng_state()
    list(resolve(kind)(spec, inputs, StopToken()))
    assert torch.equal(torch.get_rng_state(), before)
