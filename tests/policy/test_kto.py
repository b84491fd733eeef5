from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.kto.loss import kto_loss, reference_point
from desktop_rlhf.policy.kto.spec import KtoSpec
from desktop_rlhf.policy.kto.train import Example, mismatched, spread, train
from desktop_rlhf.records.comparisons import JudgedCompletion
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.stop import StopToken


def judged(completion: tuple[int, ...], desirable: bool, prompt: str = "p") -> JudgedCompletion:
    spoken = Completion("c", prompt, "g", None, "", completion, ended=False, sampler=Sampler(), seed=0)
    return JudgedCompletion("c", Prompt(prompt, (Message("user", prompt),)), spoken, desirable)


def run(model, examples, path, start=None, **settings) -> list[dict[str, float]]:
    inputs = TrainingInputs(model, start, (), (), None, path, tuple(examples))
    return [e.metrics for e in train(KtoSpec(**settings), inputs, StopToken()) if isinstance(e, StepTaken)]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def logprob(model, prompt: str, completion: tuple[int, ...]) -> float:
    """By the model's own forward and the exponentials of plain Python."""
    ids = model.prompt_ids((Message("user", prompt),))
    with torch.no_grad():
        rows = model.base(torch.tensor([[*ids, *completion]])).logits[0, len(ids) - 1 : -1].double().tolist()
    return sum(row[t] - math.log(sum(map(math.exp, row))) for row, t in zip(rows, completion, strict=True))


def test_that_the_loss_and_its_gradient_equal_a_table_worked_by_hand() -> None:
    table = [(0.0, True), (0.0, False), (5.0, True), (5.0, False), (-4.0, True), (-4.0, False)]
    ratios = torch.tensor([r for r, _ in table], dtype=torch.float64, requires_grad=True)
    point, beta, weights = 1.5, 0.2, {True: 1.3, False: 0.7}
    losses = kto_loss(
        ratios,
        torch.tensor([good for _, good in table]),
        torch.tensor(point, dtype=torch.float64),
        beta=beta,
        desirable_weight=1.3,
        undesirable_weight=0.7,
    )
    by_hand, slopes = [], []
    for ratio, good in table:
        sign = 1 if good else -1
        value = sigmoid(sign * beta * (ratio - point))
        by_hand.append(weights[good] * (1 - value))
        slopes.append(-weights[good] * sign * beta * value * (1 - value))
    assert losses.tolist() == pytest.approx(by_hand, rel=1e-12)
    losses.sum().backward()
    assert ratios.grad.tolist() == pytest.approx(slopes, rel=1e-12)


def test_that_the_reference_point_is_a_mean_never_below_0_and_has_no_gradient() -> None:
    ratios = torch.tensor([1.0, -2.0, 4.0], requires_grad=True)
    assert reference_point(ratios).item() == 1.0
    assert not reference_point(ratios).requires_grad
    assert reference_point(torch.tensor([1.0, -2.0])).item() == 0.0
    assert reference_point(torch.tensor([])).item() == 0.0


def test_that_every_completion_is_measured_behind_the_next_examples_prompt() -> None:
    def batch(*of: tuple[str, int, int]) -> list[Example]:
        return [Example(i, p, (3,) * size, (i,) * length, True) for i, (p, size, length) in enumerate(of)]

    def numbers(examples: list[Example], limit: int = 100) -> list[int | None]:
        return [other and other.number for other in mismatched(examples, limit)]

    assert numbers(batch(("a", 2, 1), ("b", 2, 1), ("c", 2, 1))) == [1, 2, 0]
    assert numbers(batch(("a", 2, 1), ("a", 2, 1), ("b", 2, 1))) == [2, 2, 0]  # its own prompt is no mismatch
    assert numbers(batch(("a", 2, 1), ("b", 2, 9), ("c", 2, 1)), limit=10) == [2, 2, 0]  # too long together
    assert numbers(batch(("a", 2, 1), ("a", 2, 1))) == [None, None]
    assert numbers(batch(("a", 2, 1))) == [None]


