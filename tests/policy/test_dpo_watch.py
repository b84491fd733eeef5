"""DPO's margin may grow while the chosen completions themselves become unlikely; that is told."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.dpo import watch
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.dpo.train import train
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import Event, Noted, Progressed, StepTaken
from desktop_rlhf.runs.stop import StopToken


def steps(*rewards: float) -> Generator[Event, None, int]:
    """A run whose chosen completions have these implicit rewards."""
    for number, reward in enumerate(rewards, start=1):
        yield Progressed("training", number, len(rewards))
        yield StepTaken(number, len(rewards), {"rewards/chosen": reward})
    return len(rewards)


def seen(events: Generator[Event, None, int]) -> tuple[list[Event], int]:
    got: list[Event] = []
    with pytest.raises(StopIteration) as ended:
        while True:
            got.append(next(events))
    return got, ended.value.value


def test_that_chosen_that_fall_ten_nats_are_told_of_once_and_at_their_step() -> None:
    rewards = (-0.9, -1.1, -3.0, 0.2, -2.0)
    events, taken = seen(watch.told_when_chosen_fall(steps(*rewards), beta=0.1))
    assert taken == 5
    plain, _ = seen(steps(*rewards))
    assert [event for event in events if not isinstance(event, Noted)] == plain
    (told,) = (place for place, event in enumerate(events) if isinstance(event, Noted))
    assert events[told - 1].step == 2
    assert "At step 2 the chosen completions are 11 nats less likely" in events[told].sentence


@pytest.mark.parametrize(("reward", "beta"), [(-0.9, 0.1), (5.0, 0.1), (-4.9, 0.5), (0.0, 0.1)])
def test_that_chosen_that_hold_are_not_told_of(reward: float, beta: float) -> None:
    events, _ = seen(watch.told_when_chosen_fall(steps(reward, reward), beta))
    assert not any(isinstance(event, Noted) for event in events)


def test_that_a_run_of_dpo_watches_its_chosen(eight, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(watch, "FALLEN", 1.0)  # the first step, at 0 nats, lies below it
    spoken = tuple(Completion(str(i), "p", "g", None, "", (i,), True, Sampler(), 0) for i in (4, 7))
    group = PreferenceGroup("c", Prompt("p", (Message("user", "q"),)), spoken, ((0, 1),))
    events = train(DpoSpec(epochs=3), TrainingInputs(eight, None, (group,), (), None, tmp_path / "run"), StopToken())
    kinds = [type(event) for event in events if isinstance(event, StepTaken | Noted)]
    assert kinds == [StepTaken, Noted, StepTaken, StepTaken]
