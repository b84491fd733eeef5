"""Linear layers that read the same input, with a LoRA adapter or without, in as few products as that takes.

The base's product is added to the adapter's. Where the base is in bfloat16 on a processor and a few rows are written at
a time, the two small products of an adapter cost nearly as much as the base's. There what its A's make of an input is
laid behind that input and its B's behind the weights, so that one product is both: [x | x A^T] [W | s B]^T. With the
hundreds of rows that are learned from at once that was slower.

Source: Hu et al., "LoRA" (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol
from weakref import ref

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from desktop_rlhf.adapters.few_rows import DEFAULT, WAYS
from desktop_rlhf.adapters.precision import TILE


class Entrance(Protocol):
    """What a linear layer reads, made of tensors that are kept anyway, so that it is not kept itself."""

    def __call__(self, *inputs: Tensor) -> Tensor: ...

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What it made, again, and from the gradient of that, which may be overwritten, the one of every input."""


class Joined:
    """Pieces of [L, heads, D] one behind another, [N, heads * D]."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs).flatten(1)

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        parts = gradient.split([len(piece) for piece in inputs])
        return self(*inputs), tuple(part.view_as(piece) for part, piece in zip(parts, inputs, strict=True))


class Weighed:
    """Times the frozen weight of a norm."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, *inputs: Tensor) -> Tensor:
        return inputs[0] * self.weight

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self(*inputs), (gradient.mul_(self.weight),)


