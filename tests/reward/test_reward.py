from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.adapters.packing import hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.loss import bradley_terry_loss
from desktop_rlhf.reward.model import RewardHead, RewardModel, last_states, mean_states
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.reward.train import train
from desktop_rlhf.runs.events import AdapterSaved, StepTaken
from desktop_rlhf.runs.stop import StopToken


def group(number: int, texts: tuple[str, ...]) -> PreferenceGroup:
    """Completions from best to worst."""
    made = tuple(
        Completion(f"{number}-{i}", f"p{number}", "g", None, text, (), ended=True, sampler=Sampler(), seed=0)
        for i, text in enumerate(texts)
    )
    pairs = tuple((a, b) for a in range(len(texts)) for b in range(a + 1, len(texts)))
    return PreferenceGroup(f"c{number}", Prompt(f"p{number}", (Message("user", f"question {number}"),)), made, pairs)


def test_that_the_loss_equals_a_table_worked_by_hand() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0, -2.0]), torch.tensor([0.0, 0.0, 1.0])
    by_hand = (math.log(1 + math.exp(-1)) + math.log(2) + math.log(1 + math.exp(3))) / 3
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(by_hand, rel=1e-6)
    centred = by_hand + 0.5 * (1 + 0 + 1) / 3
    assert bradley_terry_loss(chosen, rejected, center=0.5).item() == pytest.approx(centred, rel=1e-6)


def test_that_a_score_does_not_hang_on_padding_or_on_siblings(resident: ResidentModel) -> None:
    head = RewardHead(resident.hidden_size)
    with torch.no_grad():
        head.weight.normal_(generator=torch.Generator().manual_seed(0))
        for pooling in (True, False):
            head.pools_mean.fill_(pooling)
            prompts, completions = [[5, 9, 200], [8] * 9], [[7, 30, 44], [9], [12, 13, 14, 15, 16, 1]]
            together = pack([(prompts[0], completions[:2]), (prompts[1], completions[2:])])
            scores = head(hidden_states(resident, together), together)
            for i, (prompt, completion) in enumerate(zip((0, 0, 1), completions, strict=True)):
                alone = pack([(prompts[prompt], [completion])])
                assert torch.allclose(head(hidden_states(resident, alone), alone)[0], scores[i], atol=1e-5)


def test_that_the_pooled_states_are_those_of_the_completion_alone(llama: ResidentModel) -> None:
    packed = pack([([5, 6, 7], [[8, 9], [10, 11, 12]])])
    hidden = torch.arange(8.0).reshape(1, 8, 1)
    assert last_states(hidden, packed).squeeze(-1).tolist() == [4.0, 7.0]
    assert mean_states(hidden, packed).squeeze(-1).tolist() == [3.5, 6.0]


def test_that_the_head_reads_the_states_that_its_pooling_names() -> None:
    packed = pack([([5, 6, 7], [[8, 9], [10, 11, 12]])])
    hidden = torch.arange(8.0).reshape(1, 8, 1)
    for pooling, scores in (("mean", [3.5, 6.0]), ("last", [4.0, 7.0])):
        head = RewardHead(1, pooling)
        torch.nn.init.ones_(head.weight)
        assert head(hidden, packed).tolist() == scores
        again = RewardHead(1)
        again.load_state_dict(head.state_dict())
        assert again(hidden, packed).tolist() == scores


def test_that_a_planted_preference_is_found_and_scores_come_out_normalised(llama: ResidentModel, tmp_path) -> None:
    base = llama.base_sha256()
    groups = tuple(group(i, (f"yes {i} yes", f"maybe {i}", f"no {i * 7}")) for i in range(40))
    inputs = TrainingInputs(llama, None, groups, (), None, tmp_path / "reward")
    spec = RewardSpec(epochs=4, learning_rate=1e-3)
    events = list(train(spec, inputs, StopToken()))
    steps = [event for event in events if isinstance(event, StepTaken)]
    assert steps[0].metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)
    saved = events[-1]
    assert isinstance(saved, AdapterSaved)
    assert saved.report["held_out_accuracy"] >= 0.9
    assert saved.report["n"] == len(groups) - saved.report["train_comparisons"]
    assert saved.report["pairs"] == 3 * saved.report["n"]
    assert llama.base_sha256() == base
    assert not llama.attached

    judge = RewardModel.attach(llama, "judge", tmp_path / "reward")
    scores = torch.tensor(
        [
            judge.score(pack([(llama.prompt_ids(g.prompt.messages), [llama.completion_ids(c.text)])])).item()
            for g in groups
            for c in g.completions
        ]
    )
    assert abs(scores.mean().item()) < 0.5
    assert 0.5 < scores.std().item() < 2


def test_that_too_few_comparisons_are_an_error_with_a_next_step(llama: ResidentModel, tmp_path) -> None:
    inputs = TrainingInputs(llama, None, (group(0, ("a", "b")),), (), None, tmp_path / "reward")
    with pytest.raises(NotEnoughDataError, match="at least 8"):
        next(train(RewardSpec(), inputs, StopToken()))
