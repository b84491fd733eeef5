"""What a batch means, whatever the algorithm: the mean over what it holds, and nothing that does not fit."""

from __future__ import annotations

import pytest

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.orpo.spec import OrpoSpec
from desktop_rlhf.policy.sft.spec import SftSpec
from desktop_rlhf.policy.simpo.spec import SimpoSpec
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.runs.events import AdapterSaved, Event, Noted, StepTaken
from desktop_rlhf.runs.stop import StopToken

LEARNERS = [DpoSpec, OrpoSpec, SimpoSpec, SftSpec, RewardSpec]


def group(number: int, *completions: tuple[int, ...]) -> PreferenceGroup:
    prompt = Prompt(f"p{number}", (Message("user", "why"),))
    spoken = tuple(
        Completion(f"{number}-{place}", prompt.id, "g", None, "", ids, ended=False, sampler=Sampler(), seed=0)
        for place, ids in enumerate(completions)
    )
    pairs = tuple((a, b) for a in range(len(spoken)) for b in range(a + 1, len(spoken)))
    return PreferenceGroup(f"c{number}", prompt, spoken, pairs)


def events(model, path, spec, groups) -> list[Event]:
    judged = tuple(
        JudgedCompletion(one.comparison_id, one.prompt, completion, desirable=place == 0)
        for one in groups
        for place, completion in enumerate(one.completions)
    )
    inputs = TrainingInputs(model, None, tuple(groups), (), None, path, judged)
    return list(resolve(type(spec))(spec, inputs, StopToken()))


@pytest.mark.parametrize("learner", LEARNERS)
def test_that_a_batch_of_the_same_again_and_again_is_learned_from_as_one(llama, tmp_path, learner) -> None:
    """Batches of 1, 2, 4 and 8 take the same steps: the same losses and gradients, and so the same adapters."""
    settings = {"learning_rate": 1e-3} | ({"held_out_share": 0.0} if learner is RewardSpec else {})
    paths: list[list[float]] = []
    for size in (1, 2, 4, 8):
        groups = [group(number, (7, 30, 44, 1), (9, 10), (50,)) for number in range(8)]
        spec = learner(batch_size=size, epochs=size, **settings)  # 8 steps of them in all
        steps = [e.metrics for e in events(llama, tmp_path / f"{size}", spec, groups) if isinstance(e, StepTaken)]
        paths.append([step[name] for step in steps for name in ("loss", "grad_norm")])
    assert len(paths[0]) == 16
    assert paths[0][0] - paths[0][-2] > 0.01  # it learns
    for path in paths[1:]:
        assert path == pytest.approx(paths[0], abs=1e-4)


LONG, SHORT = (7,) * 60, (7, 30)


@pytest.mark.parametrize("learner", LEARNERS)
def test_that_what_is_longer_than_allowed_is_left_out_whole_and_told(llama, tmp_path, learner) -> None:
    """Nothing is cut to fit: an end that was never written would be learned from."""
    prompt = len(llama.prompt_ids(group(0).prompt.messages))
    just_fits = (9,) * (50 - prompt)
    groups = [group(number, SHORT, (9,)) for number in range(8)] + [group(8, just_fits, (9,))]
    settings = {"held_out_share": 0.0} if learner is RewardSpec else {}
    seen = []
    for path, known in (("with", [*groups, group(9, LONG, SHORT), group(10, (*just_fits, 1), SHORT)]), ("not", groups)):
        said = events(llama, tmp_path / path, learner(max_length=50, **settings), known)
        (saved,) = (event for event in said if isinstance(event, AdapterSaved))
        sentences = [
            event.sentence for event in said if isinstance(event, Noted) and "left out" in event.sentence.lower()
        ]
        seen.append((saved, sentences))
    (with_long, told), (without, silent) = seen
    (sentence,) = told
    assert "2 " in sentence
    assert "longer than" in sentence
    assert silent == []
    assert with_long.sha256 == without.sha256
    assert 9 in with_long.report.values()
