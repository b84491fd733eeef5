"""Attention over packed rows: every completion sees its prompt and itself, and none of its siblings.

A prompt and its first completion are one piece, in which each token sees those before it. Every further completion is
one of its own, which sees the prompt and itself. Tokens with which all prompts begin, the opening, stand in the first
row only, and the others see them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from desktop_rlhf.adapters.precision import TILE, rounded_up

Row: TypeAlias = tuple[int, tuple[int, ...]]
"""Tokens of a prompt, and tokens of each completion behind it."""

BLOCK = 256
"""Queries at a time: keys that none of them sees are left out."""
BATCH_COST = 20_000
"""What a batch of pieces costs beside its scores, as so many of them: the calls that it takes."""


class Attention(Protocol):
    """What the tokens of some rows see; made once for all layers."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Pieces of [L, heads, D], N tokens together, of [N, heads, D] and twice [N, key heads, D]."""


def attention_over(rows: Sequence[Row], like: Tensor, learns: bool = True, opening: int = 0) -> Attention:
    """The fastest way for the device and format of ``like``, and for whether there may be a backward.

    The first ``opening`` tokens of the first row's prompt are those of the others' too, where they do not stand; on a
    GPU there are none.

    On a processor the library's backward is for float32: in bfloat16, which has a unit for products, plain products
    take less than half of its time. On a GPU a call for each piece takes longer than what it computes.
    """
    if like.device.type != "cpu":
        return RowAttention(rows, like)
    pieces = TiledAttention if learns and like.dtype == torch.bfloat16 else PieceAttention
    return pieces(rows, like, opening)


def hiding(rows: Sequence[Row], width: int, like: Tensor, hidden: float = -torch.inf) -> Tensor:
    """[B, 1, T, T] added to the scores: 0 where a token of a row sees another, ``hidden`` where it does not.

    Padding behind a row is seen by padding alone, and sees the prompt, so that no token sees nothing.
    """
    numbers = []  # 0 is the prompt, further on a completion each, and -1 padding
    for prompt, lengths in rows:
        own = [number for number, length in enumerate((prompt, *lengths)) for _ in range(length)]
        numbers.append(own + [-1] * (width - len(own)))
    parts = torch.tensor(numbers).to(like.device)
    of_prompt, alike = parts.unsqueeze(1) == 0, parts.unsqueeze(1) == parts.unsqueeze(2)
    seen = (of_prompt | alike) & torch.ones(width, width, dtype=torch.bool, device=like.device).tril()
    mask = torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill_(~seen, hidden)
    return mask.unsqueeze(1)


class RowAttention:
    """A call of the library's kernel for all rows of like lengths, side by side and padded to the longest of them.

    Like are those between two powers of two, so that padding is never more than the tokens.
    """

    def __init__(self, rows: Sequence[Row], like: Tensor) -> None:
        sizes = [prompt + sum(lengths) for prompt, lengths in rows]
        alike: dict[int, list[int]] = {}
        for number, size in enumerate(sizes):
            alike.setdefault((rounded_up(size, TILE) - 1).bit_length(), []).append(number)
        self._batches: list[tuple[int, int, Tensor | None]] = []
        places, laid_out = [torch.empty(0)] * len(rows), 0
        for numbers in alike.values():
            width = rounded_up(max(sizes[number] for number in numbers), TILE)
            for number in numbers:
                places[number] = torch.arange(laid_out, laid_out + sizes[number])
                laid_out += width
            own = [rows[number] for number in numbers]
            # Behind one completion lies only padding: what comes later is hidden, and that is all.
            forked = any(len(lengths) > 1 for _, lengths in own)
            self._batches.append((len(own), width, hiding(own, width, like) if forked else None))
        self._places = torch.cat(places).to(like.device)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        sizes = [count * width for count, width, _ in self._batches]
        parts = zip(*(self._laid_out(t, sum(sizes)).split(sizes) for t in (query, key, value)), strict=True)
        made = []
        for (count, width, mask), part in zip(self._batches, parts, strict=True):
            q, k, v = (t.unflatten(0, (count, width)).transpose(1, 2) for t in part)
            # No kernel takes heads that share keys together with a mask.
            k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for t in (k, v))
            seen = scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
            made.append(seen.transpose(1, 2).flatten(0, 1))
        return torch.cat(made).index_select(0, self._places), torch.zeros_like(query[len(self._places) :])

    def _laid_out(self, tokens: Tensor, size: int) -> Tensor:
        """[N, heads, D] to [size, heads, D], padding between them."""
        laid_out = tokens.new_zeros(size, *tokens.shape[1:])
        laid_out[self._places] = tokens[: len(self._places)]
        return laid_out


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """[heads, L, D] of queries [heads, L, D] and keys and values [key heads, T, D], which groups of heads share."""
    return scaled_dot_product_attention(q[None], k[None], v[None], mask, is_causal=causal, enable_gqa=True).squeeze(0)