class SwiGlu:
    """silu(gate) * up. Source: Shazeer (2020)."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        gate, up = inputs
        return silu(gate).mul_(up)

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        gate, up = inputs
        gated = silu(gate)
        made = gated * up
        return made, (torch.ops.aten.silu_backward(gradient * up, gate), gated.mul_(gradient))


class _Through:
    """What ``after`` makes of what some layers with an adapter make of ``before``.

    Its inputs are the one of ``before`` and the adapter's factors. What lies between is made again in the backward.
    """

    def __init__(self, before: Entrance, layers: Linears, after: Entrance, scales: Sequence[float]) -> None:
        self._before, self._layers, self._after, self._scales = before, layers, after, scales

    def __call__(self, *inputs: Tensor) -> Tensor:
        between, _ = self._between(*inputs)
        return self._after(*between)

    def back(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        between, way = self._between(*inputs)
        made, gradients = self._after.back(gradient, *between)
        to_low = way.to_low(gradients)
        x, to_inputs = self._before.back(way.to_x(to_low, gradients, self._layers.weights), inputs[0])
        return made, (*to_inputs, *way.to_factors(to_low, gradients, x))

    def _between(self, *inputs: Tensor) -> tuple[tuple[Tensor, ...], LowWay]:
        x = self._before(inputs[0])
        way = LowWay.of(x, inputs[1:], self._scales)
        return self._layers.made_of(x, way.low, way.ups), way


@dataclass(frozen=True, slots=True)
class LowWay:
    """An adapter's way of [N, I] x through some layers, in x's format.

    Attributes:
        low:    [N, ranks] x A^T.
        down:   [ranks, I] every layer's A.
        ups:    [outputs, rank] of each layer, s B.
        scales: s of each.
    """

    low: Tensor
    down: Tensor
    ups: Sequence[Tensor]
    scales: Sequence[float]

    @classmethod
    def of(cls, x: Tensor, factors: Sequence[Tensor], scales: Sequence[float]) -> LowWay:
        """By A [rank, I] and B [outputs, rank] of each layer in turn."""
        down = torch.cat(list(factors[::2])).to(x.dtype)
        ups = [(up * scale).to(x.dtype) for up, scale in zip(factors[1::2], scales, strict=True)]
        return cls(linear(x, down), down, ups, scales)

    def to_low(self, gradients: Sequence[Tensor]) -> Tensor:
        """The gradient of ``low``, from that of each layer's output."""
        return torch.cat([own @ up for own, up in zip(gradients, self.ups, strict=True)], dim=1)

    def to_x(self, to_low: Tensor, gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """The gradient of x, which went through the base's weights too."""
        to_x = to_low @ self.down
        for own, weight in zip(gradients, weights, strict=True):
            to_x.addmm_(own, weight)
        return to_x

    def to_factors(self, to_low: Tensor, gradients: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """The gradients of each A and B in turn, float32."""
        ranks = [up.shape[1] for up in self.ups]
        to_downs = (to_low.t() @ x).float().split(ranks)
        to_ups = [
            (low.t() @ own).t().float().mul_(scale)
            for own, low, scale in zip(gradients, self.low.split(ranks, dim=1), self.scales, strict=True)
        ]
        return [one for pair in zip(to_downs, to_ups, strict=True) for one in pair]


def through(before: Entrance, layers: Linears, after: Entrance, onward: Linears, x: Tensor, adapter: str) -> Tensor:
    """``onward(after(layers(before(x))))`` with an adapter on both, of which only x is kept for the backward.

    That takes as much longer as ``layers`` and ``after`` do once.
    """
    way = _Through(before, layers, after, layers.scales(adapter))
    return onward(way, (x, *layers.factors(adapter)), adapter)[0]


class Linears:
    """Some linear layers of a base that read the same I numbers and make O of them together.

    Their weights may be moved into one memory, [O, I + room], one layer's below another's. The base's parameters are
    parts of it from then on, with the numbers that they had.
    """

    def __init__(self, parent: Any, *names: str) -> None:
        self._parent, self._names = parent, names
        self._bases = [getattr(parent, name) for name in names]
        self._inputs: int = self._bases[0].in_features
        self.outputs: list[int] = [base.out_features for base in self._bases]
        self._together: Tensor | None = None
        self._ranks: list[int] = []  # of the adapter that lies behind the weights
        self._speaker: Callable[[], Spoken | None] = _nobody  # whose it is
        self.few_go_by = DEFAULT  # see ``few_rows``

    def size(self, rank: int) -> int:
        """How many numbers the weights are with room for adapters of up to ``rank``."""
        return sum(self.outputs) * (self._inputs + rank * len(self._bases))

    @torch.no_grad()
    def move_to(self, memory: Tensor) -> None:
        """Let the weights, and adapters behind them, lie in ``memory``, which is all 0."""
        self._together = memory.view(sum(self.outputs), -1)
        for base, rows in zip(self._bases, self._together.split(self.outputs), strict=True):
            rows[:, : self._inputs] = base.weight
            base.weight.data = rows[:, : self._inputs]
        self._speaker = _nobody

    def __call__(self, entrance: Entrance, inputs: tuple[Tensor, ...], adapter: str | None) -> tuple[Tensor, ...]:
        """[N, outputs] of each layer, what it makes of ``entrance(*inputs)``."""
        if adapter is None:
            return self.made_of(entrance(*inputs))
        factors = self.factors(adapter)
        made: tuple[Tensor, ...] = _LoraLinears.apply(
            self, entrance, self.scales(adapter), len(inputs), *inputs, *factors
        )
        return made

    def factors(self, adapter: str) -> list[Tensor]:
        """A [rank, I] and B [outputs, rank] of each layer in turn."""
        return [own[adapter].weight for module in self._modules for own in (module.lora_A, module.lora_B)]

    def scales(self, adapter: str) -> list[float]:
        """What each layer's A and B together are multiplied by."""
        return [module.scaling[adapter] for module in self._modules]

    def under(self, adapter: str | None) -> Spoken:
        """The layers with an adapter as it is now, whatever is learned afterwards."""
        return Spoken(self, self._modules, adapter)

    @property
    def weights(self) -> list[Tensor]:
        """The base's, [outputs, I] of each layer."""
        return [base.weight for base in self._bases]

    def made_of(self, x: Tensor, low: Tensor | None = None, ups: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        """[N, outputs] of each layer, from [N, I] ``x`` and [N, ranks] ``low``, what an adapter's A's made of it.

        Args:
            ups: [outputs, rank] of each layer, its B with the adapter's scale in it, in x's format.
        """
        if low is None:
            return tuple(linear(x, base.weight, base.bias) for base in self._bases)
        lows = low.split([up.shape[1] for up in ups], dim=1)
        return tuple(
            _beside(own, up, base.bias).addmm_(x, base.weight.t())
            for own, up, base in zip(lows, ups, self._bases, strict=True)
        )

    def of_few(self, x: Tensor, low: Tensor | None, ups: Sequence[Tensor], speaker: Spoken) -> tuple[Tensor, ...]:
        """What ``made_of`` gives, of a few rows and once the weights were moved, in one product.

        Args:
            speaker: whose ``ups`` these are, the same at every call.
        """
        weights = self._with_behind(ups, speaker)
        both = x if low is None else _side_by_side(x, low)
        biases = [base.bias for base in self._bases]
        bias = None if all(each is None for each in biases) else torch.cat(biases)
        product = WAYS[self.few_go_by if len(x) < TILE else DEFAULT]  # 32 are slower by rows
        return product(both, weights, bias).split(self.outputs, dim=1)

    @property
    def moved(self) -> bool:
        """Whether the weights lie where an adapter may lie behind them."""
        return self._together is not None

    def _with_behind(self, ups: Sequence[Tensor], speaker: Spoken) -> Tensor:
        """[O, I + ranks] the weights, and behind those of each layer its own of ``ups``."""
        assert self._together is not None
        ranks = [up.shape[1] for up in ups]
        width = self._inputs + sum(ranks)
        if ups and self._speaker() is not speaker:
            behind = self._together[:, self._inputs : width]
            if ranks != self._ranks:
                behind.zero_()  # the other layers' columns, which lay elsewhere
            for rows, up, end in zip(behind.split(self.outputs), ups, accumulate(ranks), strict=True):
                rows[:, end - up.shape[1] : end] = up
            self._ranks, self._speaker = ranks, ref(speaker)
        return self._together[:, :width]

    @property
    def _modules(self) -> list[Any]:
        """The layers as they are called: since an adapter was attached, peft's."""
        return [getattr(self._parent, name) for name in self._names]


class Spoken:
    """Some layers under one adapter or none, for a few rows at a time.

    The adapter stays apart from the weights, as in training: folded into a copy of them it would cost as much memory as
    they do, and in bfloat16 most of it would be lost, being less than the last place of a weight.
    """

    @torch.no_grad()
    def __init__(self, layers: Linears, modules: Sequence[Any], adapter: str | None) -> None:
        self._layers = layers
        self._down: Tensor | None = None
        self._ups: list[Tensor] = []
        if adapter is None:
            return
        dtype = layers.weights[0].dtype
        self._down = torch.cat([module.lora_A[adapter].weight for module in modules]).to(dtype)
        self._ups = [(module.lora_B[adapter].weight * module.scaling[adapter]).to(dtype) for module in modules]

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """[N, I] to [N, outputs] of each layer."""
        low = None if self._down is None else linear(x, self._down)
        if self._layers.moved:
            return self._layers.of_few(x, low, self._ups, self)
        return self._layers.made_of(x, low, self._ups)


def _nobody() -> None:
    """Like a reference to somebody who is gone."""


def _side_by_side(x: Tensor, low: Tensor) -> Tensor:
    """[N, I + ranks], laid out as [N, I] x is."""
    return torch.cat((x, low), dim=1) if x.is_contiguous() else torch.cat((x.t(), low.t())).t()


def _beside(low: Tensor, up: Tensor, bias: Tensor | None) -> Tensor:
    """[N, out] what an adapter adds to a product with the base's weights, and a bias.

    It is made first and that product is added to it, with sums in float32: what is learned at first is less than the
    last place of a number in bfloat16, and would be lost in a product that was rounded already.
    """
    return torch.mm(low, up.t()) if bias is None else torch.addmm(bias, low, up.t())


class _LoraLinears(torch.autograd.Function):
    """x W^T + b + s (x A^T) B^T for several layers that read the same x, with every W frozen.

    Their A's are one product and so are the gradients of these. A and B are float32 and are rounded to x's format where
    they meet it, once for both ways, so that this is kept too. Otherwise it keeps less for the backward than autograd
    would: x is the entrance's and is made again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        layers: Linears,
        entrance: Entrance,
        scales: Sequence[float],
        count: int,
        *inputs_and_factors: Tensor,
    ) -> tuple[Tensor, ...]:
        inputs, factors = inputs_and_factors[:count], inputs_and_factors[count:]
        x = entrance(*inputs)
        way = LowWay.of(x, factors, scales)
        ctx.save_for_backward(*inputs, way.low, way.down, *way.ups)
        ctx.layers, ctx.entrance, ctx.scales, ctx.count = layers, entrance, scales, count
        return layers.made_of(x, way.low, way.ups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, (low, down, *ups) = saved[: ctx.count], saved[ctx.count :]
        way = LowWay(low, down, ups, ctx.scales)
        to_low = way.to_low(gradients)
        to_inputs: tuple[Tensor | None, ...] = (None,) * ctx.count
        if any(ctx.needs_input_grad[4 : 4 + ctx.count]):
            x, to_inputs = ctx.entrance.back(way.to_x(to_low, gradients, ctx.layers.weights), *inputs)
        else:
            x = ctx.entrance(*inputs)
        to_factors: Sequence[Tensor | None] = [None] * (2 * len(gradients))
        if ctx.needs_input_grad[4 + ctx.count]:
            to_factors = way.to_factors(to_low, gradients, x)
        return None, None, None, None, *to_inputs, *to_factors
