from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from desktop_rlhf.adapters import batches
from desktop_rlhf.adapters.batches import (
    References,
    group_batches,
    logprobs_under,
    micro_batches,
    tokens_at_once,
    tokens_on_a_card,
)
from desktop_rlhf.adapters.packing import pack
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.dpo.train import train as train_dpo
from desktop_rlhf.policy.kto.spec import KtoSpec
from desktop_rlhf.policy.kto.train import train as train_kto
from desktop_rlhf.policy.orpo.spec import OrpoSpec
from desktop_rlhf.policy.orpo.train import train as train_orpo
from desktop_rlhf.policy.sft.spec import SftSpec
from desktop_rlhf.policy.sft.train import train as train_sft
from desktop_rlhf.policy.simpo.spec import SimpoSpec
from desktop_rlhf.policy.simpo.train import train as train_simpo
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.reward.train import train as train_reward
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.stop import StopToken

TRAINERS = [
    (train_dpo, DpoSpec(batch_size=8, label_smoothing=0.1, rpo_alpha=0.5)),
    (train_dpo, DpoSpec(batch_size=8, loss_type="aot")),
    (train_kto, KtoSpec(batch_size=8)),
    (train_orpo, OrpoSpec(batch_size=8)),
    (train_simpo, SimpoSpec(batch_size=8)),
    (train_sft, SftSpec(batch_size=8)),
    (train_reward, RewardSpec(batch_size=8, margin_from_strength=True)),
]


def spoken(number: int, *ids: int) -> Completion:
    return Completion(f"{number}-{ids}", "p", "g", None, str(ids), ids, ended=False, sampler=Sampler(), seed=0)


@pytest.fixture
def groups() -> tuple[PreferenceGroup, ...]:
    """Twelve comparisons of two and of three completions, of many lengths and several strengths."""
    made = []
    for number in range(12):
        prompt = Prompt(f"p{number}", (Message("user", "why " * (1 + number % 4) + str(number)),))
        completions = [spoken(number, *range(20 + place, 23 + 2 * place + number % 5), 1) for place in range(3)]
        pairs = ((0, 1), (0, 2), (2, 1)) if number % 3 == 0 else ((1, 0),)
        kept = completions if number % 3 == 0 else completions[:2]
        made.append(PreferenceGroup(f"c{number}", prompt, tuple(kept), pairs, strength=number % 5 or None))
    return tuple(made)


FUSED, PLAIN = (
    SimpleNamespace(fused=fused, packs=True, device=torch.device(device))
    for fused, device in ((object(), "cpu"), (None, "cpu"))
)
CARD = SimpleNamespace(fused=object(), packs=True, device=torch.device("cuda"))


def test_that_neighbours_share_a_forward_as_evenly_as_the_fewest_forwards_allow() -> None:
    def sizes(*tokens: int, most: int) -> list[list[int]]:
        examples = [([5] * (size - 1), [[7]]) for size in tokens]
        places = micro_batches(PLAIN, examples, most)
        assert [place for some in places for place in some] == list(range(len(tokens)))
        return [[tokens[place] for place in some] for some in places]

    assert sizes(4, 6, 1, 12, 3, 3, 3, 3, most=10) == [[4], [6, 1], [12], [3, 3], [3, 3]]
    assert sizes(4, 6, 1, 12, most=4) == [[4], [6], [1], [12]]
    assert sizes(*[2] * 6, most=10) == [[2, 2, 2], [2, 2, 2]]  # and not five and one
    assert sizes(3, 3, most=100) == [[3, 3]]
    assert sizes(most=100) == []


