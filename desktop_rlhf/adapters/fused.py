"""A decoder's forward written for packed rows: no padding outside attention, a LoRA linear in one operation.

It covers the decoders that are built as Llama is and takes their weights where they lie. Whether it says the same as
the model's own forward is tried when the model is read; where it does not, and for other decoders, that is used.

Source: Touvron et al., "LLaMA" (2023); Hu et al., "LoRA" (2021).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.nn.functional import linear, pad, silu

from desktop_rlhf.adapters.attention import Row, attention_over
from desktop_rlhf.adapters.precision import TILE, rounded_up

logger = logging.getLogger(__name__)

BUILT_ALIKE = ("llama", "mistral", "qwen2")
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference from the model's own forward, as a share of the hidden states' length."""

TRIED = 24  # tokens

MULTIPLE = {torch.float32: 8, torch.bfloat16: TILE}
"""Numbers of tokens are rounded up to it."""


class FusedTrunk:
    """The trunk of a base, for packed rows. Make it with ``of``."""

    def __init__(self, base: Any) -> None:
        config = base.config
        self.trunk = base.base_model
        self.heads = config.num_attention_heads
        self.key_heads = config.num_key_value_heads

    @classmethod
    def of(cls, base: Any) -> FusedTrunk | None:
        """The fused trunk of a base, or None, with the reason in the log."""
        kind = getattr(base.config, "model_type", "")
        if kind not in BUILT_ALIKE or base.dtype not in TOLERANCE or getattr(base.config, "sliding_window", None):
            logger.info("no fused forward for a %s model in %s", kind, base.dtype)
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
        return made

    def __call__(
        self, ids: Tensor, positions: Tensor, rows: Sequence[Row], adapter: str | None, opening: int = 0
    ) -> Tensor:
        """[N, H] hidden states of N tokens, the rows one behind another, with ``adapter`` or none.

        The rows but the first stand without the ``opening``, the tokens with which all their prompts begin.
        """
        count = len(ids)
        spare = (0, rounded_up(count, MULTIPLE[self.trunk.dtype]) - count)
        ids, positions = pad(ids, spare), pad(positions, spare)
        x = self.trunk.embed_tokens(ids)
        turn = self.rotation(positions)
        attend = attention_over(rows, x, opening=opening)
        for layer in self.trunk.layers:
            attention, mlp = layer.self_attn, layer.mlp
            queries, keys, values = _lora_linears(
                (attention.q_proj, attention.k_proj, attention.v_proj),
                _Weighed(layer.input_layernorm.weight),
                (_normed(layer.input_layernorm, x),),
                adapter,
            )
            query = rotated(queries.unflatten(-1, (self.heads, -1)), *turn)
            key = rotated(keys.unflatten(-1, (self.key_heads, -1)), *turn)
            value = values.unflatten(-1, (self.key_heads, -1))
            seen = attend(query, key, value)
            x = x + _lora_linears((attention.o_proj,), _Joined(), seen, adapter)[0]
            normed = _normed(layer.post_attention_layernorm, x)
            weighed = _Weighed(layer.post_attention_layernorm.weight)
            gate, up = _lora_linears((mlp.gate_proj, mlp.up_proj), weighed, (normed,), adapter)
            x = x + _lora_linears((mlp.down_proj,), _SwiGlu(), (gate, up), adapter)[0]
        return _normed(self.trunk.norm, x[:count]) * self.trunk.norm.weight

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 1, D / 2] cos and sin of every position's angles, in the base's format."""
        weight = self.trunk.embed_tokens.weight
        cos, sin = self.trunk.rotary_emb(weight[:1].unsqueeze(0), position_ids=positions.unsqueeze(0))
        half = cos.shape[-1] // 2  # the two halves are the same
        return cos[0, :, None, :half].to(weight.dtype), sin[0, :, None, :half].to(weight.dtype)


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


def _lora_linears(
    modules: Sequence[Any], entrance: _Entrance, inputs: tuple[Tensor, ...], adapter: str | None
) -> tuple[Tensor, ...]:
    """What each of some layers makes of the same ``entrance(*inputs)``."""
    bases = [module.base_layer if isinstance(module, LoraLayer) else module for module in modules]
    if adapter is None:
        x = entrance(*inputs)
        return tuple(linear(x, base.weight, base.bias) for base in bases)
    factors = [own[adapter].weight for module in modules for own in (module.lora_A, module.lora_B)]
    frozen = [(base.weight, base.bias, module.scaling[adapter]) for base, module in zip(bases, modules, strict=True)]
    made: tuple[Tensor, ...] = _LoraLinears.apply(entrance, frozen, len(inputs), *inputs, *factors)
    return made


class _Entrance(Protocol):
    """What a linear layer reads, made of tensors that are kept anyway, so that it is not kept itself."""

    def __call__(self, *inputs: Tensor) -> Tensor: ...

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What it made, again, and from the gradient of that, which may be overwritten, the one of every input."""


