"""The same work again and again on CUDA: told once, and played back from then on.

A decoding step of a small model is hundreds of calls, and telling a GPU of one takes longer than it takes to be done.
Recorded as a graph, they are told at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Work: TypeAlias = Callable[..., Tensor]
"""Of a size and some tensors; it neither waits for the device nor asks what is in them."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What is played back, where it reads and where it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class Recordings:
    """One for each size. What else the work reads has to stay where it is for as long as they live.

    Attributes:
        refused: whether nothing is recorded in this process any more, because it went wrong once.
    """

    refused: ClassVar[bool] = False

    def __init__(self) -> None:
        self._begun: set[tuple[int, ...]] = set()
        self._made: dict[tuple[int, ...], Recording] = {}

    def __call__(self, work: Work, size: int, *inputs: Tensor) -> Tensor:
        """``work(size, *inputs)``. The first of a size is done as it is, for the libraries prepare themselves in it."""
        key = (size, *(len(tensor) for tensor in inputs))
        if Recordings.refused or key not in self._begun:
            self._begun.add(key)
            return work(size, *inputs)
        if key not in self._made:
            try:
                self._made[key] = self._recorded(work, size, inputs)
            except RuntimeError:
                logger.warning("steps are told one call at a time from now on, for recording one failed", exc_info=True)
                Recordings.refused = True
                return work(size, *inputs)
        made = self._made[key]
        for place, given in zip(made.inputs, inputs, strict=True):
            place.copy_(given)
        made.graph.replay()
        return made.output.clone()

    def _recorded(self, work: Work, size: int, inputs: tuple[Tensor, ...]) -> Recording:
        """It is only written down here, not done."""
        graph, places = torch.cuda.CUDAGraph(), tuple(map(torch.clone, inputs))
        studio, before = _studio(), torch.cuda.current_stream()
        studio.stream.wait_stream(before)
        with torch.cuda.stream(studio.stream):
            # By hand: torch.cuda.graph() would first collect all garbage and give all spare memory back.
            graph.capture_begin(pool=studio.keeper.pool(), capture_error_mode="thread_local")
            try:
                output = work(size, *places)
            except BaseException:
                with suppress(RuntimeError):  # it says only that the recording is broken, and not why
                    graph.capture_end()
                raise
            graph.capture_end()
        before.wait_stream(studio.stream)
        return Recording(graph, places, output)


class _Studio(NamedTuple):
    """Where everything is recorded.

    Attributes:
        stream: one for all: the library of products keeps some dozens of megabytes for each that it meets.
        keeper: a recording that stays. Its memory is that of all others, and what they give back the next ones take;
            without it each would leave its own behind.
    """

    stream: torch.cuda.Stream
    keeper: torch.cuda.CUDAGraph


@cache
def _studio() -> _Studio:
    stream, keeper = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        small = torch.ones(8, 8, device="cuda")
        small @ small  # what is kept for the stream is not to lie in a recording's memory
        stream.synchronize()
        keeper.capture_begin(capture_error_mode="thread_local")
        small.add(1)
        keeper.capture_end()
    return _Studio(stream, keeper)
