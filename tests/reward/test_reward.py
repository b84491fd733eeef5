from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean, pstdev

import pytest
import torch

from desktop_rlhf.adapters.packing import hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.comparisons.pairs import split_by_prompt
from desktop_rlhf.records.comparisons import PreferenceGroup, strength_margin
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.loss import bradley_terry_loss
from desktop_rlhf.reward.model import RewardHead, RewardModel, last_states, mean_states
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.reward.train import train
from desktop_rlhf.runs.events import AdapterSaved, Progressed, StepTaken
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
    assert bradley_terry_loss(chosen, rejected).mean().item() == pytest.approx(by_hand, rel=1e-6)
    centred = by_hand + 0.5 * (1 + 0 + 1) / 3
    assert bradley_terry_loss(chosen, rejected, center=0.5).mean().item() == pytest.approx(centred, rel=1e-6)


def test_that_a_margin_asks_for_scores_that_far_apart() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0, -2.0]), torch.tensor([0.0, 0.0, 1.0])
    by_hand = (math.log(1 + math.exp(-0.25)) + math.log(1 + math.exp(0.75)) + math.log(1 + math.exp(3.75))) / 3
    assert bradley_terry_loss(chosen, rejected, margin=0.75).mean().item() == pytest.approx(by_hand, rel=1e-6)
    at_margin = bradley_terry_loss(torch.tensor([0.75]), torch.tensor([0.0]), margin=0.75)
    assert at_margin.item() == pytest.approx(math.log(2), rel=1e-6)


def test_that_the_gradient_at_a_margin_is_that_of_the_formula() -> None:
    chosen = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([0.1], dtype=torch.float64, requires_grad=True)
    bradley_terry_loss(chosen, rejected, margin=1.0).mean().backward()
    by_hand = -1 / (1 + math.exp(0.4 - 0.1 - 1.0))
    assert (chosen.grad.item(), rejected.grad.item()) == pytest.approx((by_hand, -by_hand))


def test_that_margins_grow_with_the_strength_of_a_preference_as_in_llama_2() -> None:
    assert [strength_margin(s) for s in (None, 1, 2, 3, 4)] == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])
    assert [strength_margin(s, 3.0) for s in (None, 1, 2, 3, 4)] == pytest.approx([0, 0, 1, 2, 3])