def test_that_an_opening_counts_once_where_the_forward_reads_it_once() -> None:
    examples = [([5] * 20 + [number], [[7] * 9]) for number in range(6)]
    # Twenty and three times ten, and of the twenty one more for each further row, which sees them.
    assert [len(places) for places in micro_batches(FUSED, examples, 52)] == [3, 3]
    assert [len(places) for places in micro_batches(FUSED, examples, 51)] == [2, 2, 2]
    for model in (PLAIN, CARD):
        assert [len(places) for places in micro_batches(model, examples, 50)] == [1] * 6
        assert [len(places) for places in micro_batches(model, examples, 60)] == [2] * 3


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2), st.integers(1, 30)), min_size=1, max_size=9),
    st.integers(1, 90),
    st.sampled_from([FUSED, PLAIN]),
)
def test_that_no_other_cut_has_fewer_forwards_or_a_smaller_largest_one(drawn, most, model) -> None:
    """Against every way of cutting the row, by the tokens that the forward computes."""
    examples = [([5] * alike + [20 + last], [[7] * written]) for alike, last, written in drawn]

    def tokens(part: Sequence[tuple]) -> int:
        packed = pack(part)
        every = sum(len(prompt) + len(written) for prompt, (written,) in part)
        seen = (len(part) - 1) * (packed.opening // batches.SEEN)
        return int(packed.computed.sum()) + seen if model is FUSED else every

    def cost(cuts: tuple[int, ...]) -> tuple[int, int]:
        parts = [examples[start:end] for start, end in pairwise((0, *cuts, len(examples)))]
        sizes = [counted[id(part[0]), len(part)] for part in parts]
        allowed = all(len(part) == 1 or size <= most for part, size in zip(parts, sizes, strict=True))
        return (len(parts) if allowed else len(examples) + 1, max(sizes))

    inner = range(1, len(examples))
    counted = {
        (id(examples[start]), end - start): tokens(examples[start:end])
        for start, end in combinations(range(len(examples) + 1), 2)
    }
    best = min(cost(cuts) for count in range(len(examples)) for cuts in combinations(inner, count))
    found = micro_batches(model, examples, most)
    assert cost(tuple(places.start for places in found[1:])) == best


def a_model(dtype: torch.dtype, layers: int = 30, hidden: int = 576, parameters: int = 135_000_000) -> Any:
    config = SimpleNamespace(num_hidden_layers=layers, hidden_size=hidden)
    config.get_text_config = lambda: config
    return SimpleNamespace(
        base=SimpleNamespace(dtype=dtype, config=config), device=torch.device("cpu"), parameters=parameters
    )


def test_that_more_tokens_share_a_forward_in_bfloat16(llama) -> None:
    short = a_model(torch.bfloat16)
    assert tokens_at_once(short, 4096) == 3 * tokens_at_once(llama, 4096) == 3 * batches.MOST_TOKENS
    assert tokens_at_once(short, 100) == 3 * tokens_at_once(llama, 100) == 300
    assert tokens_at_once(short, 100, 30) == 3 * tokens_at_once(llama, 100, 30) == 90


def test_that_as_many_tokens_share_a_forward_on_a_card_as_it_has_room_for_beside_the_model() -> None:
    small, large = a_model(torch.bfloat16), a_model(torch.bfloat16, 32, 4096, 7_000_000_000)
    # A token of the large one takes 16 * 32 * 4096 numbers of 2 bytes; half of what 14 GB of weights leave is for them.
    assert tokens_on_a_card(large, 24 * 10**9) == 10**10 // 2 // (16 * 32 * 4096 * 2) == 1192
    assert tokens_on_a_card(small, 12 * 10**9) == batches.ON_CUDA
    wide = a_model(torch.float32)
    assert tokens_on_a_card(wide, 4 * 10**9) < tokens_on_a_card(small, 4 * 10**9) / 2 < batches.ON_CUDA / 2
    assert tokens_on_a_card(large, 12 * 10**9) == 1  # it does not fit at all; whoever loads it says so


@pytest.mark.parametrize(("train", "spec"), TRAINERS)
@pytest.mark.parametrize("most", [1, 100])
def test_that_what_shares_a_forward_changes_neither_losses_nor_gradients(
    fresh_llama, groups, tmp_path, monkeypatch, train, spec, most
) -> None:
    judged = tuple(
        JudgedCompletion(group.comparison_id, group.prompt, completion, desirable=place == group.pairs[0][0])
        for group in groups
        for place, completion in enumerate(group.completions)
    )

    def curves(name: str) -> list[dict[str, float]]:
        inputs = TrainingInputs(fresh_llama(), None, groups, (), None, tmp_path / name, judged)
        return [dict(e.metrics) for e in train(spec, inputs, StopToken()) if isinstance(e, StepTaken)]

    together = curves("together")
    monkeypatch.setattr(batches, "MOST_TOKENS", most)
    apart = curves("apart")
    assert len(apart) == len(together) > 0
    for one, other in zip(apart, together, strict=True):
        if "rewards/accuracies" in other and abs(other["rewards/margins"]) < 1e-6:
            # The adapter is new: rounding is what has a sign.
            one["rewards/accuracies"] = other["rewards/accuracies"]
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


def test_that_every_comparison_counts_alike_however_many_pairs_it_has(llama, groups) -> None:
    ((_, batch),) = group_batches(llama, groups[:3], max_length=512)  # of three pairs, of one and of one
    values = torch.tensor([3.0, 6.0, 9.0, 10.0, 20.0])
    assert batch.total(values).item() == pytest.approx(6 + 10 + 20)
    chosen, rejected = batch.paired(torch.arange(7.0))
    assert chosen.tolist() == [0, 0, 2, 4, 6]
    assert rejected.tolist() == [1, 2, 1, 3, 5]
    assert batch.by_pair([1.0, 2.0, 3.0]).tolist() == [1, 1, 1, 2, 3]


def test_that_references_are_the_same_bits_in_whatever_order_they_are_asked_for(llama, monkeypatch) -> None:
    monkeypatch.setattr(batches, "MOST_TOKENS", 40)
    generator = torch.Generator().manual_seed(0)
    examples = [
        (torch.randint(2, 258, (3 + n,), generator=generator).tolist(), [[9] * (1 + n % 4), [8, 1]]) for n in range(9)
    ]
    examples = [(prompt if n < 3 else [*range(60, 69), *prompt], ends) for n, (prompt, ends) in enumerate(examples)]
    orders = [[4, 1, 8], [1, 4], [8, 0, 4, 1, 2]]
    found = []
    for order in orders:
        references = References(llama, None, examples, 1024)
        assert all(step is None for step in references.compute(order))
        found.append({number: references.of([number]) for number in order})
    for number in (1, 4):
        assert torch.equal(found[0][number], found[1][number])
        assert torch.equal(found[0][number], found[2][number])
    plain = logprobs_under(llama, None, pack([examples[4]]))
    assert (found[0][4] - plain).abs().max() < 1e-5
