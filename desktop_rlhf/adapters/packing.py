"""Forwards over prompts with several completions each, the prompt computed once.

The completions of one prompt stand behind it in one row. Position ids restart at the fork and the mask hides siblings
from one another, so each completion sees what it would see alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from desktop_rlhf.adapters.attention import Row, hiding
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.numerics.logprobs import TokenScores
from desktop_rlhf.records.errors import EmptyCompletionError


@dataclass(frozen=True, slots=True)
class Packed:
    """B prompts, each with its completions in its row; N completions in all, the longest of C tokens.

    Attributes:
        input_ids, position_ids: [B, T].
        rows:        [N] the row of each completion.
        before:      [N, C] index in the row of the token before each completion token, which predicts it.
        targets:     [N, C] the completion tokens.
        mask:        [N, C] bool, True = a real completion token.
        last:        [N] index in the row of each completion's last token.
        lengths:     tokens of each row's prompt, and of each of its completions.
    """

    input_ids: Tensor
    position_ids: Tensor
    rows: Tensor
    before: Tensor
    targets: Tensor
    mask: Tensor
    last: Tensor
    lengths: tuple[Row, ...]

    def attention(self, dtype: torch.dtype) -> Tensor:
        """[B, 1, T, T] added to the attention scores: 0 = sees, the lowest number = does not."""
        like = torch.empty(0, dtype=dtype, device=self.input_ids.device)
        return hiding(self.lengths, self.input_ids.shape[1], like, torch.finfo(dtype).min)

    def to(self, device: torch.device | str) -> Packed:
        """The same on a device."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, **moved)


_TENSORS = ("input_ids", "position_ids", "rows", "before", "targets", "mask", "last")


def pack(groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]], device: torch.device | str = "cpu") -> Packed:
    """Pack (prompt ids, completions' ids) groups, one row each, padded on the right.

    It is put together on the CPU, piece by piece, and goes to ``device`` whole.

    Padding is masked by position, never by token, so a pad token that equals the end token does no harm.

    Raises:
        EmptyCompletionError: a prompt or completion has no token.
    """
    width = max(len(p) + sum(map(len, cs)) for p, cs in groups)
    longest = max(len(c) for _, cs in groups for c in cs)
    count = sum(len(cs) for _, cs in groups)
    input_ids = torch.zeros(len(groups), width, dtype=torch.long)
    position_ids = torch.zeros(len(groups), width, dtype=torch.long)
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
        start = size
        for completion in completions:
            length = len(completion)
            if length == 0:
                raise EmptyCompletionError("a completion has no token")
            end = start + length
            ids = torch.tensor(completion)
            input_ids[row, start:end] = ids
            position_ids[row, start:end] = torch.arange(size, size + length)
            rows[n], last[n] = row, end - 1
            before[n, :length] = torch.tensor([size - 1, *range(start, end - 1)])
            targets[n, :length], mask[n, :length] = ids, True
            start, n = end, n + 1
    lengths = tuple((len(prompt), tuple(map(len, completions))) for prompt, completions in groups)
    return Packed(input_ids, position_ids, rows, before, targets, mask, last, lengths).to(device)


def hidden_states(model: ResidentModel, packed: Packed) -> Tensor:
    """[B, T, H] last hidden states under the model's present role, float32."""
    if model.fused is None:
        output = model.trunk(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            attention_mask=packed.attention(model.base.dtype),
            use_cache=False,
        )
        return output.last_hidden_state.float()
    sizes = [prompt + sum(completions) for prompt, completions in packed.lengths]
    real = torch.arange(packed.input_ids.shape[1]) < torch.tensor(sizes).unsqueeze(-1)
    real = real.to(packed.input_ids.device)
    hidden = model.fused(packed.input_ids[real], packed.position_ids[real], packed.lengths, model.role.adapter).float()
    return pad_sequence(hidden.split(sizes), batch_first=True)


def predicting_states(hidden: Tensor, packed: Packed) -> Tensor:
    """[N, C, H] hidden states that predict each completion token."""
    return hidden[packed.rows.unsqueeze(-1), packed.before]


def completion_scores(model: ResidentModel, hidden: Tensor, packed: Packed, temperature: float = 1.0) -> TokenScores:
    """What is said of the M real completion tokens, [M] each; the vocabulary is projected nowhere else."""
    rows = predicting_states(hidden, packed)[packed.mask]
    return model.vocabulary.scores(rows, packed.targets[packed.mask], temperature)


def completion_logprobs(model: ResidentModel, hidden: Tensor, packed: Packed, temperature: float = 1.0) -> Tensor:
    """[N, C] nats of each completion token, 0 at padding."""
    return laid_out(completion_scores(model, hidden, packed, temperature).logprobs, packed)


def laid_out(values: Tensor, packed: Packed) -> Tensor:
    """[N, C] from [M] values of the real completion tokens, 0 at padding."""
    return values.new_zeros(packed.mask.shape).masked_scatter(packed.mask, values)
