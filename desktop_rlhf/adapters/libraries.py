"""transformers and peft, for all of the program, without what they load for compilers and for several machines.

As soon as they are asked for a model they ask torch for its compiler, to mark functions that it is to leave alone, and
for what spreads a model over several machines, and these ask for a thousand modules more: half of the seconds that the
libraries take, and 70 MB. Nothing is compiled or spread here. So the program says that its torch cannot reach other
machines, which some cannot, and while the libraries are loaded their marks meet a stand-in. Whatever else is asked of
the compiler, then or afterwards, gets the real one.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType, TracebackType
from typing import Any

import torch

logger = logging.getLogger(__name__)

COMPILER = "torch._dynamo"
INDEXING = f"{COMPILER}._trace_wrapped_higher_order_op"
"""A part of it, of which transformers takes one class by name."""


class TransformGetItemToIndex:
    """The class of this name, which is not loaded before it is entered: where a mask is made by ``vmap``."""

    def __enter__(self) -> Any:
        self._real = importlib.import_module(INDEXING).TransformGetItemToIndex()
        return self._real.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> Any:
        return self._real.__exit__(kind, error, at)


def _unmarked(function: Any = None, *_: object, **__: object) -> Any:
    """A function as it is, as the mark of a function that is not compiled may leave it."""
    return _unmarked if function is None else function


class _StandIn(ModuleType):
    """In the place of the compiler, with its marks; the real one takes its place when it is asked for anything else."""

    __path__: MutableSequence[str] = []
    disable = assume_constant_result = allow_in_graph = staticmethod(_unmarked)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by the import itself
            raise AttributeError(name)
        return getattr(_real(name), name)


class _Parts:
    """Finds the compiler's parts that nothing stands in for, and has the real one loaded with them."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not name.startswith(f"{COMPILER}.") or not isinstance(sys.modules.get(COMPILER), _StandIn):
            return None
        _real(name)
        loaded = sys.modules.get(name)  # with the compiler, of which it is a part
        if loaded is None:
            return find_spec(name)
        loaded.__spec__ = ModuleSpec(name, _Loaded(loaded))  # by its own it would be loaded once more
        return loaded.__spec__


class _Loaded(Loader):
    """Gives a module that is there."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        pass


def _real(wanted: str) -> ModuleType:
    logger.info("torch's compiler is loaded, which a library asks for %s", wanted)
    _leave()
    return importlib.import_module(COMPILER)


def _leave() -> None:
    if isinstance(sys.modules.get(COMPILER), _StandIn):
        del sys.modules[COMPILER], sys.modules[INDEXING]


@contextmanager
def without_compiler() -> Iterator[None]:
    """Within it the compiler's marks can be had without it; where it is loaded already, nothing is different."""
    if COMPILER in sys.modules:
        yield
        return
    parts: Any = _Parts()
    indexing: Any = ModuleType(INDEXING)
    indexing.TransformGetItemToIndex = TransformGetItemToIndex
    sys.modules[COMPILER], sys.modules[INDEXING] = _StandIn(COMPILER), indexing
    sys.meta_path.insert(0, parts)
    try:
        yield
    finally:
        sys.meta_path.remove(parts)
        _leave()


def _no_other_machines() -> bool:
    return False


if "transformers.modeling_utils" not in sys.modules:  # it must hear the same when it is loaded and when it runs
    torch.distributed.is_available = _no_other_machines

with without_compiler():
    import peft
    import transformers
    from peft import LoraConfig, LoraModel
    from peft.tuners.lora import LoraLayer
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        AutoConfig,
        AutoModelForCausalLM,
        AutoTokenizer,
        DynamicCache,
        GenerationConfig,
        LlamaConfig,
        LlamaForCausalLM,
    )
    from transformers.pytorch_utils import Conv1D

__all__ = [
    "MODEL_FOR_CAUSAL_LM_MAPPING",
    "AutoConfig",
    "AutoModelForCausalLM",
    "AutoTokenizer",
    "Conv1D",
    "DynamicCache",
    "GenerationConfig",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LoraConfig",
    "LoraLayer",
    "LoraModel",
    "peft",
    "transformers",
]
