"""A decoder's forward written for packed rows: no padding outside attention, and few operations, as in ``linears``.

It covers the decoders that are built as Llama is and keeps no copy of their weights. Whether it says the same as the
model's own forward is tried when the model is read; where it does not, and for other decoders, that is used.

Source: Touvron et al., "LLaMA" (2023).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from desktop_rlhf.adapters.attention import Attention, Row, attention_over
from desktop_rlhf.adapters.few_rows import way_for
from desktop_rlhf.adapters.linears import Joined, Linears, SwiGlu, Weighed, through
from desktop_rlhf.adapters.own_memory import own_zeros
from desktop_rlhf.adapters.precision import TILE, rounded_up

logger = logging.getLogger(__name__)

BUILT_ALIKE = ("llama", "mistral", "qwen2")
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference from the model's own forward, as a share of the hidden states' length."""

TRIED = 24  # tokens
USUAL_RANK = 16
"""Of adapters; for larger ones the weights are moved again."""

MULTIPLE = {torch.float32: 8, torch.bfloat16: TILE}
"""Numbers of tokens are rounded up to it."""


class FusedTrunk:
    """The trunk of a base, for packed rows. Make it with ``of``."""

    def __init__(self, base: Any) -> None:
        config = base.config
        self.trunk = base.base_model
        self.heads = config.num_attention_heads
        self.key_heads = config.num_key_value_heads
        self.layers = [Layer(layer) for layer in self.trunk.layers]
        self._room = 0

    @classmethod
    def of(cls, base: Any) -> FusedTrunk | None:
        """The fused trunk of a base, or None, with the reason in the log."""
        if why := _why_not(base):
            logger.info("no fused forward: %s", why)
            return None
        made = cls(base)
        with torch.no_grad():
            places = torch.arange(TRIED, device=base.device)
            # From all over the vocabulary but its ends: what a model makes of special tokens in a row, which it never
            # saw, may be another thing altogether after the least rounding.
            ids = (places + 1) * base.config.vocab_size // (TRIED + 1)
            own = base.base_model(input_ids=ids.unsqueeze(0), use_cache=False).last_hidden_state[0].float()
            apart = (made(ids, places, [(TRIED, ())], None).float() - own).norm() / own.norm()
        if not apart <= TOLERANCE[base.dtype]:
            logger.warning("the fused forward differs by %.2g from this model's own, which is used instead", apart)
            return None
        made.make_room(USUAL_RANK)  # only now: where the trial fails the weights stay where they are
        return made

    def make_room(self, rank: int) -> None:
        """Move the weights to where adapters of up to ``rank`` may lie behind them, if that is faster; see ``linears``.

        They go one after another, and what each leaves the system has back before the next one goes.
        """
        weight = self.trunk.embed_tokens.weight
        if rank <= self._room or weight.dtype != torch.bfloat16 or weight.device.type != "cpu":
            return
        linears = [own for layer in self.layers for own in layer.linears]
        sizes = [own.size(rank) for own in linears]
        for own, memory in zip(linears, own_zeros((sum(sizes),), weight.dtype).split(sizes), strict=True):
            own.move_to(memory)
        if not self._room:  # once: a run that needs more room goes on as it began
            self.few_go_by = way_for([weight for own in linears for weight in own.weights])
        self._room = rank

    @property
    def few_go_by(self) -> str:
        """Which way a few rows are multiplied, a name among ``few_rows.WAYS``."""
        return self.layers[0].out.few_go_by

    @few_go_by.setter
    def few_go_by(self, way: str) -> None:
        for layer in self.layers:
            for own in layer.linears:
                own.few_go_by = way

    def __call__(
        self,
        ids: Tensor,
        positions: Tensor,
        rows: Sequence[Row],
        adapter: str | None,
        opening: int = 0,
        wanted: Tensor | None = None,
        sparing: bool = False,
    ) -> Tensor:
        """[N, H] hidden states of N tokens, the rows one behind another, with ``adapter`` or none.

        Args:
            opening: tokens with which all prompts begin; the rows but the first stand without them.
            wanted:  [M] the tokens whose states are wanted, in ascending order, by default all. The others are left out
                     behind the last layer's attention, and what is returned of them is 0.
            sparing: keep a fifth as much for a backward, which then takes half as long again.
        """
        count = len(ids)
        spare = (0, self._spare(count))
        ids, positions = pad(ids, spare), pad(positions, spare)
        x = self.trunk.embed_tokens(ids)
        turn = self.rotation(positions)
        seeing = Seeing(attention_over(rows, x, opening=opening), turn, self.heads, self.key_heads)
        spared = adapter if sparing and torch.is_grad_enabled() else None
        for layer in self.layers:
            before, normed = Weighed(layer.attention_norm.weight), _normed(layer.attention_norm, x)
            if wanted is not None and layer is self.layers[-1]:
                places = pad(wanted, (0, self._spare(len(wanted))))
                seen = torch.cat(seeing.pieces(*layer.query_key_value(before, (normed,), adapter)))
                x = x.index_select(0, places)
                x = x + layer.out(Joined(), (seen.index_select(0, places),), adapter)[0]
            elif spared is not None:
                x = x + through(before, layer.query_key_value, seeing, layer.out, normed, spared)
            else:
                pieces = seeing.pieces(*layer.query_key_value(before, (normed,), adapter))
                x = x + layer.out(Joined(), pieces, adapter)[0]
            before, normed = Weighed(layer.mlp_norm.weight), _normed(layer.mlp_norm, x)
            if spared is not None:
                x = x + through(before, layer.gate_up, SwiGlu(), layer.down, normed, spared)
            else:
                x = x + layer.down(SwiGlu(), layer.gate_up(before, (normed,), adapter), adapter)[0]
        made = _normed(self.trunk.norm, x[: count if wanted is None else len(wanted)]) * self.trunk.norm.weight
        return made if wanted is None else made.new_zeros(count, made.shape[1]).index_copy(0, wanted, made)

    def _spare(self, count: int) -> int:
        """By how many the tokens are rounded up."""
        return rounded_up(count, MULTIPLE[self.trunk.dtype]) - count

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 1, D / 2] cos and sin of every position's angles, in the base's format."""
        weight = self.trunk.embed_tokens.weight
        cos, sin = self.trunk.rotary_emb(weight[:1].unsqueeze(0), position_ids=positions.unsqueeze(0))
        half = cos.shape[-1] // 2  # the two halves are the same
        return cos[0, :, None, :half].to(weight.dtype), sin[0, :, None, :half].to(weight.dtype)


def _why_not(base: Any) -> str:
    """What of a base the fused forward does not cover; nothing where it may."""
    kind = getattr(base.config, "model_type", "")
    if kind not in BUILT_ALIKE:
        return f"a {kind} model is not built as Llama is"
    if base.dtype not in TOLERANCE:
        return f"the model is in {base.dtype}"
    return "the model's layers look back through a window" if getattr(base.config, "sliding_window", None) else ""


class Layer:
    """The parts of one layer, under the names of what they do."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.attention_norm, self.mlp_norm = layer.input_layernorm, layer.post_attention_layernorm
        self.query_key_value = Linears(attention, "q_proj", "k_proj", "v_proj")
        self.out = Linears(attention, "o_proj")
        self.gate_up = Linears(mlp, "gate_proj", "up_proj")
        self.down = Linears(mlp, "down_proj")
        self.linears = (self.query_key_value, self.out, self.gate_up, self.down)


