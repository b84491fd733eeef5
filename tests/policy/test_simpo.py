from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.simpo.loss import simpo_loss
from desktop_rlhf.policy.simpo.spec import SimpoSpec
from desktop_rlhf.policy.simpo.train import train
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.stop import StopToken

QUESTION = Prompt("p", (Message("user", "q"),))


def group(*completions: tuple[int, ...], pairs: tuple[tuple[int, int], ...] = ((0, 1),)):
    spoken = [Completion(str(c), "p", "g", None, "", c, ended=False, sampler=Sampler(), seed=0) for c in completions]
    return PreferenceGroup("c", QUESTION, tuple(spoken), pairs)


def mean_logprob(model, completion: tuple[int, ...]) -> float:
    """By the model's own forward and the exponentials of plain Python."""
    prompt = model.prompt_ids(QUESTION.messages)
    with torch.no_grad():
        rows = model.base(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].double().tolist()
    return sum(row[t] - math.log(sum(map(math.exp, row))) for row, t in zip(rows, completion, strict=True)) / len(rows)


def test_that_the_loss_equals_a_table_worked_by_hand() -> None:
    chosen = torch.tensor([-1.0, -1.0, -3.0], dtype=torch.float64)
    rejected = torch.tensor([-1.0, -1.25, -1.0], dtype=torch.float64)
    # 2 * diff - 0.5 is -0.5, 0 and -4.5
    by_hand = [math.log(1 + math.exp(0.5)), math.log(2), math.log(1 + math.exp(4.5))]
    assert simpo_loss(chosen, rejected, beta=2.0, gamma=0.5).tolist() == pytest.approx(by_hand, rel=1e-12)


def test_that_the_gradient_equals_its_formula() -> None:
    chosen = torch.tensor([-0.7], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([-1.9], dtype=torch.float64, requires_grad=True)
    simpo_loss(chosen, rejected, beta=2.0, gamma=0.5).sum().backward()
    surprise = 1 / (1 + math.exp(2.0 * 1.2 - 0.5))
    assert chosen.grad.item() == pytest.approx(-2.0 * surprise, rel=1e-12)
    assert rejected.grad.item() == pytest.approx(2.0 * surprise, rel=1e-12)


def test_that_the_first_step_measures_means_over_each_completion(resident, tmp_path) -> None:
    long, short, middle = (7, 30, 44, 9, 12, 1), (50,), (14, 15, 16)
    a, b, m = (mean_logprob(resident, completion) for completion in (long, short, middle))
    pairs = [(a, b), (m, b)]
    inputs = TrainingInputs(
        resident, None, (group(long, short, middle, pairs=((0, 1), (2, 1))),), (), None, tmp_path / "s"
    )
    (first,) = [e.metrics for e in train(SimpoSpec(), inputs, StopToken()) if isinstance(e, StepTaken)]
    by_hand = {
        "loss": sum(math.log(1 + math.exp(0.5 - 2 * (c - r))) for c, r in pairs) / 2,
        "rewards/chosen": a + m,
        "rewards/rejected": 2 * b,
        "rewards/margins": a + m - 2 * b,
        "rewards/accuracies": sum(c > r for c, r in pairs) / 2,
    }
    assert {name: first[name] for name in by_hand} == pytest.approx(by_hand, rel=1e-4, abs=1e-5)
    assert set(first) == {metric.name for metric in SimpoSpec.metrics}


def test_that_simpo_reaches_its_closed_form_optimum(eight, next_logprobs, tmp_path) -> None:
    """Where the first of two tokens wins a share p, the gradient is 0 at u = exp(beta d) with
    (1 - p) u^2 + (1 - 2 p) e^gamma u - p = 0; without the margin this is the log odds of p."""
    p, beta, gamma = 0.7, 2.0, 0.5
    lean = (2 * p - 1) * math.exp(gamma)
    wanted = math.log((lean + math.sqrt(lean**2 + 4 * p * (1 - p))) / (2 * (1 - p))) / beta
    assert wanted > math.log(p / (1 - p)) / beta + 0.05  # the margin shows
    pairs = ((0, 1),) * 7 + ((1, 0),) * 3
    inputs = TrainingInputs(eight, None, (group((4,), (6,), pairs=pairs),), (), None, tmp_path / "s")
    base = eight.base_sha256()
    spec = SimpoSpec(beta=beta, simpo_gamma=gamma, learning_rate=1e-2, epochs=150)
    for _ in train(spec, inputs, StopToken()):
        pass
    eight.attach("trained", tmp_path / "s")
    reached = next_logprobs(eight, "trained")
    assert (reached[4] - reached[6]).item() == pytest.approx(wanted, abs=0.02)
    assert eight.base_sha256() == base


def test_that_a_run_goes_on_from_an_adapter_without_a_reference(llama, tmp_path) -> None:
    groups = (group((7, 30, 44, 1), (9, 10)),)
    spec = SimpoSpec(learning_rate=1e-2, epochs=4)
    fresh = TrainingInputs(llama, None, groups, (), None, tmp_path / "one")
    losses = [e.metrics["loss"] for e in train(spec, fresh, StopToken()) if isinstance(e, StepTaken)]
    onward = TrainingInputs(llama, tmp_path / "one", groups, (), None, tmp_path / "two")
    attached, after = set(), []
    for event in train(spec, onward, StopToken()):
        attached |= llama.attached
        after += [event.metrics["loss"]] if isinstance(event, StepTaken) else []
    assert after[0] < losses[-1] < losses[0]
    assert attached == {"policy-two"}
    assert not llama.attached


def test_that_no_comparison_is_said_in_a_sentence(llama, tmp_path) -> None:
    with pytest.raises(NotEnoughDataError):
        list(train(SimpoSpec(), TrainingInputs(llama, None, (), (), None, tmp_path / "s"), StopToken()))
