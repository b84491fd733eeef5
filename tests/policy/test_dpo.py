from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.dpo.loss import dpo_loss
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.dpo.train import train
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.stop import StopToken

QUESTION = Prompt("p", (Message("user", "q"),))


def spoken(ids: tuple[int, ...]) -> Completion:
    return Completion(str(ids), "p", "g", None, str(ids), ids, ended=False, sampler=Sampler(), seed=0)


def group(*completions: tuple[int, ...], pairs: tuple[tuple[int, int], ...] = ((0, 1),), id: str = "c"):
    return PreferenceGroup(id, QUESTION, tuple(map(spoken, completions)), pairs)


def test_that_the_loss_equals_a_table_worked_by_hand() -> None:
    margins = torch.tensor([0.0, 2.0, -3.0])
    plain = [math.log(2), math.log(1 + math.exp(-1)), math.log(1 + math.exp(1.5))]
    assert dpo_loss(margins, beta=0.5).tolist() == pytest.approx(plain, rel=1e-6)
    turned = [math.log(2), math.log(1 + math.exp(1)), math.log(1 + math.exp(-1.5))]
    smooth = [0.9 * a + 0.1 * b for a, b in zip(plain, turned, strict=True)]
    assert dpo_loss(margins, beta=0.5, label_smoothing=0.1).tolist() == pytest.approx(smooth, rel=1e-6)


def test_that_the_first_loss_is_ln_2_whatever_the_lengths(llama, tmp_path) -> None:
    groups = (group((7, 30, 44, 1), (9,)), group((12, 13), (14, 15, 16, 17, 1), (8,), pairs=((1, 0), (1, 2))))
    inputs = TrainingInputs(llama, None, groups, (), None, tmp_path / "dpo")
    steps = [e for e in train(DpoSpec(batch_size=2), inputs, StopToken()) if isinstance(e, StepTaken)]
    assert steps[0].metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert steps[0].metrics["kl_k3"] == pytest.approx(0, abs=1e-6)
    assert steps[0].metrics["rewards/margins"] == pytest.approx(0, abs=1e-6)


def test_that_a_continued_run_starts_at_its_own_reference(llama, tmp_path) -> None:
    groups = (group((7, 30, 44, 1), (9, 10)),)
    fresh = TrainingInputs(llama, None, groups, (), None, tmp_path / "one")
    spec = DpoSpec(learning_rate=1e-2, epochs=5)
    losses = [e.metrics["loss"] for e in train(spec, fresh, StopToken()) if isinstance(e, StepTaken)]
    assert losses[-1] < 0.6
    onward = TrainingInputs(llama, tmp_path / "one", groups, (), None, tmp_path / "two")
    losses = [e.metrics["loss"] for e in train(spec, onward, StopToken()) if isinstance(e, StepTaken)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert not llama.attached


def test_that_dpo_reaches_the_closed_form_optimum(eight, next_logprobs, tmp_path) -> None:
    """Preferences drawn by Bradley-Terry from a reward r are answered by pi* proportional to ref * exp(r / beta)."""
    beta, rewards = 0.5, (0.0, 0.4, 1.2)
    often = 1000
    pairs: list[tuple[int, int]] = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        wins = round(often / (1 + math.exp(rewards[b] - rewards[a])))
        pairs += [(a, b)] * wins + [(b, a)] * (often - wins)
    tokens = (4, 6, 7)
    base = eight.base_sha256()
    reference = next_logprobs(eight, None)
    inputs = TrainingInputs(
        eight, None, (group(*((t,) for t in tokens), pairs=tuple(pairs)),), (), None, tmp_path / "d"
    )
    for _ in train(DpoSpec(beta=beta, learning_rate=1e-2, epochs=400), inputs, StopToken()):
        pass
    eight.attach("trained", tmp_path / "d")
    gained = (next_logprobs(eight, "trained") - reference)[list(tokens)]
    wanted = torch.tensor(rewards) / beta
    assert (gained - gained[0]).tolist() == pytest.approx((wanted - wanted[0]).tolist(), abs=0.1)
    # Comparisons say nothing of the other tokens, so the distance is taken among those that were compared.
    before, optimum, reached = (
        (reference[list(tokens)] + more).softmax(-1) for more in (torch.zeros(3), wanted, gained)
    )
    assert 0.5 * (before - optimum).abs().sum() > 0.1
    assert 0.5 * (reached - optimum).abs().sum() < 0.02
    assert eight.base_sha256() == base