class Seeing:
    """What tokens see, of their queries, keys and values, [N, heads * D] each and not turned yet."""

    def __init__(self, attend: Attention, turn: tuple[Tensor, Tensor], heads: int, key_heads: int) -> None:
        self._attend, self._turn, self._heads, self._key_heads = attend, turn, heads, key_heads

    def pieces(self, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        """Of [L, heads, D], N tokens together."""
        query = rotated(queries.unflatten(-1, (self._heads, -1)), *self._turn)
        key = rotated(keys.unflatten(-1, (self._key_heads, -1)), *self._turn)
        return self._attend(query, key, values.unflatten(-1, (self._key_heads, -1)))

    def __call__(self, *inputs: Tensor) -> Tensor:
        return torch.cat(self.pieces(*inputs)).flatten(1)

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        with torch.enable_grad():
            own = [each.detach().requires_grad_() for each in inputs]
            made = self(*own)
            made.register_hook(lambda _: gradient)  # given to torch, it would load symbolic mathematics to look at it
            return made.detach(), torch.autograd.grad(made.sum(), own)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: [N, heads, D] with cos and sin of [N, 1, D / 2]."""
    if not torch.is_grad_enabled():
        return _turned(x, cos, sin, 1)
    made: Tensor = _Rotation.apply(x, cos, sin)
    return made


def _normed(module: Any, x: Tensor) -> Tensor:
    """x / rms(x), not yet weighed."""
    made: Tensor = _RmsNorm.apply(x, module.variance_epsilon)
    return made


# Each of these keeps less for the backward than autograd would, and makes fewer passes over memory.


class _Rotation(torch.autograd.Function):
    """Every pair of a head's two halves turned by its angle; the backward turns back. Source: Su et al. (2021)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turned(gradient, cos, sin, -1), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    out = torch.empty_like(x)
    left, right = out.chunk(2, dim=-1)
    torch.mul(first, cos, out=left).addcmul_(second, sin, value=-way)
    torch.mul(second, cos, out=right).addcmul_(first, sin, value=way)
    return out


class _RmsNorm(torch.autograd.Function):
    """x / rms(x); the mean of squares in float32. Source: Zhang and Sennrich (2019)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.float32, copy=True)
        squares = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        factor = squares.div_(x.shape[-1]).add_(eps).rsqrt_()
        normed = wide.mul_(factor).to(x.dtype)
        ctx.save_for_backward(normed, factor)
        return normed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normed, factor = ctx.saved_tensors
        wide, own = gradient.to(torch.float32, copy=True), normed.float()
        along = torch.linalg.vecdot(wide, own).div_(own.shape[-1]).unsqueeze(-1)
        return wide.addcmul_(own, along, value=-1).mul_(factor).to(gradient.dtype), None
