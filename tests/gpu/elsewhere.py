"""A device that stands in for a GPU where there is none: its numbers lie in the CPU's memory, but torch is not told.

Every operation is carried out by the CPU, and watched: one that would meet a tensor left on the CPU, or draw random
numbers, or ask for double precision, fails as it would on one GPU or another. So a forgotten ``.to(device)`` is found
on any machine. What a real GPU computes, how fast, and with how much memory, this does not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

aten = torch.ops.aten
LAID_TOGETHER = (aten.cat.default, aten.stack.default)


class StrayTensorError(Exception):
    """An operation on the device met what is not there."""


class There(torch.Tensor):
    """A tensor on the device; ``numbers`` are what it holds."""

    numbers: torch.Tensor

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> There:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=device(),
        )
        made.numbers = numbers
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        return carry_out(operation, args, kwargs or {})

    def tolist(self) -> list:
        return self.numbers.tolist()

    def numpy(self, *_: object, **__: object) -> Any:
        raise StrayTensorError("numpy reads the CPU's memory only")


class Watched(TorchDispatchMode):
    """While it lasts, tensors can be made on the device.

    Args:
        spoiled: operations that the device does wrongly, each with the factor by which its result is off.
        double:  whether it has double precision, as CUDA has and MPS has not.
    """

    def __init__(self, spoiled: Mapping[Any, float] | None = None, double: bool = True) -> None:
        super().__init__()
        self.spoiled = spoiled or {}
        self.double = double

    def __enter__(self) -> Watched:
        _lasting.append(self)  # the thread of the backward pass sees tensors only, and no modes
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        _lasting.remove(self)

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        return carry_out(operation, args, kwargs or {})


_lasting: list[Watched] = []


def carry_out(operation: Any, args: tuple, kwargs: Mapping) -> Any:
    """Do an operation with the numbers that lie behind its tensors; what comes out is where the device would put it."""
    tensors: list[torch.Tensor] = []
    plain_args, plain_kwargs = _numbers_of((args, dict(kwargs)), tensors)
    known = {id(tensor.numbers): tensor for tensor in tensors if isinstance(tensor, There)}
    asked = kwargs.get("device")
    made_there = bool(known) if asked is None else torch.device(asked).type == device().type
    if operation is aten.copy_.default:
        made_there = isinstance(args[0], There)
    elif operation is aten._local_scalar_dense.default:
        made_there = False
    elif known and operation is not aten._to_copy.default:
        for tensor in tensors:
            # A single number on the CPU may be added to many on a GPU, but not laid beside them.
            if not isinstance(tensor, There) and (tensor.dim() > 0 or operation in LAID_TOGETHER):
                raise StrayTensorError(f"{operation} met a tensor {list(tensor.shape)} that was left on the CPU")
    if not made_there:
        return operation(*plain_args, **plain_kwargs)
    if torch.Tag.nondeterministic_seeded in operation.tags:
        raise StrayTensorError(
            f"{operation} draws random numbers on the device, so that a seed means nothing elsewhere"
        )
    lacks_double = not all(watched.double for watched in _lasting)
    if lacks_double and torch.float64 in (kwargs.get("dtype"), *(tensor.dtype for tensor in tensors)):
        raise StrayTensorError(f"{operation} asks for double precision, which the device has not")
    if asked is not None:
        plain_kwargs["device"] = "cpu"
    found = operation(*plain_args, **plain_kwargs)
    for watched in _lasting:
        if operation in watched.spoiled:
            found = found * watched.spoiled[operation]
    return _there_again(found, known)


def _numbers_of(node: Any, seen: list[torch.Tensor]) -> Any:
    """The same with the numbers in place of tensors of the device; ``seen`` gets every tensor."""
    if isinstance(node, torch.Tensor):
        seen.append(node)
        return _numbers(node)
    if isinstance(node, list | tuple):
        return type(node)(_numbers_of(part, seen) for part in node)
    if isinstance(node, dict):
        return {name: _numbers_of(part, seen) for name, part in node.items()}
    return node


def _there_again(node: Any, known: Mapping[int, There]) -> Any:
    """The other way round; an operation in place gives its own argument back."""
    if isinstance(node, torch.Tensor):
        return known[id(node)] if id(node) in known else There(node)
    if isinstance(node, list | tuple):
        return type(node)(_there_again(part, known) for part in node)
    return node


def _numbers(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.numbers if isinstance(tensor, There) else tensor


@cache
def device() -> torch.device:
    """The device; torch is told of it once per process."""
    _setup_privateuseone_for_python_backend("elsewhere", backend_module=_Module())
    # torch.tensor(..., device=) and indexing by a list make their tensor out of the modes' sight.
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty_strided", _empty, "PrivateUse1")
    library.impl("_copy_from", _copied, "PrivateUse1")
    _kept.append(library)
    return torch.device("elsewhere", 0)  # the backward pass counts devices from 0


_kept: list[torch.library.Library] = []  # its registrations end with it


class _Module(_DummyBackendModule):
    """As much as torch asks of a device whose random numbers nobody draws."""

    def get_rng_state(self, _: object = None) -> torch.Tensor:
        return torch.zeros(0, dtype=torch.uint8)

    def set_rng_state(self, *_: object) -> None:
        pass


def _empty(size: list[int], stride: list[int], dtype: torch.dtype | None = None, **_: object) -> There:
    return There(torch.empty_strided(size, stride, dtype=dtype))


def _copied(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _numbers(target).copy_(_numbers(source))
    return target
