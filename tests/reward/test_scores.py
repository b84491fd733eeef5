"""A score is the same wherever it is asked for: in training, beside others, from the disk, for a rollout."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from desktop_rlhf.adapters.optimizer import AdamW
from desktop_rlhf.adapters.packing import hidden_states, pack
from desktop_rlhf.adapters.resident import HEAD_FILE, ResidentModel, Role, load_head
from desktop_rlhf.adapters.training import TrainingInputs, group_ids
from desktop_rlhf.comparisons.pairs import split_by_prompt
from desktop_rlhf.completions.sampling import Drawn
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.policy.rollout import Rollouts
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import ModelFolderError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.loss import bradley_terry_loss
from desktop_rlhf.reward.model import RewardHead, RewardModel, last_states
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.reward.train import train
from desktop_rlhf.runs.events import AdapterSaved, StepTaken
from desktop_rlhf.runs.stop import StopToken

END = 1


def group(number: int, texts: tuple[str, ...]) -> PreferenceGroup:
    """Completions from best to worst."""
    made = tuple(
        Completion(f"{number}-{i}", f"p{number}", "g", None, text, (), ended=True, sampler=Sampler(), seed=0)
        for i, text in enumerate(texts)
    )
    pairs = tuple((a, b) for a in range(len(texts)) for b in range(a + 1, len(texts)))
    return PreferenceGroup(f"c{number}", Prompt(f"p{number}", (Message("user", f"question {number}"),)), made, pairs)


GROUPS = tuple(group(i, (f"yes {i}", f"perhaps {i * 3}", "no no")) for i in range(12))


def trained(model: ResidentModel, path, groups=GROUPS, **settings) -> AdapterSaved:
    inputs = TrainingInputs(model, None, groups, (), None, path)
    *_, saved = train(RewardSpec(**settings), inputs, StopToken())
    assert isinstance(saved, AdapterSaved)
    return saved


def test_that_the_loss_of_the_turned_pair_is_that_of_the_turned_margin() -> None:
    chosen, rejected = torch.tensor([1.3], dtype=torch.float64), torch.tensor([0.2], dtype=torch.float64)
    forth, back = (bradley_terry_loss(a, b).item() for a, b in ((chosen, rejected), (rejected, chosen)))
    assert back - forth == pytest.approx(1.1)  # log sigmoid(z) - log sigmoid(-z) is z
    assert math.exp(-forth) + math.exp(-back) == pytest.approx(1)


def test_that_a_level_common_to_all_scores_costs_nothing_unless_they_are_centred() -> None:
    chosen, rejected = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.5, 1.0], dtype=torch.float64)
    plain = bradley_terry_loss(chosen, rejected).tolist()
    assert bradley_terry_loss(chosen + 100, rejected + 100).tolist() == pytest.approx(plain)
    centred = bradley_terry_loss(chosen + 3, rejected + 3, center=0.01).tolist()
    assert centred == pytest.approx([plain[0] + 0.01 * 7.5**2, plain[1] + 0.01 * 5**2])


def test_that_a_ranking_of_k_takes_k_forwards_and_weighs_as_one_comparison(resident, tmp_path) -> None:
    """Not two a pair: the tokens that go through the trunk in a pass are those of the prompts and of K completions.

    Where completions stand apart, each has its prompt before it.
    """
    groups = tuple(group(i, ("aaaa", "bbbb", "cccc", "dddd")) for i in range(8))
    spec = RewardSpec(held_out_share=0.0, batch_size=4, learning_rate=0.0, head_learning_rate=0.0)
    read: list[int] = []
    resident.fused = None
    prompts_of_each = 1 if resident.packs else 4
    resident.trunk.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    steps = [
        event
        for event in train(spec, TrainingInputs(resident, None, groups, (), None, tmp_path / "run"), StopToken())
        if isinstance(event, StepTaken)
    ]
    prompts = [resident.prompt_ids(known.prompt.messages) for known in groups]
    once = prompts_of_each * sum(map(len, prompts)) + len(groups) * 4 * len("aaaa.")  # each letter a token, and the end
    assert sum(read) == 2 * once  # to learn from, and to find the scale
    assert [step.metrics["loss"] for step in steps] == pytest.approx([math.log(2)] * 2, abs=1e-6)


@pytest.mark.parametrize("completion", [[30, 31, END], [30, END, 31], [END], [30, 31]], ids=str)
@pytest.mark.parametrize("prompt", [[5, 9, 200], [5, END, 9, END], [END, END]], ids=str)
def test_that_the_last_token_is_found_by_its_place_though_the_end_token_pads(resident, prompt, completion) -> None:
    """Alone, in front of a longer row's padding and behind a sibling it is the plain forward's last state."""
    assert resident.tokenizer.pad_token_id == END
    with torch.no_grad():
        wanted = resident.trunk(input_ids=torch.tensor([[*prompt, *completion]])).last_hidden_state[0, -1]
        for groups, place in (
            ([(prompt, [completion])], 0),
            ([(prompt, [completion]), ([8] * 20, [[12] * 9])], 0),
            ([(prompt, [[40, 41, 42, END], completion])], 1),
        ):
            packed = pack(groups)
            assert torch.allclose(last_states(hidden_states(resident, packed), packed)[place], wanted, atol=1e-4)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_that_a_score_is_the_same_in_training_from_the_disk_and_in_a_rollout(fresh_llama, tmp_path, pooling) -> None:
    """Ended by itself, cut, or written by a person: the ids that are scored are the same everywhere."""
    model = fresh_llama()
    ended, cut = (tuple(model.tokenizer(text)["input_ids"]) for text in ("yes yes</s>", "perhaps not"))
    groups = tuple(
        replace(
            known,
            completions=tuple(
                replace(completion, completion_ids=ids, ended=ids[-1:] == (END,))
                for completion, ids in zip(known.completions, (ended, cut, ()), strict=True)
            ),
        )
        for known in GROUPS
    )
    saved = trained(model, tmp_path / "reward", groups, learning_rate=1e-3, held_out_share=0.4, pooling=pooling)
    _, held_out = split_by_prompt(groups, 0.4, 0)
    assert held_out
    other = fresh_llama()
    judge = RewardModel.attach(other, "judge", tmp_path / "reward")
    gain, bias = judge.head.gain, judge.head.bias
    in_training = iter(zip(saved.report["scores_chosen"], saved.report["scores_rejected"], strict=True))
    other.new_adapter("policy", rank=4, alpha=8, seed=0)
    rollouts = Rollouts(PpoSpec(), other, (), "policy", None, judge, None)
    for known in held_out:
        prompt, completions = group_ids(other, known)
        raw = [scored * gain + bias for scored in _raw(next(in_training), next(in_training), next(in_training))]
        from_disk = judge.score(pack([(prompt, completions)]))
        plain = [_plain(other, judge, [*prompt, *ids], len(prompt), pooling) for ids in completions]
        assert from_disk.tolist() == pytest.approx(plain, abs=1e-3)
        drawn = [Drawn(tuple(ids), ended=ids[-1] == END) for ids in completions]
        packed = pack([(prompt, completions)])
        (episode,) = rollouts._score(["p"], [(prompt, drawn)], packed, rollouts._judged(packed), whole=False)
        assert from_disk.tolist() == pytest.approx([float(score) for score in raw], abs=1e-5)
        assert torch.equal(episode.scores, from_disk)


@torch.no_grad()
def _plain(model: ResidentModel, judge: RewardModel, ids: list[int], prompt: int, pooling: str) -> float:
    """The score by the model's own forward over one sequence, under the reward model's adapter."""
    model.take_role(Role(judge.name))
    states = model.trunk(input_ids=torch.tensor([ids])).last_hidden_state[0, prompt:]
    model.take_role(Role(None))
    read = states[-1] if pooling == "last" else states.mean(0)
    return ((read @ judge.head.weight) * judge.head.gain + judge.head.bias).item()


def _raw(first, second, third) -> list[float]:
    """Scores of three completions from (chosen, rejected) of the pairs 0-1, 0-2 and 1-2."""
    assert (first[0], first[1], second[1]) == (second[0], third[0], third[1])
    return [first[0], first[1], second[1]]


def test_that_a_reward_model_read_again_scores_bit_for_bit_as_the_one_that_was_saved(fresh_llama, tmp_path) -> None:
    model, generator = fresh_llama(), torch.Generator().manual_seed(0)
    model.new_adapter("judge", rank=4, alpha=8, seed=0)
    model.take_role(Role("judge", trainable=True))
    head = RewardHead(model.hidden_size)
    with torch.no_grad():
        for parameter in (*model.trainable_parameters(), head.weight, head.gain, head.bias):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.take_role(Role(None))
    saved = RewardModel(model, "judge", head)
    model.save_adapter("judge", tmp_path / "reward", head=head.state_dict())
    read = RewardModel.attach(fresh_llama(), "other name", tmp_path / "reward")
    packed = pack([group_ids(model, known) for known in GROUPS])
    assert torch.equal(read.score(packed), saved.score(packed))
    assert saved.score(packed).std() > 0.01


def test_that_a_reward_model_whose_head_is_gone_or_in_part_is_refused(fresh_llama, tmp_path) -> None:
    """A head made anew in its place would score at random."""
    model = fresh_llama()
    trained(model, tmp_path / "reward")
    head = load_head(tmp_path / "reward")
    for lost in head:
        save_file({key: value for key, value in head.items() if key != lost}, tmp_path / "reward" / HEAD_FILE)
        with pytest.raises(ModelFolderError, match="does not fit"):
            RewardModel.attach(model, "partly", tmp_path / "reward")
    (tmp_path / "reward" / HEAD_FILE).unlink()
    with pytest.raises(ModelFolderError, match="no reward head"):
        RewardModel.attach(model, "headless", tmp_path / "reward")
    assert not model.attached


def test_that_the_head_prefers_nothing_before_it_learned() -> None:
    head = RewardHead(32)
    assert head.weight.count_nonzero() == 0
    assert (head.gain.item(), head.bias.item()) == (1.0, 0.0)


def test_that_one_pass_is_the_default_and_its_rates_fall_evenly_to_nothing(llama, tmp_path, monkeypatch) -> None:
    rates: list[list[float]] = []
    step = AdamW.step

    def watched(optimizer, *args):
        rates.append([known.rate for known in optimizer.groups])
        return step(optimizer, *args)

    monkeypatch.setattr(AdamW, "step", watched)
    trained(llama, tmp_path / "run", batch_size=3, held_out_share=0.0, learning_rate=1e-3, head_learning_rate=1e-2)
    assert len(rates) == 4  # 12 comparisons, once
    shares = (1, 0.75, 0.5, 0.25)
    assert [rate for known in rates for rate in known] == pytest.approx(
        [rate * share for share in shares for rate in (1e-3, 1e-2)]
    )


def test_that_gradients_stay_where_they_lay_from_step_to_step(llama, tmp_path, monkeypatch) -> None:
    places: list[list[int]] = []
    step = AdamW.step

    def watched(optimizer, *args):
        places.append([p.grad.data_ptr() for p in optimizer.parameters()])
        return step(optimizer, *args)

    monkeypatch.setattr(AdamW, "step", watched)
    trained(llama, tmp_path / "run", batch_size=3, held_out_share=0.0)
    assert len(places) == 4
    assert places[0] == places[1] == places[2] == places[3]
