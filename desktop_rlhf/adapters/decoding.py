"""Decoders: they read prompts and then take one token a row at a time, for many rows at once.

A row is one completion. The fused decoder reads each prompt once however many completions it gets, without padding and
without what other prompts begin with too, and keeps what was read in memory that is laid out once. It is there where
the fused forward is; elsewhere the model's own forward decodes, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad, rms_norm, scaled_dot_product_attention, silu

from desktop_rlhf.adapters.attention import attention_over
from desktop_rlhf.adapters.fused import FusedTrunk, Layer, rotated
from desktop_rlhf.adapters.libraries import DynamicCache
from desktop_rlhf.adapters.packing import opening_of
from desktop_rlhf.adapters.precision import rounded_up, tiled
from desktop_rlhf.adapters.recording import Recordings
from desktop_rlhf.adapters.resident import ResidentModel, Role

ROWS_TOGETHER = 8
"""Rows of a step are rounded up to it on CUDA, which costs less than recordings for each number of them."""
WIDTH = 64
"""Earlier tokens that a step on CUDA looks back at are rounded up to it."""


class Decoder(Protocol):
    """Rows that are being written; new ones stand behind the others."""

    @property
    def room(self) -> int:
        """How many rows may be admitted now."""

    def admit(self, prompts: Sequence[Sequence[int]], copies: int) -> Tensor:
        """Read prompts and add ``copies`` rows of each; [rows, H] the states that predict their first tokens."""

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Leave all rows but these, which ascend; gives them in the order in which they stand from now on."""

    def step(self, token_ids: Tensor) -> Tensor:
        """[R] one more token of every row, to [R, H] the states that predict the next."""


def decoder(model: ResidentModel, adapter: str | None, rows: int, longest: int) -> Decoder:
    """A decoder for up to ``rows`` rows of at most ``longest`` tokens, prompt and completion together.

    The plain one speaks under the model's role at each call; the fused one under ``adapter``, whatever the role.
    """
    if model.fused is None:
        model.take_role(Role(adapter))
        return PlainDecoder(model, rows)
    return FusedDecoder(model.fused, adapter, rows, longest, recordings_on(model.device))


def recordings_on(device: torch.device) -> Recordings | None:
    """What plays decoding steps back, where a device can."""
    return Recordings() if device.type == "cuda" else None


