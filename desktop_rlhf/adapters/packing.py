"""Forwards over prompts with several completions each, the prompt computed once.

The completions of one prompt stand behind it in one row. Position ids restart at the fork and the mask hides siblings
from one another, so each completion sees what it would see alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.numerics.logprobs import token_logprobs
from desktop_rlhf.records.errors import EmptyCompletionError


@dataclass(frozen=True, slots=True)
class Packed:
    """B prompts, each with its completions in its row; N completions in all, the longest of C tokens.

    Attributes:
        input_ids, position_ids: [B, T].
        attention:   [B, 1, T, T] added to the attention scores: 0 = sees, a large negative number = does not.
        rows:        [N] the row of each completion.
        before:      [N, C] index in the row of the token before each completion token, which predicts it.
        targets:     [N, C] the completion tokens.
        mask:        [N, C] bool, True = a real completion token.
        last:        [N] index in the row of each completion's last token.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention: Tensor
    rows: Tensor
    before: Tensor
    targets: Tensor
    mask: Tensor
    last: Tensor


def pack(groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> Packed:
    """Pack (prompt ids, completions' ids) groups, one row each, padded on the right.

    Padding is masked by position, never by token, so a pad token that equals the end token does no harm.

    Raises:
        EmptyCompletionError: a prompt or completion has no token.
    """
    width = max(len(p) + sum(map(len, cs)) for p, cs in groups)
    longest = max(len(c) for _, cs in groups for c in cs)
    count = sum(len(cs) for _, cs in groups)
    input_ids = torch.zeros(len(groups), width, dtype=torch.long)
    position_ids = torch.zeros(len(groups), width, dtype=torch.long)
    sees = torch.eye(width, dtype=torch.bool).repeat(len(groups), 1, 1)  # padding sees itself: no row of -inf, no NaN
    rows, last = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    before = torch.zeros(count, longest, dtype=torch.long)
    targets = torch.zeros(count, longest, dtype=torch.long)
    mask = torch.zeros(count, longest, dtype=torch.bool)
    n = 0
    for row, (prompt, completions) in enumerate(groups):
        size = len(prompt)
        if size == 0:
            raise EmptyCompletionError("a prompt has no token")
        input_ids[row, :size] = torch.tensor(prompt)
        position_ids[row, :size] = torch.arange(size)
        sees[row, :size, :size] = torch.ones(size, size, dtype=torch.bool).tril()
        start = size
        for completion in completions:
            length = len(completion)
            if length == 0:
                raise EmptyCompletionError("a completion has no token")
            end = start + length
            ids = torch.tensor(completion)
            input_ids[row, start:end] = ids
            position_ids[row, start:end] = torch.arange(size, size + length)
            sees[row, start:end, :size] = True
            sees[row, start:end, start:end] = torch.ones(length, length, dtype=torch.bool).tril()
            rows[n], last[n] = row, end - 1
            before[n, :length] = torch.tensor([size - 1, *range(start, end - 1)])
            targets[n, :length], mask[n, :length] = ids, True
            start, n = end, n + 1
    attention = torch.zeros(len(groups), 1, width, width).masked_fill(
        ~sees.unsqueeze(1), torch.finfo(torch.float32).min
    )
    return Packed(input_ids, position_ids, attention, rows, before, targets, mask, last)


def hidden_states(model: ResidentModel, packed: Packed) -> Tensor:
    """[B, T, H] last hidden states under the model's present role."""
    dtype = model.base.dtype
    output = model.trunk(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        attention_mask=packed.attention.to(dtype).clamp(min=torch.finfo(dtype).min),
        use_cache=False,
    )
    return output.last_hidden_state


def predicting_states(hidden: Tensor, packed: Packed) -> Tensor:
    """[N, C, H] hidden states that predict each completion token."""
    return hidden[packed.rows.unsqueeze(-1), packed.before]


def completion_logits(model: ResidentModel, hidden: Tensor, packed: Packed) -> Tensor:
    """[M, V] logits at the M real completion tokens only; the vocabulary is projected nowhere else."""
    logits = model.base.get_output_embeddings()(predicting_states(hidden, packed)[packed.mask])
    cap = getattr(model.base.config.get_text_config(), "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits


def completion_logprobs(model: ResidentModel, hidden: Tensor, packed: Packed, temperature: float = 1.0) -> Tensor:
    """[N, C] nats of each completion token, 0 at padding."""
    kept = token_logprobs(completion_logits(model, hidden, packed), packed.targets[packed.mask], temperature)
    return torch.zeros(packed.mask.shape, dtype=kept.dtype).masked_scatter(packed.mask, kept)
