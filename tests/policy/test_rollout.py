from __future__ import annotations

import dataclasses
import math
from statistics import fmean, pstdev

import pytest
import torch

from desktop_rlhf.adapters.packing import pack
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.completions.sampling import Drawn
from desktop_rlhf.numerics.advantages import group_relative, leave_one_out
from desktop_rlhf.numerics.masked import whiten_together
from desktop_rlhf.numerics.running import RunningMoments
from desktop_rlhf.policy.algorithms import ALGORITHMS
from desktop_rlhf.policy.grpo.spec import GrpoSpec
from desktop_rlhf.policy.grpo.train import GrpoLearner
from desktop_rlhf.policy.kl_control import AdaptiveKl
from desktop_rlhf.policy.on_policy import Averages, _gradients
from desktop_rlhf.policy.ppo.critic import ValueHead
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.policy.ppo.train import PpoLearner
from desktop_rlhf.policy.rloo.spec import RlooSpec
from desktop_rlhf.policy.rloo.train import RlooLearner
from desktop_rlhf.policy.rollout import Episode, Rollouts, evaluate, kl_in_doubt
from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.runs.stop import StopToken

LENGTHS = ((3, 1, 2), (4, 4, 2))


def episode(lengths: tuple[int, ...], seed: int, ended: bool = True) -> Episode:
    """Completions of these lengths with made-up measurements, padding among them."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [Drawn((7,) * n, ended) for n in lengths]
    packed = pack([([5, 6], [d.completion_ids for d in drawn])])

    def made() -> torch.Tensor:
        return torch.where(packed.mask, torch.randn(packed.mask.shape, generator=generator) / 4, 0.0)

    scores = torch.randn(len(lengths), generator=generator)
    return Episode("p", [5, 6], drawn, packed, scores, scores, made() - 1, made() - 1, made(), made() ** 2)


def widened(known: Episode, columns: int) -> Episode:
    """The same episode with padding behind every row, the padding full of nonsense."""

    def wider(values: torch.Tensor, fill: float) -> torch.Tensor:
        return torch.cat([values, values.new_full((len(values), columns), fill)], dim=1)

    packed = dataclasses.replace(
        known.packed,
        before=wider(known.packed.before, 0),
        targets=wider(known.packed.targets, 0),
        mask=wider(known.packed.mask, 0),
    )
    tensors = {
        name: wider(getattr(known, name), fill)
        for name, fill in (("old_logprobs", 1.0), ("reference_logprobs", -30.0), ("old_values", 9.0), ("entropy", 5.0))
    }
    return dataclasses.replace(known, packed=packed, **tensors)


@pytest.mark.parametrize(
    "learner",
    [
        PpoLearner(PpoSpec(whiten_rewards=True, kl_estimator="k3"), 8),
        RlooLearner(RlooSpec()),
        GrpoLearner(GrpoSpec()),
    ],
    ids=["ppo", "rloo", "grpo"],
)
def test_that_padding_changes_no_metric_and_no_gradient(learner) -> None:
    told = []
    for columns in (0, 50):
        episodes = [widened(episode(lengths, i), columns) for i, lengths in enumerate(LENGTHS)]
        learner.begin(0, episodes)
        measured = Averages()
        gradients = []
        for i, known in enumerate(episodes):
            logprobs = (known.old_logprobs + torch.where(known.packed.mask, 0.1, 0.7)).requires_grad_()
            loss, seen = learner.loss(i, logprobs, known.old_values + 0.3)
            loss.backward()
            measured.add(seen, learner.weight(known))
            gradients += logprobs.grad[known.packed.mask].tolist()
            assert (logprobs.grad[~known.packed.mask] == 0).all()
        told.append(({**measured.means(), **learner.finish()}, gradients))
    (plain, plain_gradients), (padded, padded_gradients) = told
    assert padded == pytest.approx(plain, abs=1e-6)
    assert padded_gradients == pytest.approx(plain_gradients, abs=1e-6)
    assert set(plain) | {"grad_norm"} == {metric.name for metric in learner.spec.metrics}


def test_that_a_longer_sibling_changes_nothing_that_is_measured_of_a_completion(llama) -> None:
    head = ValueHead(llama.hidden_size)
    torch.nn.init.ones_(head.weight)
    with torch.no_grad():
        alone = evaluate(llama, pack([([5, 6], [[7, 8, 9]])]), 0.7, head)
        beside = evaluate(llama, pack([([5, 6], [[7, 8, 9], [10] * 30])]), 0.7, head)
    for one, two in zip(alone, beside, strict=True):
        assert one.abs().min() > 0
        assert two[0, :3].tolist() == pytest.approx(one[0].tolist(), abs=1e-5)
        assert (two[0, 3:] == 0).all()


def test_that_the_kl_coefficient_follows_a_table_worked_by_hand() -> None:
    for kl, wanted in (
        (6.0, 0.15),
        (6.6, 0.15 * 1.001),
        (60.0, 0.15 * 1.002),
        (0.0, 0.15 * 0.998),
        (-9.0, 0.15 * 0.998),
    ):
        control = AdaptiveKl(0.15, target=6.0, horizon=10_000)
        control.update(kl, 100)
        assert control.coefficient == pytest.approx(wanted, rel=1e-9)


def test_that_the_kl_coefficient_never_changes_sign() -> None:
    control = AdaptiveKl(0.15, target=6.0, horizon=1)
    for _ in range(50):
        control.update(0.0, 1000)
        assert control.coefficient > 0


def test_that_running_moments_are_those_of_everything_seen() -> None:
    seen = [[1.0, 2.0, 4.0], [10.0], [-3.0, 0.5]]
    moments = RunningMoments()
    for batch in seen:
        moments.add(torch.tensor(batch))
    flat = [x for batch in seen for x in batch]
    mean = sum(flat) / 6
    deviation = math.sqrt(sum((x - mean) ** 2 for x in flat) / 6)
    assert (moments.count, moments.mean, moments.deviation) == pytest.approx((6, mean, deviation))
    assert moments.normalised(torch.tensor([10.0])).item() == pytest.approx((10 - mean) / deviation, rel=1e-6)


def test_that_scores_of_one_value_are_normalised_to_zero() -> None:
    moments = RunningMoments()
    moments.add(torch.full((4,), 3.0))
    assert moments.normalised(torch.full((2,), 3.0)).tolist() == [0.0, 0.0]


def test_that_tensors_whitened_together_share_one_mean_and_one_deviation() -> None:
    values = [torch.tensor([[1.0, 2.0], [3.0, 99.0]]), torch.tensor([[6.0, 0.0, 8.0]])]
    masks = [torch.tensor([[True, True], [True, False]]), torch.ones(1, 3, dtype=torch.bool)]
    kept = [1.0, 2.0, 3.0, 6.0, 0.0, 8.0]
    mean = sum(kept) / 6
    deviation = math.sqrt(sum((x - mean) ** 2 for x in kept) / 6)
    for shift, back in ((True, 0.0), (False, mean)):
        one, two = whiten_together(values, masks, shift_mean=shift)
        wanted = [(x - mean) / deviation + back for x in kept]
        assert [*one[masks[0]].tolist(), *two[0].tolist()] == pytest.approx(wanted, abs=1e-6)
        assert one[1, 1] == 0


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({}, [3.0, -1.0]),
        ({"reward_clip": 0.5}, [0.5, -0.5]),
        ({"normalise_reward": True}, [1.0, -1.0]),
        ({"normalise_reward": True, "reward_clip": 0.25}, [0.25, -0.25]),
        ({"missing_eos_penalty": 2.0}, [1.0, -3.0]),
        ({"missing_eos_penalty": 2.0, "reward_clip": 0.5}, [-1.5, -2.5]),
    ],
)
def test_that_rewards_follow_from_scores_as_the_settings_say(chosen, wanted) -> None:
    spec = PpoSpec(**chosen)
    rollouts = Rollouts(spec, None, (), "policy", None, None, None)
    known = dataclasses.replace(episode((2, 2), 0, ended=False), scores=torch.tensor([3.0, -1.0]))
    (done,) = rollouts._rewarded([known])
    assert done.rewards.tolist() == pytest.approx(wanted, abs=1e-6)
    penalty = spec.missing_eos_penalty
    assert done.scores.tolist() == [3.0 - penalty, -1.0 - penalty]  # what a person is shown is never rescaled
    (spared,) = rollouts._rewarded([dataclasses.replace(known, drawn=[Drawn((7, 1), True)] * 2)])
    assert (spared.rewards - done.rewards).tolist() == pytest.approx([penalty, penalty], abs=1e-6)


def test_that_rewards_are_normalised_over_all_rollouts_so_far() -> None:
    rollouts = Rollouts(PpoSpec(normalise_reward=True), None, (), "policy", None, None, None)
    for scores in ([0.0, 2.0], [4.0, 6.0]):
        (last,) = rollouts._rewarded([dataclasses.replace(episode((1, 1), 0), scores=torch.tensor(scores))])
    assert last.rewards.tolist() == pytest.approx([1 / math.sqrt(5), 3 / math.sqrt(5)])


def test_that_whitened_rewards_need_eight_tokens() -> None:
    for lengths, whitened in (((3, 4), False), ((4, 4), True)):
        known = episode(lengths, 3)
        returns = []
        for whiten in (False, True):
            learner = PpoLearner(PpoSpec(whiten_rewards=whiten, gamma=1.0, lam=1.0), 8)
            learner.begin(0, [known])
            returns.append(learner.returns[0])
        assert torch.equal(*returns) is not whitened


def test_that_whitened_rewards_keep_their_mean_and_advantages_have_none() -> None:
    episodes = [
        dataclasses.replace(known, old_values=torch.zeros_like(known.old_values), rewards=known.rewards + 5)
        for known in (episode(lengths, i) for i, lengths in enumerate(LENGTHS))
    ]
    raw = PpoLearner(PpoSpec(gamma=0.0), 8)
    raw.begin(0, episodes)
    white = PpoLearner(PpoSpec(gamma=0.0, whiten_rewards=True), 8)
    white.begin(0, episodes)

    def kept(tensors: list[torch.Tensor]) -> list[float]:
        return torch.cat([t[e.packed.mask] for t, e in zip(tensors, episodes, strict=True)]).tolist()

    rewards = kept(raw.returns)  # with gamma 0 and no values a return is its token's reward
    assert fmean(rewards) > 1
    wanted = [(r - fmean(rewards)) / pstdev(rewards) + fmean(rewards) for r in rewards]
    assert kept(white.returns) == pytest.approx(wanted, abs=1e-5)
    for learner in (raw, white):  # over the rollout, not within each prompt
        advantages = kept(learner.advantages)
        assert (fmean(advantages), pstdev(advantages)) == pytest.approx((0, 1), abs=1e-5)
        assert abs(learner.advantages[0][episodes[0].packed.mask].mean()) > 0.01


@pytest.mark.parametrize("spec", [s for s in ALGORITHMS if issubclass(s, RolloutSpec)])
def test_that_reward_is_never_shown_without_what_gives_a_cheat_away(spec) -> None:
    panels = {metric.panel for metric in spec.metrics}
    assert {"reward", "kl", "entropy", "length"} <= panels
    names = {metric.name for metric in spec.metrics}
    assert names & {"val/contain_eos_token", "completions/clipped_ratio"}


@pytest.mark.parametrize(("max_length", "micro_batches"), [(512, 1), (8, 2)])
def test_that_the_gradients_of_micro_batches_are_those_of_the_mean_over_all_tokens(
    llama, tmp_path, max_length, micro_batches
) -> None:
    llama.new_adapter("policy", rank=4, alpha=8, seed=0)
    llama.take_role(Role("policy", trainable=True))
    spec = GrpoSpec(beta=0.0, temperature=1.0, max_length=max_length)
    learner = GrpoLearner(spec)
    with torch.no_grad():
        episodes = [
            dataclasses.replace(known, old_logprobs=evaluate(llama, known.packed, 1.0)[0])
            for known in (episode((3, 1), 0), episode((9, 6), 1))
        ]
    learner.begin(0, episodes)
    inputs = TrainingInputs(llama, None, (), (), None, tmp_path)
    seen = 0
    for _ in _gradients(spec, inputs, StopToken(), learner, episodes, 0.0, None):
        llama.take_role(Role(None))  # as a job served in between would
        seen += 1
    assert seen == micro_batches
    llama.take_role(Role("policy", trainable=True))
    parameters = llama.trainable_parameters()
    piecewise = torch.cat([p.grad.flatten() for p in parameters])
    whole = sum(
        -(evaluate(llama, known.packed, 1.0)[0].sum(-1) * advantages).sum()
        for known, advantages in zip(episodes, learner.advantages, strict=True)
    )
    together = torch.cat([g.flatten() for g in torch.autograd.grad(whole / 19, parameters)])
    assert together.abs().max() > 0.01
    assert torch.allclose(piecewise, together, atol=1e-6)


@pytest.mark.parametrize("advantages", [leave_one_out, lambda r: group_relative(r, scale=True)])
def test_that_a_groups_advantages_add_up_to_nothing(advantages) -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (2, 3, 8, 64):
        rewards = 10 * torch.randn(size, generator=generator, dtype=torch.float64)
        assert advantages(rewards).sum().item() == pytest.approx(0, abs=1e-9)
        assert (advantages(torch.full((size,), 0.1)) == 0).all()


@pytest.mark.parametrize(
    ("per_token", "doubtful"),
    [((-0.3, -0.3), True), ((-0.3, -0.28), True), ((-1.0, 0.5), False), ((-0.001, -0.001), False), ((0.3, 0.3), False)],
)
def test_that_a_kl_is_doubted_only_below_what_chance_explains(per_token, doubtful) -> None:
    """Two rollouts of three completions; the log-ratio of each of their tokens is given."""
    episodes = [
        dataclasses.replace(known, old_logprobs=known.reference_logprobs + ratio * known.packed.mask)
        for known, ratio in zip((episode((4, 5, 4), 0), episode((4, 5, 4), 1)), per_token, strict=True)
    ]
    assert kl_in_doubt(episodes) is doubtful


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_that_prompts_that_begin_alike_are_scored_and_learned_from_to_the_same_bits(llama, dtype) -> None:
    """So that the first ratio is 1 where an opening is computed once, too."""
    model = ResidentModel(llama.base.to(dtype), llama.tokenizer)
    model.new_adapter("policy", rank=4, alpha=8, seed=0)
    opening = list(range(60, 84))
    packed = pack([([*opening, row], [[7, 8, 9 + row], [30 + row] * 5, [1]]) for row in range(40, 48)])
    assert packed.opening == len(opening)
    model.take_role(Role("policy", trainable=True))
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        old, _, _ = evaluate(model, packed, 0.7)
    new, _, _ = evaluate(model, packed, 0.7)
    assert new.requires_grad
    assert torch.equal(new.detach(), old)