class PlainDecoder:
    """The model's own forward over a batch that is padded on the left; it takes new rows only when it has none."""

    def __init__(self, model: ResidentModel, rows: int) -> None:
        self._model = model
        self._most = rows
        self._rows = 0

    @property
    def room(self) -> int:
        return 0 if self._rows else self._most

    @torch.no_grad()
    def admit(self, prompts: Sequence[Sequence[int]], copies: int) -> Tensor:
        width = max(map(len, prompts))
        mask = torch.zeros(len(prompts), width, dtype=torch.long)
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        device = self._model.device
        self._mask = mask.to(device)
        self._cache = DynamicCache(config=self._model.base.config)
        hidden = self._forward(ids.to(device), (self._mask.cumsum(-1) - 1).clamp(min=0))
        self._cache.batch_repeat_interleave(copies)
        self._mask = self._mask.repeat_interleave(copies, dim=0)
        self._positions = torch.tensor([len(prompt) for prompt in prompts]).repeat_interleave(copies).to(device)
        self._rows = len(prompts) * copies
        return hidden.repeat_interleave(copies, dim=0)

    def keep(self, rows: Sequence[int]) -> list[int]:
        self._rows = len(rows)
        if rows:
            kept = torch.tensor(rows).to(self._model.device)
            self._cache.batch_select_indices(kept)
            self._mask, self._positions = self._mask[kept], self._positions[kept]
        return list(rows)

    @torch.no_grad()
    def step(self, token_ids: Tensor) -> Tensor:
        self._mask = torch.cat([self._mask, self._mask.new_ones(self._rows, 1)], dim=1)
        hidden = self._forward(token_ids.unsqueeze(1), self._positions.unsqueeze(1))
        self._positions = self._positions + 1
        return hidden

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        output = self._model.trunk(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state[:, -1]
        return hidden


class FusedDecoder:
    """The forward of ``fused.FusedTrunk``, a token at a time.

    Keys and values lie in [layer][row, key heads, position, D], a row's own from position 0 to its length. The lengths
    stay on the CPU, where they are asked for at every step.

    Args:
        recordings: what plays steps back; rows and widths are rounded up for it, so that there are few.
    """

    def __init__(
        self,
        trunk: FusedTrunk,
        adapter: str | None,
        rows: int,
        longest: int,
        recordings: Callable[..., Tensor] | None = None,
    ) -> None:
        own = trunk.trunk
        weight = own.embed_tokens.weight
        self._recordings = recordings
        self._most = rows
        if recordings:
            rows, longest = rounded_up(rows, ROWS_TOGETHER), rounded_up(longest, WIDTH)
        self._embed, self._norm = own.embed_tokens, own.norm
        self._layers = [_Layer(layer, adapter) for layer in trunk.layers]
        self._heads, self._key_heads = trunk.heads, trunk.key_heads
        self._size = self._layers[0].values_size // self._key_heads
        shape = (len(self._layers), rows, self._key_heads, longest, self._size)
        # Zeros: what is masked counts 0 times, and 0 times the NaN that unwritten memory may hold is NaN.
        self._keys, self._values = weight.new_zeros(shape), weight.new_zeros(shape)
        self._device = weight.device
        self._cos, self._sin = trunk.rotation(torch.arange(longest, device=self._device))
        self._lengths = torch.zeros(rows, dtype=torch.long)
        self._rows = 0

    @property
    def room(self) -> int:
        return self._most - self._rows

    @torch.no_grad()
    def admit(self, prompts: Sequence[Sequence[int]], copies: int) -> Tensor:
        opening = opening_of(prompts, self._device)
        sizes = [len(prompt) for prompt in prompts]
        begins = [opening if place else 0 for place in range(len(prompts))]  # where what is read of each begins
        counts = [size - begin for size, begin in zip(sizes, begins, strict=True)]
        positions = torch.cat([torch.arange(*ends) for ends in zip(begins, sizes, strict=True)])
        starts = [self._rows + place * copies for place in range(len(prompts))]
        after = self._rows + len(prompts) * copies
        sees = attention_over([(size, ()) for size in sizes], self._keys, learns=False, opening=opening)

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            for kept, read in ((self._keys[number], key), (self._values[number], value)):
                kept[starts[0] : after, :, :opening] = read[:opening].transpose(0, 1)
                for start, begin, size, own in zip(starts, begins, sizes, read.split(counts), strict=True):
                    kept[start : start + copies, :, begin:size] = own.transpose(0, 1)
            return torch.cat(sees(query, key, value)).flatten(1)

        ids = torch.cat([torch.tensor(prompt[begin:]) for prompt, begin in zip(prompts, begins, strict=True)])
        hidden = self._forward(ids.to(self._device), positions.to(self._device), attend)
        self._rows = after
        self._lengths[starts[0] : after] = torch.tensor(sizes).repeat_interleave(copies)
        last = (torch.tensor(counts).cumsum(0) - 1).to(self._device)
        return hidden[last].repeat_interleave(copies, dim=0)

    def keep(self, rows: Sequence[int]) -> list[int]:
        staying = set(rows)
        movers = [row for row in rows if row >= len(rows)]  # the hindmost move into the holes: no more is copied
        order = [place if place in staying else movers.pop() for place in range(len(rows))]
        for place, row in enumerate(order):
            if place != row:
                width = int(self._lengths[row])
                self._keys[:, place, :, :width] = self._keys[:, row, :, :width]
                self._values[:, place, :, :width] = self._values[:, row, :, :width]
                self._lengths[place] = self._lengths[row]
        self._rows = len(rows)
        return order

    @torch.no_grad()
    def step(self, token_ids: Tensor) -> Tensor:
        lengths = self._lengths[: self._rows]
        width = int(lengths.max()) + 1
        places = lengths.to(self._device, copy=True)
        if self._recordings:
            # Spare rows write where nobody is, and what they say is dropped.
            spare = (0, rounded_up(self._rows, ROWS_TOGETHER) - self._rows)
            size = rounded_up(width, WIDTH)
            hidden = self._recordings(self._one_more, size, pad(token_ids, spare), pad(places, spare))[: self._rows]
        else:
            hidden = self._one_more(width, token_ids, places)
        self._lengths[: self._rows] += 1
        return hidden

    def _one_more(self, width: int, ids: Tensor, places: Tensor) -> Tensor:
        """[R, H] of a token in each of the first R rows, at its place there, which look back at ``width`` of them."""
        unseen = torch.arange(width, device=self._device) > places.unsqueeze(1)
        mask = torch.zeros(len(ids), 1, 1, width, dtype=self._keys.dtype, device=self._device)
        mask.masked_fill_(unseen[:, None, None], -torch.inf)
        rows = torch.arange(len(ids), device=self._device)

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = self._keys[number, : len(ids)], self._values[number, : len(ids)]
            keys[rows, :, places] = key
            values[rows, :, places] = value
            # The heads that share a key head stand where the queries of a sequence would.
            queries = query.unflatten(1, (self._key_heads, -1))
            seen = scaled_dot_product_attention(queries, keys[:, :, :width], values[:, :, :width], attn_mask=mask)
            return seen.flatten(1)

        return self._forward(ids, places, attend)

    def _forward(self, ids: Tensor, positions: Tensor, attend: Any) -> Tensor:
        """[N, H] of N tokens; ``attend`` is told the layer's number and gets [N, heads, D] of each kind."""
        count, spare = len(ids), _spare(len(ids), self._keys)
        ids, positions = pad(ids, (0, spare)), pad(positions, (0, spare))
        x = self._embed(ids)
        turn = self._cos[positions], self._sin[positions]
        for number, layer in enumerate(self._layers):
            normed = rms_norm(x, x.shape[-1:], layer.attention_norm, layer.eps)
            parts = layer.query_key_value(normed)
            query, key, value = (part.contiguous().unflatten(-1, (-1, self._size)) for part in parts)
            seen = attend(number, rotated(query, *turn)[:count], rotated(key, *turn)[:count], value[:count])
            x = x + layer.out(pad(seen, (0, 0, 0, spare)) if spare else seen)[0]
            normed = rms_norm(x, x.shape[-1:], layer.mlp_norm, layer.eps)
            gate, up = layer.gate_up(normed)
            x = x + layer.down(silu(gate).mul_(up))[0]
        return rms_norm(x[:count], x.shape[-1:], self._norm.weight, self._norm.variance_epsilon)


def _spare(count: int, like: Tensor) -> int:
    """By how many the tokens are rounded up, as in ``precision.tiled``."""
    if like.dtype != torch.bfloat16 or like.device.type != "cpu":
        return 0
    return tiled(count) - count


class _Layer:
    """The parts of one layer under an adapter; without one they are the base's own, not copied."""

    def __init__(self, layer: Layer, adapter: str | None) -> None:
        self.attention_norm, self.mlp_norm = layer.attention_norm.weight, layer.mlp_norm.weight
        self.eps = layer.attention_norm.variance_epsilon
        self.query_key_value = layer.query_key_value.under(adapter)
        self.out = layer.out.under(adapter)
        self.gate_up = layer.gate_up.under(adapter)
        self.down = layer.down.under(adapter)
        self.values_size = layer.query_key_value.outputs[-1]
