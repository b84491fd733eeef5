from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from desktop_rlhf.adapters.packing import alike, completion_logprobs, hidden_states, pack, rows_of
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.records.errors import EmptyCompletionError

PROMPT, SHORT, LONG = [5, 9, 200, 17], [30, 31, 1], [40, 41, 42, 43, 44, 1]
OPENING = [5, 9, 200, 17, 60, 61, 62, 63, 64, 65, 66]


def plain_logprobs(resident: ResidentModel, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """One unpadded sequence through the model as transformers runs it."""
    with torch.no_grad():
        logits = resident.base(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
    return torch.stack([logits[len(prompt) - 1 + i, token] for i, token in enumerate(completion)])


@torch.no_grad()
def packed_logprobs(resident: ResidentModel, groups: list) -> torch.Tensor:
    packed = pack(groups)
    return completion_logprobs(resident, hidden_states(resident, packed), packed)


def test_that_packing_changes_no_logprob(resident) -> None:
    together = packed_logprobs(resident, [(PROMPT, [SHORT, LONG, SHORT])])
    for row, completion in enumerate([SHORT, LONG, SHORT]):
        expected = plain_logprobs(resident, PROMPT, completion)
        assert (together[row, : len(completion)] - expected).abs().max() < 1e-5
        assert (together[row, len(completion) :] == 0).all()


def test_that_padding_changes_no_logprob(resident) -> None:
    alone = packed_logprobs(resident, [(PROMPT, [SHORT])])[0]
    padded = packed_logprobs(resident, [(PROMPT, [SHORT]), (PROMPT * 5, [LONG, LONG])])[0, : len(SHORT)]
    assert (alone - padded).abs().max() < 1e-5


@pytest.mark.parametrize("opening", [[], OPENING])
def test_that_wanted_are_the_completions_tokens_and_the_last_of_each_prompt(opening) -> None:
    groups = [([*opening, 7, 8], [SHORT, LONG]), ([*opening, *PROMPT], [LONG]), ([*opening, 3], [[1]])]
    packed = pack(groups)
    asked = torch.cat([packed.before[packed.mask], packed.last])
    assert packed.wanted.tolist() == sorted(set(asked.tolist()))
    assert len(packed.wanted) == len(SHORT) + 2 * len(LONG) + 1 + len(groups) < packed.computed.sum()


def test_that_an_opening_computed_once_changes_no_logprob(resident) -> None:
    groups = [
        ([*OPENING, 7], [SHORT, LONG]),
        ([*OPENING, 8, 9, 10], [LONG]),
        (OPENING, [SHORT, SHORT, LONG]),
        ([*OPENING, 7], [[1]]),
    ]
    packed = pack(groups)
    assert packed.opening == len(OPENING) - 1  # the third prompt keeps one token of its own
    every = sum(len(prompt) + sum(map(len, completions)) for prompt, completions in groups)
    assert packed.computed.sum() == every - 3 * packed.opening
    together = iter(packed_logprobs(resident, groups))
    for prompt, completions in groups:
        for completion in completions:
            expected = plain_logprobs(resident, prompt, completion)
            assert (next(together)[: len(completion)] - expected).abs().max() < 1e-5


def test_that_prompts_begin_alike_as_far_as_each_has_one_more_token() -> None:
    assert alike([*OPENING, 7, 3], [*OPENING, 8, 3]) == len(OPENING)
    assert alike(OPENING, [*OPENING, 8]) == alike([*OPENING, 8], OPENING) == alike(OPENING, OPENING) == 10
    assert alike(OPENING[:9], OPENING) == 8
    assert alike(OPENING[:8], OPENING) == 0  # seven are not worth it
    assert alike([], OPENING) == alike([4, *OPENING], OPENING) == 0


def test_that_rows_share_what_all_of_them_begin_with_and_on_a_gpu_nothing() -> None:
    prompts = [[*OPENING, 7], [*OPENING, 8], [*OPENING[:9], 9, 9]]
    assert pack([(prompt, [SHORT]) for prompt in prompts]).opening == 9
    assert pack([(prompt, [SHORT]) for prompt in prompts[:2]]).opening == 11
    assert pack([(prompt, [SHORT]) for prompt in (*prompts, PROMPT)]).opening == 0
    assert pack([(prompts[0], [SHORT, LONG])]).opening == 0
    assert pack([(prompt, [SHORT]) for prompt in prompts], "meta").opening == 0


def test_that_every_completion_token_is_predicted_by_the_one_before_it() -> None:
    packed = pack([([*OPENING, 7], [SHORT, LONG]), ([*OPENING, 8], [LONG])])
    ids = packed.input_ids[packed.computed]
    for places, last, prompt, completion in zip(
        packed.before, packed.last, (7, 7, 8), (SHORT, LONG, LONG), strict=True
    ):
        assert ids[places[: len(completion)]].tolist() == [prompt, *completion[:-1]]
        assert ids[last] == completion[-1]
        assert last == places[len(completion) - 1] + 1
    assert all(one < other for one, other in pairwise(packed.last.tolist()))


def test_that_what_many_say_of_one_state_adds_up_to_the_same_bits_every_time() -> None:
    """A prompt's last token predicts the first of each completion; the backward of an index adds in any order."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(400, 576, generator=generator).requires_grad_()
    places, weights = (
        torch.randint(0, 30, (40, 100), generator=generator),
        torch.randn(40, 100, 576, generator=generator),
    )
    assert torch.equal(rows_of(hidden, places), hidden[places])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = [torch.autograd.grad((rows_of(hidden, places) * weights).sum(), hidden)[0] for _ in range(10)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], again) for again in found[1:])


def test_that_the_end_token_is_kept_though_it_equals_the_pad_token(resident) -> None:
    packed = pack([(PROMPT, [SHORT, LONG])])
    assert packed.targets[0, 2] == 1 == resident.tokenizer.pad_token_id
    assert packed.mask[0].tolist() == [True] * 3 + [False] * 3
    assert packed.input_ids[packed.computed][packed.last].tolist() == [1, 1]


def test_that_an_empty_completion_is_an_error() -> None:
    with pytest.raises(EmptyCompletionError):
        pack([(PROMPT, [[]])])