def test_that_every_batch_holds_its_share_of_good_and_bad() -> None:
    desirable = [True] * 10 + [False] * 30
    orders = [spread(desirable, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert len({tuple(order) for order in orders}) == 20
    for order in orders:
        assert {sum(desirable[i] for i in order[start : start + 8]) for start in range(0, 40, 8)} == {2}


def test_that_the_first_step_stands_at_the_reference(resident, tmp_path) -> None:
    examples = (judged((7, 30, 44, 1), True), judged((9,), False), judged((12, 13), True, "q"))
    (first,) = run(resident, examples, tmp_path / "k", desirable_weight=1.5, undesirable_weight=0.6)
    assert first["loss"] == pytest.approx((1.5 + 0.6 + 1.5) / 3 / 2, abs=1e-6)
    for name in ("kl", "rewards/chosen", "rewards/rejected", "rewards/margins"):
        assert first[name] == pytest.approx(0, abs=1e-5)
    assert set(first) == {metric.name for metric in KtoSpec.metrics}


def test_that_the_second_step_equals_plain_forwards_through_the_model(llama, tmp_path) -> None:
    good, bad = (7, 30, 44), (9, 12)
    examples, settings = (judged(good, True, "p"), judged(bad, False, "q")), {"learning_rate": 1e-2}
    settings["undesirable_weight"] = 0.1
    run(llama, examples, tmp_path / "one", **settings)
    llama.attach("moved", tmp_path / "one")
    gains = {}
    for key in (("p", good), ("q", bad), ("p", bad), ("q", good)):
        llama.take_role(Role("moved"))
        gains[key] = logprob(llama, *key)
        llama.take_role(Role(None))
        gains[key] -= logprob(llama, *key)
    llama.detach("moved")
    second = run(llama, examples, tmp_path / "two", epochs=2, **settings)[1]
    point = max(0.0, (gains["p", bad] + gains["q", good]) / 2)
    chosen, rejected = 0.1 * gains["p", good], 0.1 * gains["q", bad]
    assert point > 0.1
    by_hand = {
        "kl": point,
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "loss": (1 - sigmoid(chosen - 0.1 * point) + 0.1 * (1 - sigmoid(0.1 * point - rejected))) / 2,
    }
    assert {name: second[name] for name in by_hand} == pytest.approx(by_hand, rel=1e-3, abs=1e-4)


def test_that_what_most_call_good_wins_where_labels_contradict(eight, next_logprobs, tmp_path) -> None:
    """The paper's theorem 4.3: the majority's completion is made likelier, not its share of the votes."""
    votes = [judged((4,), i < 3, f"p{i}") for i in range(5)] + [judged((6,), i < 2, f"q{i}") for i in range(5)]
    base = eight.base_sha256()
    before = next_logprobs(eight, None)
    run(eight, votes, tmp_path / "k", batch_size=10, epochs=15, learning_rate=2e-2, beta=1.0)
    eight.attach("trained", tmp_path / "k")
    gained = (next_logprobs(eight, "trained") - before)[[4, 6]].tolist()
    assert gained[0] > 0
    assert gained[1] < -math.log(3 / 2)  # beyond the odds of its votes
    assert eight.base_sha256() == base


def test_that_a_continued_run_starts_at_its_own_reference(llama, tmp_path) -> None:
    examples = (judged((7, 30, 44, 1), True), judged((9, 10), False))
    losses = [step["loss"] for step in run(llama, examples, tmp_path / "one", learning_rate=1e-2, epochs=6)]
    assert losses[-1] < 0.45
    onward = run(llama, examples, tmp_path / "two", start=tmp_path / "one", learning_rate=1e-2)
    assert onward[0]["loss"] == pytest.approx(0.5, abs=1e-6)
    assert not llama.attached


def test_that_good_ones_alone_or_bad_ones_alone_are_too_little(llama, tmp_path) -> None:
    for desirable in (True, False):
        with pytest.raises(NotEnoughDataError):
            run(llama, [judged((7,), desirable), judged((9,), desirable)], tmp_path / "k")
