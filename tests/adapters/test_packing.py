from __future__ import annotations

import pytest
import torch

from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.records.errors import EmptyCompletionError

PROMPT, SHORT, LONG = [5, 9, 200, 17], [30, 31, 1], [40, 41, 42, 43, 44, 1]


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


def test_that_the_end_token_is_kept_though_it_equals_the_pad_token(resident) -> None:
    packed = pack([(PROMPT, [SHORT, LONG])])
    assert packed.targets[0, 2] == 1 == resident.tokenizer.pad_token_id
    assert packed.mask[0].tolist() == [True] * 3 + [False] * 3
    assert packed.input_ids[0, packed.last].tolist() == [1, 1]


def test_that_an_empty_completion_is_an_error() -> None:
    with pytest.raises(EmptyCompletionError):
        pack([(PROMPT, [[]])])