class PieceAttention:
    """The library's kernel for one piece after another, as a processor's takes them."""

    def __init__(self, rows: Sequence[Row], like: Tensor, opening: int = 0) -> None:
        self._rows = rows
        self._opening = opening
        pieces = _pieces(rows, opening)
        self._sizes = [len(own) for own, _ in pieces]
        self._masks = [_piece_mask(len(before), len(own)).to(like) if before else None for own, before in pieces]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        sizes = [*self._sizes, query.shape[1] - sum(self._sizes)]
        # Split and not sliced: the backward of a slice fills a whole tensor with zeros around it.
        parts = zip(*(t.split(sizes, dim=1) for t in (query, key, value)), strict=True)
        seen, masks = [], iter(self._masks)

        def see(before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            """What the next piece sees, and its keys and values behind those ``before`` it."""
            (q, *own), mask = next(parts), next(masks)
            k, v = (torch.cat(pair, dim=1) for pair in zip(before, own, strict=True)) if before else own
            seen.append(attention(q, k, v, mask, causal=mask is None).transpose(0, 1))
            return k, v

        opening: tuple[Tensor, ...] = ()
        for prompt, lengths in self._rows:
            row = see(opening)
            if self._opening and not opening:
                opening = _first(self._opening, row)
            before = _first(prompt, row) if lengths[1:] else ()
            for _ in lengths[1:]:
                see(before)
        return *seen, torch.zeros_like(next(parts)[0]).transpose(0, 1)


def _first(count: int, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The first tokens of keys and values, [key heads, T, D]."""
    return tuple(part.split([count, part.shape[1] - count], dim=1)[0] for part in parts)


def _piece_mask(before: int, length: int) -> Tensor:
    """[L, B + L] added to the scores: a token sees all that lies before its piece, and the piece up to itself."""
    added = torch.zeros(length, before + length)
    added[:, before:] = torch.full((length, length), -torch.inf).triu(1)
    return added


class TiledAttention:
    """Plain products for all pieces of a like size at once, padded to whole tiles."""

    def __init__(self, rows: Sequence[Row], like: Tensor, opening: int = 0) -> None:
        self._batches = [_Batch.of(*batch, like) for batch in _together(_pieces(rows, opening))]
        self._places: _Places | None = None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        if self._places is None:  # the same in all layers
            self._places = _Places.of(self._batches, query, key)
        made: Tensor = _Tiled.apply(query, key, value, self._batches, self._places)
        return (made,)


class _Piece(NamedTuple):
    """Tokens of a forward, and those before them that they all see."""

    own: range
    before: Sequence[int]


def _pieces(rows: Sequence[Row], opening: int = 0) -> list[_Piece]:
    found, start = [], 0
    for number, (prompt, lengths) in enumerate(rows):
        shared = range(opening if number else 0)
        behind = start + prompt - len(shared)
        end = behind + sum(lengths[:1])
        found.append(_Piece(range(start, end), shared))
        for length in lengths[1:]:
            found.append(_Piece(range(end, end + length), [*shared, *range(start, behind)]))
            end += length
        start = end
    return found


def _together(pieces: Sequence[_Piece]) -> list[tuple[list[_Piece], int, int]]:
    """The pieces in batches, each with the queries and keys that all of its pieces are padded to.

    Those of one size are together, and those of like size as long as that saves more than padding costs.
    """
    alike: dict[tuple[int, int], list[_Piece]] = {}
    for piece in pieces:
        own = len(piece.own)
        sides = (rounded_up(own, TILE), rounded_up(len(piece.before) + own, TILE))
        alike.setdefault(sides, []).append(piece)
    batches = [(own, *sides) for sides, own in alike.items()]
    while True:
        pairs = [(*_joined(one, other), i, j) for i, one in enumerate(batches) for j, other in enumerate(batches[:i])]
        saved, joined, i, j = max(pairs, key=lambda pair: pair[0], default=(0, ([], 0, 0), 0, 0))
        if saved <= 0:
            return batches
        batches[j] = joined
        del batches[i]


def _joined(
    one: tuple[list[_Piece], int, int], other: tuple[list[_Piece], int, int]
) -> tuple[int, tuple[list[_Piece], int, int]]:
    """How many scores' worth is saved when two batches are one, and that one."""
    joined = one[0] + other[0], max(one[1], other[1]), max(one[2], other[2])
    apart, together = (
        sum(len(own) * size * width + BATCH_COST for own, size, width in batches)
        for batches in ((one, other), (joined,))
    )
    return apart - together, joined


@dataclass(frozen=True, slots=True)
class _Batch:
    """R pieces, their queries padded to L and their keys to T.

    A query sees the keys before its piece and those of it up to itself. So padded keys, which come last, are seen by
    padded queries alone, whose results are dropped and whose gradients are 0.

    Attributes:
        queries: [R, L] tokens of the forward; -1 at padding.
        keys:    [R, T] tokens of the forward; some token of the piece at padding.
        mask:    [R, 1, 1, L, T] to which the scores are added.
        before:  how many keys lie before a piece, at most.
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor
    before: int

    @classmethod
    def of(cls, pieces: Sequence[_Piece], size: int, width: int, like: Tensor) -> _Batch:
        queries = torch.full((len(pieces), size), -1)
        keys = torch.tensor([piece.own.start for piece in pieces]).unsqueeze(1).repeat(1, width)
        for r, (own, before) in enumerate(pieces):
            queries[r, : len(own)] = torch.arange(own.start, own.stop)
            keys[r, : len(before) + len(own)] = torch.tensor([*before, *own])
        befores = [len(piece.before) for piece in pieces]
        last = torch.tensor(befores)[:, None] + torch.arange(size)
        unseen = torch.arange(width) > last[:, None, None, :, None]
        mask = torch.zeros(unseen.shape).masked_fill_(unseen, -torch.inf).to(like)
        return cls(queries, keys, mask, max(befores))

    def blocks(self) -> list[tuple[int, int, int]]:
        """From and to which query, and up to which key any of them sees."""
        (_, size), (_, width) = self.queries.shape, self.keys.shape
        found = []
        for start in range(0, size, BLOCK):
            end = min(start + BLOCK, size)
            found.append((start, end, min(rounded_up(self.before + end, TILE), width)))
        return found


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the D numbers of every token and head are taken from for the batches, and from there again.

    Attributes:
        queries: of each batch [R, key heads, heads that share, L] rows of [N * heads, D]; any at padding.
        grads:   the same of the queries' gradients, which have a row of zeros behind them for padding.
        keys:    of each batch [R, key heads, T] rows of [N * key heads, D].
        back:    [N * heads] rows of all batches' queries one behind another, which have a row of zeros behind them for
            tokens that stand in none.
    """

    queries: list[Tensor]
    grads: list[Tensor]
    keys: list[Tensor]
    back: Tensor

    @classmethod
    def of(cls, batches: Sequence[_Batch], query: Tensor, key: Tensor) -> _Places:
        (count, heads), key_heads = query.shape[:2], key.shape[1]
        shared = heads // key_heads
        head = torch.arange(heads).view(key_heads, shared, 1)
        key_head = torch.arange(key_heads).view(key_heads, 1)
        tokens = [batch.queries[:, None, None] for batch in batches]
        queries = [own.clamp(min=0) * heads + head for own in tokens]
        grads = [torch.where(own < 0, count * heads, rows) for own, rows in zip(tokens, queries, strict=True)]
        together = torch.cat([rows.flatten() for rows in grads])
        back = torch.full((count * heads + 1,), len(together)).scatter_(0, together, torch.arange(len(together)))
        keys = [batch.keys.unsqueeze(1) * key_heads + key_head for batch in batches]
        return cls(queries, grads, keys, back[:-1])


class _Tiled(torch.autograd.Function):
    """Attention as products and a softmax; the probabilities are kept for the backward.

    Source: Vaswani et al. (2017); heads that share keys as in Ainslie et al., "GQA" (2023).
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, batches: Sequence[_Batch], places: _Places
    ) -> Tensor:
        scale = query.shape[-1] ** -0.5
        made, kept = [], []
        for batch, of_queries, of_keys in zip(batches, places.queries, places.keys, strict=True):
            q, k, v = _taken(query, of_queries), _taken(key, of_keys), _taken(value, of_keys)
            seen_by = torch.empty_like(q)
            for start, end, seen in batch.blocks():
                own = q[:, :, start:end].flatten(1, 2)
                scores = own.new_empty(*own.shape[:2], seen)
                scores.view(len(batch.mask), -1, q.shape[1], end - start, seen).copy_(batch.mask[..., start:end, :seen])
                scores.baddbmm_(own, k[:, :seen].mT, alpha=scale)
                kept.append(scores.softmax(-1))
                _fill(seen_by, start, end, torch.bmm(kept[-1], v[:, :seen]))
            made.append(seen_by)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.batches, ctx.places = batches, places
        return _put_back(made, places, query)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        places: _Places = ctx.places
        scale = query.shape[-1] ** -0.5
        padded = pad(gradient, (0, 0, 0, 0, 0, 1))
        to_queries = []
        to_key, to_value = (t.new_zeros(t.shape, dtype=torch.float32) for t in (key, value))
        probabilities = iter(kept)
        for batch, of_queries, of_grads, of_keys in zip(
            ctx.batches, places.queries, places.grads, places.keys, strict=True
        ):
            q, k, v = _taken(query, of_queries), _taken(key, of_keys), _taken(value, of_keys)
            g = _taken(padded, of_grads)
            to_q = torch.empty_like(q)
            to_k, to_v = (t.new_empty(0, dtype=torch.float32) for t in (k, v))
            blocks = [(*block, next(probabilities)) for block in batch.blocks()]
            for start, end, seen, p in reversed(blocks):
                own = q[:, :, start:end].flatten(1, 2)
                of_own = g[:, :, start:end].flatten(1, 2)
                part_v = torch.bmm(p.mT, of_own)
                to_p = torch.bmm(of_own, v[:, :seen].mT)
                to_scores = torch._softmax_backward_data(to_p, p, -1, p.dtype)
                _fill(to_q, start, end, torch.baddbmm(_nothing(p), to_scores, k[:, :seen], beta=0, alpha=scale))
                part_k = torch.baddbmm(_nothing(p), to_scores.mT, own, beta=0, alpha=scale)
                if end == q.shape[2]:  # the last queries, which come first here, see all keys
                    to_k, to_v = part_k.float(), part_v.float()
                else:
                    to_k[:, :seen] += part_k
                    to_v[:, :seen] += part_v
            to_queries.append(to_q)
            for to_tokens, part in ((to_key, to_k), (to_value, to_v)):
                to_tokens.view(-1, part.shape[-1]).index_add_(0, of_keys.flatten(), part.flatten(0, 1))
        to_query = _put_back(to_queries, places, query)
        return to_query, to_key.to(key.dtype), to_value.to(value.dtype), None, None


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """[R * key heads, ..., D] of [N, heads, D] at [R, key heads, ...] places of tokens and heads."""
    return x.flatten(0, 1).index_select(0, places.flatten()).view(-1, *places.shape[2:], x.shape[-1])


def _fill(whole: Tensor, start: int, end: int, part: Tensor) -> None:
    """Let some queries of [R * key heads, heads that share, L, D] have their part, [R * key heads, shared * l, D]."""
    own = whole[:, :, start:end]
    own.copy_(part.view_as(own))


def _put_back(made: Sequence[Tensor], places: _Places, like: Tensor) -> Tensor:
    """[N, heads, D] of what every batch made, as it was taken."""
    rows = [part.view(-1, like.shape[-1]) for part in made]
    return torch.cat([*rows, like.new_zeros(1, like.shape[-1])]).index_select(0, places.back).view_as(like)


def _nothing(like: Tensor) -> Tensor:
    """What a product is added to, and counts 0 times."""
    return like.new_empty(1)