class _Joined:
    """Pieces of [L, heads, D] one behind another, [N, heads * D]."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs).flatten(1)

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        parts = gradient.split([len(piece) for piece in inputs])
        return self(*inputs), tuple(part.view_as(piece) for part, piece in zip(parts, inputs, strict=True))


class _Weighed:
    """Times the frozen weight of a norm."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, *inputs: Tensor) -> Tensor:
        return inputs[0] * self.weight

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self(*inputs), (gradient.mul_(self.weight),)


class _SwiGlu:
    """silu(gate) * up. Source: Shazeer (2020)."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        gate, up = inputs
        return silu(gate).mul_(up)

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        gate, up = inputs
        gated = silu(gate)
        made = gated * up
        return made, (torch.ops.aten.silu_backward(gradient * up, gate), gated.mul_(gradient))


# Each of these keeps less for the backward than autograd would, and makes fewer passes over memory.


def beside(low: Tensor, up: Tensor, bias: Tensor | None) -> Tensor:
    """[N, out] what an adapter adds to a product with the base's weights, and a bias.

    It is made first and that product is added to it, with sums in float32: what is learned at first is less than the
    last place of a number in bfloat16, and would be lost in a product that was rounded already.
    """
    return torch.mm(low, up.t()) if bias is None else torch.addmm(bias, low, up.t())


class _LoraLinears(torch.autograd.Function):
    """x W^T + b + s (x A^T) B^T for several layers that read the same x, with every W frozen.

    Their A's are one product and so are the gradients of these. A and B are float32 and are rounded to x's format where
    they meet it. x is the entrance's and is made again for the backward, as are the A's side by side.
    """

    @staticmethod
    def forward(
        ctx: Any,
        entrance: _Entrance,
        frozen: Sequence[tuple[Tensor, Tensor | None, float]],
        count: int,
        *inputs_and_factors: Tensor,
    ) -> tuple[Tensor, ...]:
        inputs, factors = inputs_and_factors[:count], inputs_and_factors[count:]
        x = entrance(*inputs)
        low = linear(x, torch.cat(factors[::2]).to(x.dtype))
        ctx.save_for_backward(low, *inputs_and_factors)
        ctx.entrance, ctx.frozen, ctx.count = entrance, frozen, count
        lows = low.split([len(down) for down in factors[::2]], dim=1)
        return tuple(
            beside(own, (up * scale).to(x.dtype), bias).addmm_(x, weight.t())
            for (weight, bias, scale), own, up in zip(frozen, lows, factors[1::2], strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        low, *saved = ctx.saved_tensors
        inputs, downs, ups = saved[: ctx.count], saved[ctx.count :: 2], saved[ctx.count + 1 :: 2]
        ranks, scales = [len(down) for down in downs], [scale for _, _, scale in ctx.frozen]
        to_low = torch.cat(
            [own @ (up * scale).to(own.dtype) for own, up, scale in zip(gradients, ups, scales, strict=True)], dim=1
        )
        to_inputs: tuple[Tensor | None, ...] = (None,) * ctx.count
        if ctx.needs_input_grad[3]:
            to_x = to_low @ torch.cat(downs).to(to_low.dtype)
            for own, (weight, _, _) in zip(gradients, ctx.frozen, strict=True):
                to_x.addmm_(own, weight)
            x, to_inputs = ctx.entrance.back(to_x, *inputs)
        else:
            x = ctx.entrance(*inputs)
        to_factors: list[Tensor | None] = [None] * (2 * len(gradients))
        if ctx.needs_input_grad[3 + ctx.count]:
            to_factors[::2] = (to_low.t() @ x).float().split(ranks)
            to_factors[1::2] = [
                (low_own.t() @ own).t().float().mul_(scale)
                for own, low_own, scale in zip(gradients, low.split(ranks, dim=1), scales, strict=True)
            ]
        return None, None, None, *to_inputs, *to_factors


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
        wide = x.float()
        factor = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        normed = (wide * factor).to(x.dtype)
        ctx.save_for_backward(normed, factor)
        return normed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normed, factor = ctx.saved_tensors
        scaled, wide = gradient.float(), normed.float()
        along = (scaled * wide).mean(-1, keepdim=True)
        return torch.addcmul(scaled, wide, along, value=-1).mul_(factor).to(gradient.dtype), None
