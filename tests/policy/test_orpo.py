from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.orpo.loss import log_odds_chosen, orpo_loss
from desktop_rlhf.policy.orpo.spec import OrpoSpec
from desktop_rlhf.policy.orpo.train import train
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.stop import StopToken

QUESTION = Prompt("p", (Message("user", "q"),))


def group(*completions: tuple[int, ...], pairs: tuple[tuple[int, int], ...] = ((0, 1),)):
    spoken = [
        Completion(str(c), "p", "g", None, str(c), c, ended=False, sampler=Sampler(), seed=0) for c in completions
    ]
    return PreferenceGroup("c", QUESTION, tuple(spoken), pairs)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def odds(mean: float) -> float:
    return math.exp(mean) / (1 - math.exp(mean))


def mean_logprob(model, completion: tuple[int, ...]) -> float:
    """By the model's own forward and the exponentials of plain Python."""
    prompt = model.prompt_ids(QUESTION.messages)
    with torch.no_grad():
        rows = model.base(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].double().tolist()
    return sum(row[t] - math.log(sum(map(math.exp, row))) for row, t in zip(rows, completion, strict=True)) / len(rows)


def test_that_the_loss_equals_a_table_worked_by_hand() -> None:
    table = [(-0.5, -2.0), (-2.0, -0.5), (-1.0, -1.0), (-0.01, -7.0)]
    chosen, rejected = (torch.tensor(column, dtype=torch.float64) for column in zip(*table, strict=True))
    ratios = [math.log(odds(c) / odds(r)) for c, r in table]
    assert log_odds_chosen(chosen, rejected).tolist() == pytest.approx(ratios, rel=1e-9, abs=1e-12)
    by_hand = [-c - 0.3 * math.log(sigmoid(ratio)) for (c, _), ratio in zip(table, ratios, strict=True)]
    assert orpo_loss(chosen, rejected, beta=0.3).tolist() == pytest.approx(by_hand, rel=1e-9)


def test_that_the_gradient_equals_its_formula() -> None:
    c, r, beta = -0.7, -1.9, 0.3
    chosen = torch.tensor([c], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([r], dtype=torch.float64, requires_grad=True)
    orpo_loss(chosen, rejected, beta=beta).sum().backward()
    surprise = sigmoid(-math.log(odds(c) / odds(r)))
    assert chosen.grad.item() == pytest.approx(-1 - beta * surprise / (1 - math.exp(c)), rel=1e-9)
    assert rejected.grad.item() == pytest.approx(beta * surprise / (1 - math.exp(r)), rel=1e-9)


def test_that_a_certain_completion_has_finite_odds() -> None:
    for chosen, rejected in ((0.0, -1.0), (-1.0, 0.0), (0.0, 0.0)):
        means = torch.tensor([[chosen], [rejected]], requires_grad=True)
        loss = orpo_loss(means[0], means[1], beta=0.1)
        loss.sum().backward()
        assert torch.isfinite(loss).all()
        assert torch.isfinite(means.grad).all()


def test_that_the_first_step_measures_means_over_each_completion(resident, tmp_path) -> None:
    long, short, middle = (7, 30, 44, 9, 12, 1), (50,), (14, 15, 16)
    groups = (group(long, short, middle, pairs=((0, 1), (2, 1), (0, 2))),)
    a, b, m = (mean_logprob(resident, completion) for completion in (long, short, middle))
    pairs = [(a, b), (m, b), (a, m)]
    ratios = [math.log(odds(c) / odds(r)) for c, r in pairs]
    inputs = TrainingInputs(resident, None, groups, (), None, tmp_path / "o")
    (first,) = [e.metrics for e in train(OrpoSpec(beta=0.2), inputs, StopToken()) if isinstance(e, StepTaken)]
    nll = -sum(c for c, _ in pairs) / 3
    term = sum(math.log(sigmoid(x)) for x in ratios) / 3
    by_hand = {
        "loss": nll - 0.2 * term,
        "nll_loss": nll,
        "log_odds_ratio": term,
        "log_odds_chosen": sum(ratios) / 3,
        "rewards/chosen": 0.2 * sum(c for c, _ in pairs) / 3,
        "rewards/rejected": 0.2 * sum(r for _, r in pairs) / 3,
        "rewards/margins": 0.2 * sum(c - r for c, r in pairs) / 3,
        "rewards/accuracies": sum(c > r for c, r in pairs) / 3,
    }
    assert {name: first[name] for name in by_hand} == pytest.approx(by_hand, rel=1e-4, abs=1e-5)
    assert set(first) == {metric.name for metric in OrpoSpec.metrics}


def test_that_orpo_reaches_the_optimum_of_its_two_terms(eight, next_logprobs, tmp_path) -> None:
    """Two tokens, the first of which wins in 7 of 10, share the mass that the small model can gather on them; how they
    share it is found by narrowing, in plain Python."""
    share, beta = 0.7, 2.0

    def loss(p: float, mass: float) -> float:
        ratio = math.log(p / (1 - p)) - math.log((mass - p) / (1 - mass + p))
        nll = -share * math.log(p) - (1 - share) * math.log(mass - p)
        return nll - beta * (share * math.log(sigmoid(ratio)) + (1 - share) * math.log(sigmoid(-ratio)))

    pairs = ((0, 1),) * 7 + ((1, 0),) * 3
    base, start = eight.base_sha256(), None
    for path, rate in ((tmp_path / "near", 3e-2), (tmp_path / "o", 1e-3)):  # far steps, then short ones
        inputs = TrainingInputs(eight, start, (group((4,), (6,), pairs=pairs),), (), None, path)
        for _ in train(OrpoSpec(beta=beta, learning_rate=rate, epochs=200), inputs, StopToken()):
            pass
        start = path
    eight.attach("trained", tmp_path / "o")
    reached = next_logprobs(eight, "trained").exp()[[4, 6]].tolist()
    low, high = 0.01, sum(reached) - 0.01
    for _ in range(100):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if loss(a, sum(reached)) < loss(b, sum(reached)) else (a, high)
    assert reached[0] == pytest.approx(low, abs=0.003)
    assert sum(reached) > 0.97  # what NLL is for
    assert 0.58 < reached[0] / sum(reached) < 0.65  # NLL alone would stop at 0.7, a strong ratio term at 0.604
    assert eight.base_sha256() == base


def test_that_a_run_goes_on_from_an_adapter_without_a_reference(llama, tmp_path) -> None:
    groups = (group((7, 30, 44, 1), (9, 10)),)
    spec = OrpoSpec(learning_rate=1e-2, epochs=6)
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
        list(train(OrpoSpec(), TrainingInputs(llama, None, (), (), None, tmp_path / "o"), StopToken()))
