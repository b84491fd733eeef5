"""Stored examples beside longer neighbours: what shares a forward with them pads their rows and changes no curve."""

from __future__ import annotations

import pytest

from desktop_rlhf.adapters import batches
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.algorithms import ALGORITHMS
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.stop import StopToken

FROM_STORED = [RewardSpec, *(spec for spec in ALGORITHMS if not spec.needs_reward_model)]
LENGTHS = ((2, 1), (30, 3), (4, 40), (1, 2), (5, 9), (3, 3), (60, 7), (8, 1))


def spoken(prompt: str, length: int, first: int) -> Completion:
    ids = tuple(2 + (first + 7 * i) % 250 for i in range(length))
    return Completion(f"{prompt}{first}", prompt, "g", None, str(ids), ids, ended=False, sampler=Sampler(), seed=0)


def stored() -> tuple[tuple[PreferenceGroup, ...], tuple[JudgedCompletion, ...]]:
    """Comparisons of two completions of these lengths, and the same completions judged one by one."""
    groups, judged = [], []
    for number, (better, worse) in enumerate(LENGTHS):
        prompt = Prompt(f"p{number}", (Message("user", "why? " * (number % 3 + 1) + str(number)),))
        pair = (spoken(prompt.id, better, 11 * number), spoken(prompt.id, worse, 11 * number + 100))
        groups.append(PreferenceGroup(f"c{number}", prompt, pair, ((0, 1),)))
        judged += [JudgedCompletion(f"c{number}", prompt, one, one is pair[0]) for one in pair]
    return tuple(groups), tuple(judged)


@pytest.mark.parametrize("spec", FROM_STORED, ids=lambda spec: spec.name)
def test_that_longer_neighbours_change_no_curve(fresh_llama, tmp_path, monkeypatch, spec) -> None:
    groups, judged = stored()
    held_out = {"held_out_share": 0.0} if spec is RewardSpec else {}
    told = {}
    for most in (10_000, 1):  # all in one forward, and each alone
        monkeypatch.setattr(batches, "MOST_TOKENS", most)
        inputs = TrainingInputs(fresh_llama(), None, groups, (), None, tmp_path / str(most), judged=judged)
        settings = spec(batch_size=16, epochs=3, learning_rate=1e-2, max_length=2000, **held_out)
        events = resolve(spec)(settings, inputs, StopToken())
        told[most] = [event.metrics for event in events if isinstance(event, StepTaken)]
    assert len(told[1]) == 3
    for together, alone in zip(told[10_000], told[1], strict=True):
        assert set(alone) == {metric.name for metric in spec.metrics}
        if "rewards/accuracies" in alone and abs(alone["rewards/margins"]) < 1e-6:
            # The adapter is new: rounding is what has a sign.
            together["rewards/accuracies"] = alone["rewards/accuracies"]
        assert together == pytest.approx(alone, rel=1e-3, abs=1e-4)
