"""Forwards over prompts with several completions each, the prompt computed once.

The completions of one prompt stand behind it in one row. Position ids restart at the fork and the mask hides siblings
from one another, so each completion sees what it would see alone. Where all prompts begin alike, as with what a chat
template says first, that opening is computed once for all rows too. ``plain`` knows which models this is not for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from desktop_rlhf.adapters.attention import Row
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.numerics.logprobs import TokenScores
from desktop_rlhf.records.errors import EmptyCompletionError


@dataclass(frozen=True, slots=True)
class Packed:
    """B prompts, each with its completions in its row; N completions in all, the longest of C tokens.

    Attributes:
        input_ids, position_ids: [B, T].
        computed:    [B, T] bool, the S tokens of which there are hidden states, one row behind another: all but padding
                     and, in every row but the first, the opening.
        before:      [N, C] which of the S is before each completion token and predicts it.
        targets:     [N, C] the completion tokens.
        mask:        [N, C] bool, True = a real completion token.
        last:        [N] which of the S is each completion's last token.
        wanted:      [W] which of the S are a completion's tokens or a prompt's last one: of the others nobody asks for
                     the hidden states.
        lengths:     tokens of each row's prompt, and of each of its completions.
        opening:     tokens with which every prompt begins and whose states stand in the first row alone. Only the
                     fused forward is spared the others.
    """

    input_ids: Tensor
    position_ids: Tensor
    computed: Tensor
    before: Tensor
    targets: Tensor
    mask: Tensor
    last: Tensor
    wanted: Tensor
    lengths: tuple[Row, ...]
    opening: int

    def to(self, device: torch.device | str) -> Packed:
        """The same on a device."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, **moved)


_TENSORS = ("input_ids", "position_ids", "computed", "before", "targets", "mask", "last", "wanted")

SHORTEST_OPENING = 8
"""Tokens; with fewer each row reads its own."""


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """With how many tokens two prompts begin alike and go on with at least one; 0 where that is not worth it."""
    pairs = zip(one[:-1], other[:-1], strict=False)
    count = next((place for place, (own, its) in enumerate(pairs) if own != its), min(len(one), len(other)) - 1)
    return count if count >= SHORTEST_OPENING else 0


def computes_once(device: torch.device) -> bool:
    """Whether an opening may be computed once on a device. On a GPU rows lie side by side, each with its own."""
    return device.type == "cpu"


def opening_of(prompts: Sequence[Sequence[int]], device: torch.device) -> int:
    """With how many tokens all prompts begin that are computed once on a device."""
    return min(map(alike, prompts, prompts[1:]), default=0) if computes_once(device) else 0


def shares_openings(model: ResidentModel) -> bool:
    """Whether a forward of the model computes an opening once."""
    return model.fused is not None and computes_once(model.device)


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
    computed = torch.zeros(len(groups), width, dtype=torch.bool)
    last = torch.zeros(count, dtype=torch.long)
    before = torch.zeros(count, longest, dtype=torch.long)
    targets = torch.zeros(count, longest, dtype=torch.long)
    mask = torch.zeros(count, longest, dtype=torch.bool)
    wanted = []
    opening = opening_of([prompt for prompt, _ in groups], torch.device(device))
    n, done = 0, 0  # of the completions, and of the tokens that are computed
    for row, (prompt, completions) in enumerate(groups):
        size = len(prompt)
        ahead = done - (opening if row else 0)  # of the row's first token, were all of the row computed
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
            last[n] = ahead + end - 1
            before[n, :length] = ahead + torch.tensor([size - 1, *range(start, end - 1)])
            targets[n, :length], mask[n, :length] = ids, True
            start, n = end, n + 1
        computed[row, opening if row else 0 : start] = True
        wanted.append(torch.arange(ahead + size - 1, ahead + start))
        done = ahead + start
    lengths = tuple((len(prompt), tuple(map(len, completions))) for prompt, completions in groups)
    tensors = (input_ids, position_ids, computed, before, targets, mask, last, torch.cat(wanted))
    return Packed(*tensors, lengths, opening).to(device)


def hidden_states(model: ResidentModel, packed: Packed, sparing: bool = False, wanted: Tensor | None = None) -> Tensor:
    """[S, H] last hidden states of the computed tokens under the model's present role, float32; those that are not
    wanted may be 0.

    Args:
        sparing: let the backward take less memory and more time, where the model has a fused forward; see there.
        wanted:  [W] which of the S are wanted, ascending; by default those of ``packed``.
    """
    computed = packed.computed
    if model.fused is None:
        return model.plain(packed.input_ids, packed.position_ids, packed.lengths)[computed].float()
    ids, positions = packed.input_ids[computed], packed.position_ids[computed]
    wanted = packed.wanted if wanted is None else wanted
    made = model.fused(ids, positions, packed.lengths, model.role.adapter, packed.opening, wanted, sparing)
    return made.float()


def rows_of(hidden: Tensor, places: Tensor) -> Tensor:
    """[..., H] of [S, H] states at [...] places.

    Its backward adds one after another. That of an index adds in several threads at once, in an order of chance: where
    several completions add to their prompt's last token, the last bit of its gradient would change from run to run.
    """
    return hidden.index_select(0, places.flatten()).view(*places.shape, -1)


def predicting_states(hidden: Tensor, packed: Packed) -> Tensor:
    """[N, C, H] hidden states that predict each completion token."""
    return rows_of(hidden, packed.before)


def completion_scores(model: ResidentModel, hidden: Tensor, packed: Packed, temperature: float = 1.0) -> TokenScores:
    """What is said of the M real completion tokens, [M] each; the vocabulary is projected nowhere else."""
    rows = rows_of(hidden, packed.before[packed.mask])
    return model.vocabulary.scores(rows, packed.targets[packed.mask], temperature)


def completion_logprobs(model: ResidentModel, hidden: Tensor, packed: Packed, temperature: float = 1.0) -> Tensor:
    """[N, C] nats of each completion token, 0 at padding."""
    return laid_out(completion_scores(model, hidden, packed, temperature).logprobs, packed)


def laid_out(values: Tensor, packed: Packed) -> Tensor:
    """[N, C] from [M] values of the real completion tokens, 0 at padding."""
    return values.new_zeros(packed.mask.shape).masked_scatter(packed.mask, values)