def test_that_a_score_does_not_hang_on_padding_or_on_siblings(resident: ResidentModel) -> None:
    head = RewardHead(resident.hidden_size)
    with torch.no_grad():
        head.weight.normal_(generator=torch.Generator().manual_seed(0))
        for pooling in (True, False):
            head.pools_mean.fill_(pooling)
            prompts, completions = [[5, 9, 200], [8] * 9], [[7, 30, 44], [9], [12, 13, 14, 15, 16, 1]]
            together = pack([(prompts[0], completions[:2]), (prompts[1], completions[2:])])
            scores = head.rewards(resident, together)
            for i, (prompt, completion) in enumerate(zip((0, 0, 1), completions, strict=True)):
                alone = pack([(prompts[prompt], [completion])])
                assert torch.allclose(head.rewards(resident, alone)[0], scores[i], atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_that_rewards_need_the_last_layer_only_where_they_are_read(pooling, llama: ResidentModel) -> None:
    """Neither they nor what is learned from them hang on whether it is there for all other tokens too."""
    packed = pack([([5, 6, 7], [[8, 9], [10, 11, 12]]), ([20] * 9, [[21], [22, 23]])])
    llama.new_adapter("judge", rank=2, alpha=4, seed=0)
    llama.take_role(Role("judge", trainable=True))
    head = RewardHead(llama.hidden_size, pooling)
    with torch.no_grad():
        for parameter in (head.weight, *llama.trainable_parameters()):
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    learned = []
    for rewards in (
        head.rewards(llama, packed),
        head(hidden_states(llama, packed, wanted=torch.arange(int(packed.computed.sum()))), packed),
    ):
        gradients = torch.autograd.grad(
            (rewards * torch.tensor([1.0, -2.0, 0.5, 3.0])).sum(), llama.trainable_parameters()
        )
        learned.append(torch.cat([rewards.detach(), *(gradient.flatten() for gradient in gradients)]))
    llama.detach("judge")
    assert torch.allclose(*learned, atol=1e-5, rtol=1e-4)
    assert learned[0].abs().max() > 0.01


def test_that_the_pooled_states_are_those_of_the_completion_alone(llama: ResidentModel) -> None:
    packed = pack([([5, 6, 7], [[8, 9], [10, 11, 12]])])
    hidden = torch.arange(8.0).unsqueeze(-1)
    assert last_states(hidden, packed).squeeze(-1).tolist() == [4.0, 7.0]
    assert mean_states(hidden, packed).squeeze(-1).tolist() == [3.5, 6.0]


def test_that_the_head_reads_the_states_that_its_pooling_names() -> None:
    packed = pack([([5, 6, 7], [[8, 9], [10, 11, 12]])])
    hidden = torch.arange(8.0).unsqueeze(-1)
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


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


@pytest.mark.parametrize(
    ("settings", "first_loss"),
    [
        ({}, math.log(2)),
        ({"margin_scale": 2.0}, math.log(2)),
        ({"margin_from_strength": True}, fmean(softplus(m) for m in (0, 0, 1 / 3, 2 / 3, 1))),
        ({"margin_from_strength": True, "margin_scale": 3.0}, fmean(softplus(m) for m in (0, 0, 1, 2, 3))),
    ],
)
def test_that_the_first_loss_is_that_of_the_margins_asked_for(llama, tmp_path, settings, first_loss) -> None:
    strengths = (None, 1, 2, 3, 4)
    groups = tuple(replace(group(i, ("yes", "no")), strength=strengths[i % 5]) for i in range(10))
    inputs = TrainingInputs(llama, None, groups, (), None, tmp_path / "reward")
    spec = RewardSpec(batch_size=10, held_out_share=0.0, **settings)
    (step,) = [event for event in train(spec, inputs, StopToken()) if isinstance(event, StepTaken)]
    assert step.metrics["loss"] == pytest.approx(first_loss, rel=1e-6)


@pytest.fixture
def sampled(llama: ResidentModel) -> tuple[PreferenceGroup, ...]:
    """A sample of the base against a far longer one of a tuned adapter."""

    def one(number: int) -> PreferenceGroup:
        made = group(number, (f"yes {number * 7}", f"no no no no no no {number}"))
        ours, theirs = (replace(c, completion_ids=tuple(llama.completion_ids(c.text))) for c in made.completions)
        return replace(made, completions=(ours, replace(theirs, adapter_id="tuned")))

    return tuple(one(number) for number in range(12))


def test_that_the_scale_is_that_of_the_samples_of_the_base_and_the_report_does_not_hang_on_it(
    llama: ResidentModel, sampled, tmp_path
) -> None:
    inputs = TrainingInputs(llama, None, sampled, (), None, tmp_path / "reward")
    spec = RewardSpec(learning_rate=1e-3)
    *_, saved = train(spec, inputs, StopToken())
    assert isinstance(saved, AdapterSaved)
    assert saved.report["scale_samples"] == 12
    judge = RewardModel.attach(llama, "judge", tmp_path / "reward")

    def score(one: PreferenceGroup, place: int) -> float:
        ids = list(one.completions[place].completion_ids)
        return judge.score(pack([(llama.prompt_ids(one.prompt.messages), [ids])])).item()

    scores = [score(one, 0) for one in sampled]
    assert fmean(scores) == pytest.approx(0, abs=1e-3)
    assert pstdev(scores) == pytest.approx(1, abs=1e-3)
    _, held_out = split_by_prompt(sampled, spec.held_out_share, spec.seed)
    gain, bias = judge.head.gain.item(), judge.head.bias.item()
    assert gain > 0
    raw = [(score(one, 0) - bias) / gain for one in held_out]
    assert raw == pytest.approx(saved.report["scores_chosen"], rel=1e-2, abs=1e-4)


@pytest.mark.parametrize("stage", ["measuring on held-out prompts", "putting scores on a common scale"])
def test_that_a_stop_while_measuring_keeps_what_was_learnt_and_measured(
    llama: ResidentModel, sampled, tmp_path, stage, monkeypatch
) -> None:
    monkeypatch.setattr("desktop_rlhf.adapters.batches.MOST_TOKENS", 1)  # every comparison goes alone
    inputs = TrainingInputs(llama, None, sampled, (), None, tmp_path / "reward")
    stop, after = StopToken(), []
    for event in train(RewardSpec(), inputs, stop):
        if stop.requested:
            after.append(event)
        elif isinstance(event, Progressed) and event.stage == stage:
            stop.request()
    (saved,) = after
    assert isinstance(saved, AdapterSaved)
    _, held_out = split_by_prompt(sampled, RewardSpec().held_out_share, 0)
    assert saved.report["n"] == (1 if stage.startswith("measuring") else len(held_out))
    assert saved.report["scale_samples"] == saved.report["n"] + stage.startswith("putting")
    assert not llama.attached


def test_that_the_work_announced_is_the_work_done(llama: ResidentModel, sampled, tmp_path) -> None:
    inputs = TrainingInputs(llama, None, sampled, (), None, tmp_path / "reward")
    told = [event for event in train(RewardSpec(), inputs, StopToken()) if isinstance(event, Progressed)]
    done = [event.done for event in told]
    assert done == sorted(done)
    assert done[-1] == told[-1].total
