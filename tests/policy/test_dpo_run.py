"""A DPO run against the same numbers from the model's own forward, one sequence at a time, without padding."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.dpo.loss import dpo_loss
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.dpo.train import train
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken

BETA = 0.3
FAST = DpoSpec(beta=BETA, learning_rate=1e-2, batch_size=4)


def group(number: int, *completions: tuple[int, ...], pairs=((0, 1),), question: str = "") -> PreferenceGroup:
    prompt = Prompt(f"p{number}", (Message("user", question or "why " * number + "?"),))
    spoken = tuple(
        Completion(f"{number}-{place}", prompt.id, "g", None, "", ids, ended=False, sampler=Sampler(), seed=0)
        for place, ids in enumerate(completions)
    )
    return PreferenceGroup(f"c{number}", prompt, spoken, pairs)


RAGGED = (
    group(1, (7, 30, 44, 1), (9,)),
    group(2, (12, 13), (14, 15, 16, 17, 18, 19, 1), (8,), pairs=((1, 0), (1, 2), (0, 2))),
    group(7, (50,) * 12, (60, 61)),
    group(3, (90, 1), (91, 92, 93)),
)


def steps(model: ResidentModel, path, spec: DpoSpec, groups=RAGGED, start=None) -> list[dict[str, float]]:
    inputs = TrainingInputs(model, start, tuple(groups), (), None, path)
    return [event.metrics for event in train(spec, inputs, StopToken()) if isinstance(event, StepTaken)]


def plain_sums(model: ResidentModel, adapter: str | None, group: PreferenceGroup) -> list[torch.Tensor]:
    """Log-probability of every completion of a comparison, summed over its own tokens, as transformers runs it."""
    role = model.role
    if role.adapter != adapter:
        model.take_role(Role(adapter))
    prompt = model.prompt_ids(group.prompt.messages)
    sums = []
    for completion in group.completions:
        logprobs = model.base(torch.tensor([[*prompt, *completion.completion_ids]])).logits[0].log_softmax(-1)
        sums.append(sum(logprobs[len(prompt) - 1 + i, token] for i, token in enumerate(completion.completion_ids)))
    if role.adapter != adapter:
        model.take_role(role)
    return sums


def plain_pairs(model: ResidentModel, policy: str | None, reference: str | None, group: PreferenceGroup):
    """The log-ratios of the chosen and of the rejected of every pair."""
    with torch.no_grad():
        theirs = plain_sums(model, reference, group)
    ratios = [ours - other for ours, other in zip(plain_sums(model, policy, group), theirs, strict=True)]
    return [(ratios[better], ratios[worse]) for better, worse in group.pairs]


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def test_that_the_second_loss_is_that_of_the_sums_over_the_completions_tokens(resident, tmp_path) -> None:
    """Not of means, nor with the prompt's tokens, nor with padding, and against the start, not the policy of now."""
    steps(resident, tmp_path / "one", FAST)
    resident.attach("one", tmp_path / "one")
    with torch.no_grad():
        ratios = [plain_pairs(resident, "one", None, known) for known in RAGGED]
    resident.detach("one")
    _, second = steps(resident, tmp_path / "two", replace(FAST, epochs=2))
    wanted = {
        "loss": mean(mean(softplus(-BETA * (c - r).item()) for c, r in pairs) for pairs in ratios),
        "rewards/chosen": mean(mean(BETA * c.item() for c, _ in pairs) for pairs in ratios),
        "rewards/rejected": mean(mean(BETA * r.item() for _, r in pairs) for pairs in ratios),
        "rewards/margins": mean(mean(BETA * (c - r).item() for c, r in pairs) for pairs in ratios),
    }
    assert wanted["rewards/margins"] > 0.1
    assert {name: second[name] for name in wanted} == pytest.approx(wanted, abs=1e-4)


def test_that_before_anything_was_learned_the_loss_is_ln_2_and_every_margin_exactly_zero(resident, tmp_path) -> None:
    """Also under a base whose layers drop out in training, as GPT-2's do by default."""
    (first,) = steps(resident, tmp_path / "run", FAST)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "kl_k3"):
        assert first[name] == 0.0


