"""The shape of a training algorithm, and how one is found when a run starts."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Protocol, TypeVar, cast

from desktop_rlhf.runs.events import Event
from desktop_rlhf.runs.spec import AlgorithmSpec
from desktop_rlhf.runs.stop import StopToken

SpecT = TypeVar("SpecT", contravariant=True)
InputsT = TypeVar("InputsT", contravariant=True)


class Algorithm(Protocol[SpecT, InputsT]):
    """A generator function: it does a piece of work, yields an event, and is called again.

    It yields after every micro-batch and every few decode steps, never inside a context manager that changes the
    model's, gradient's or autocast's state, and draws every random number from a generator of its own. It knows no
    window and no store. When ``stop`` is requested it saves what it has, yields ``AdapterSaved`` and returns; while
    it has nothing yet it may raise ``StoppedError``.
    """

    def __call__(self, spec: SpecT, inputs: InputsT, stop: StopToken) -> Iterator[Event]: ...


def resolve(spec: type[AlgorithmSpec]) -> Algorithm[AlgorithmSpec, object]:
    """Import the train function that ``spec`` names."""
    module, function = spec.train.split(":")
    return cast(Algorithm[AlgorithmSpec, object], getattr(importlib.import_module(module), function))