def test_that_an_adapter_made_elsewhere_with_dropout_says_the_same_twice(resident, tmp_path) -> None:
    """Nothing is dropped while training, neither by the base nor by the adapter."""
    steps(resident, tmp_path / "one", FAST)
    config = tmp_path / "one" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_dropout": 0.5}))
    resident.attach("elsewhere", tmp_path / "one")
    resident.take_role(Role("elsewhere", trainable=True))
    assert any(p > 0 for p in _dropouts(resident)), "there is dropout that could act"
    once, again = (torch.stack(plain_sums(resident, "elsewhere", RAGGED[0])) for _ in range(2))
    assert torch.equal(once, again)
    resident.detach("elsewhere")
    (first,) = steps(resident, tmp_path / "two", FAST, start=tmp_path / "one")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)


def _dropouts(model: ResidentModel) -> list[float]:
    return [module.p for module in model.base.modules() if isinstance(module, torch.nn.Dropout)]


def test_that_the_gradient_is_minus_beta_sigmoid_of_minus_z_times_the_difference_of_the_slopes() -> None:
    """A policy of two parameters over three tokens; the gradient of log-probabilities is written down by hand."""
    theta = torch.tensor([0.4, -0.9], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.1, 0.2, 0.0], dtype=torch.float64).log_softmax(-1)
    for chosen, rejected in ((0, 1), (2, 0), (1, 2)):
        logprobs = torch.cat([theta, theta.new_zeros(1)]).log_softmax(-1)
        margin = (logprobs[chosen] - reference[chosen]) - (logprobs[rejected] - reference[rejected])
        (gradient,) = torch.autograd.grad(dpo_loss(margin, beta=BETA), theta)
        p = logprobs.exp().tolist()
        slope = [[(token == i) - p[i] for i in (0, 1)] for token in (0, 1, 2)]
        weight = -BETA / (1 + math.exp(BETA * margin.item()))
        by_hand = [weight * (slope[chosen][i] - slope[rejected][i]) for i in (0, 1)]
        assert gradient.tolist() == pytest.approx(by_hand, rel=1e-9)


def test_that_each_comparison_keeps_its_own_reference_whatever_the_order(llama, tmp_path) -> None:
    """With a policy that stands still every loss is ln 2, pass after pass, though prompts and ids repeat."""
    groups = [group(1, *((token + k,) * (1 + k) for k in range(2)), question="the same") for token in range(20, 40)]
    still = DpoSpec(beta=1.0, learning_rate=0.0, batch_size=3, epochs=3)
    for seed in (0, 1):
        losses = [step["loss"] for step in steps(llama, tmp_path / f"{seed}", replace(still, seed=seed), groups)]
        assert losses == pytest.approx([math.log(2)] * 21, abs=1e-6)


def test_that_the_reference_is_the_start_however_late_it_is_asked(llama, tmp_path) -> None:
    """The same comparison again and again, one forward each: measured against the policy of the moment every one of
    them would begin at ln 2."""
    groups = [replace(RAGGED[0], comparison_id=f"c{number}") for number in range(6)]
    losses = [
        step["loss"] for step in steps(llama, tmp_path / "run", replace(FAST, batch_size=1, max_length=32), groups)
    ]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.4


def test_that_an_edited_completion_is_measured_anew_in_the_next_run(llama, tmp_path) -> None:
    """Nothing of a reference outlives its run: the same ids with other words start at ln 2 again."""
    for number, words in enumerate(((7, 30, 44, 1), (80, 81, 82, 1))):
        (first,) = steps(llama, tmp_path / f"{number}", FAST, [group(1, words, (9,))])
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_that_a_steps_gradient_is_that_of_the_mean_over_its_comparisons(resident, tmp_path) -> None:
    """However the batch was cut into forwards: the whole of it, one plain forward per completion."""
    spec = replace(FAST, max_grad_norm=1e-6)
    (first,) = steps(resident, tmp_path / "run", spec)
    resident.new_adapter("same", rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter"))
    resident.take_role(Role("same", trainable=True))
    losses = []
    for known in RAGGED:
        of_pairs = [dpo_loss(c - r, beta=BETA) for c, r in plain_pairs(resident, "same", None, known)]
        losses.append(torch.stack(of_pairs).mean())
    gradients = torch.autograd.grad(torch.stack(losses).mean(), resident.trainable_parameters())
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
    assert norm > 0.1
    assert first["grad_norm"] == pytest.approx(norm, rel=1e-4)
