"""How a base model is read: its weights go from the file to where they stay, and nothing else of it into memory."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.overrides import TorchFunctionMode

from desktop_rlhf.adapters.folders import check_model_folder
from desktop_rlhf.adapters.fused import BUILT_ALIKE
from desktop_rlhf.adapters.libraries import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    without_compiler,
)
from desktop_rlhf.adapters.own_memory import own_zeros
from desktop_rlhf.records.errors import ModelFolderError

logger = logging.getLogger(__name__)

WEIGHTS, INDEX, GENERATION = "model.safetensors", "model.safetensors.index.json", "generation_config.json"
FORMATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""As safetensors calls them."""
SCRATCH = 1 << 22
"""Bytes of a file that are in memory at once while its weights are read."""
LONG_CALLS = ("raw_decode", "from_file")
"""That hold Python's lock for a tenth of a second while a tokenizer is read: of Python's json, and of tokenizers."""
TURN = 0.01
"""Seconds that other threads get before each of them."""


def read_base(source: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The base from a local safetensors folder, or from the download cache by its Hugging Face id, and its tokenizer.

    Raises:
        ModelFolderError: the folder is missing, incomplete, pickled or carries code.
    """
    local = Path(source).is_absolute() or Path(source).exists()
    if local:
        check_model_folder(Path(source))
    # Read by other threads, the weights would lie where what follows cannot take their place once they are moved.
    os.environ.setdefault("HF_DEACTIVATE_ASYNC_LOAD", "1")
    safe = {"trust_remote_code": False, "local_files_only": bool(os.environ.get("HF_HUB_OFFLINE"))}
    try:
        with giving_way():
            tokenizer = AutoTokenizer.from_pretrained(source, **safe)
        with without_compiler():  # a module that is made without numbers asks for it, to mark how it draws them
            base = _one_by_one(Path(source), dtype) if local else None
            if base is None:
                logger.info("“%s” is read by the library as a whole", source)
                base = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True, **safe)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelFolderError(
            f"The model “{source}” could not be loaded: {error}", "Choose a complete local safetensors folder."
        ) from error
    return base, tokenizer


def _one_by_one(folder: Path, dtype: torch.dtype) -> Any | None:
    """The model in a folder, or None where it is put together in a way that is left to the library.

    The library maps the files, and all that was read of one stays in memory beside the weights until the last was.
    Here each weight is read when it is asked for.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    files = _weight_files(folder)
    if config.sub_configs or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not files:
        return None
    weights = {name: weight for file in files for name, weight in _weights(file).items()}
    generation = GenerationConfig.from_pretrained(folder) if (folder / GENERATION).is_file() else None
    base = _put_together(config, weights, generation, dtype) if config.model_type in BUILT_ALIKE else None
    if base is None:
        logger.info("a %s model with these files is put together by the library", config.model_type)
        base = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(
            None, config=config, state_dict=weights, dtype=dtype, generation_config=generation
        )
    base.config.name_or_path = base.name_or_path = str(folder)
    return base


def _put_together(config: Any, weights: Mapping[str, Any], generation: Any, dtype: torch.dtype) -> Any | None:
    """The model, each of its weights in memory of its own, or None where the files do not have just these.

    The library would make a model without memory first, for which torch loads symbolic mathematics, half a second and
    30 MB.
    """
    with _Undrawn():
        base = AutoModelForCausalLM.from_config(config, dtype=dtype)
    base.tie_weights()
    parameters = dict(base.named_parameters())
    stored = {name: weight for name, weight in weights.items() if isinstance(weight, StoredWeight)}
    shapes = [{name: tuple(one.shape) for name, one in own.items()} for own in (stored, parameters)]
    if len(stored) < len(weights) or shapes[0] != shapes[1]:
        return None
    scratch = own_zeros((SCRATCH,), torch.uint8)
    for name, parameter in parameters.items():
        parameter.data = own_zeros(parameter.shape, parameter.dtype)
        stored[name].copy_to(parameter.data, scratch)
    if generation is not None:
        base.generation_config = generation
    return base.eval()


class _Undrawn(TorchFunctionMode):
    """Within it the numbers that a new model would begin with are not drawn."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if getattr(function, "__module__", "") in ("torch.nn.init", "transformers.initialization"):
            return named.get("tensor", *args[:1])
        return function(*args, **named)


@contextmanager
def giving_way() -> Iterator[None]:
    """Let other threads have a turn before each of the ``LONG_CALLS`` of this one.

    The window asks for Python's lock several times in one turn of its own, and would wait for two such calls on end.
    Python tells a profiler of every call; this thread's own is set aside meanwhile.
    """
    before = sys.getprofile()

    def give_way(frame: FrameType, event: str, called: Any) -> None:
        name = {"call": frame.f_code.co_name, "c_call": getattr(called, "__name__", "")}.get(event)
        if name in LONG_CALLS:
            time.sleep(TURN)

    sys.setprofile(give_way)
    try:
        yield
    finally:
        sys.setprofile(before)


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """A weight in a file, read when it is asked for.

    While the library reads one it holds Python's lock, and the window stands still. The system's reading does not.

    Attributes:
        start: its first byte in the file.
        dtype: in which it lies there.
    """

    file: Path
    start: int
    shape: Sequence[int]
    dtype: torch.dtype

    def __getitem__(self, key: Any) -> Tensor:
        """Its part at ``key``, for which all of it is read.

        Raises:
            OSError: the file cannot be read, or ends too early.
        """
        weight = torch.empty(tuple(self.shape), dtype=self.dtype)
        with self._opened() as data:
            self._fill(weight, data)
        return weight[key]

    def copy_to(self, out: Tensor, scratch: Tensor) -> None:
        """Read it into ``out``, of its shape and any format, through the bytes of ``scratch``.

        Raises:
            OSError: the file cannot be read, or ends too early.
        """
        pieces = scratch.view(self.dtype)
        with self._opened() as data:
            for part in out.view(-1).split(len(pieces)):
                self._fill(pieces[: len(part)], data)
                part.copy_(pieces[: len(part)])

    def _opened(self) -> FileIO:
        data = FileIO(self.file)
        data.seek(self.start)
        return data

    def _fill(self, tensor: Tensor, data: FileIO) -> None:
        left = tensor.view(-1).view(torch.uint8).numpy().data
        while left:
            count = data.readinto(left)
            if not count:
                raise OSError(f"{self.file.name} ends too early")
            left = left[count:]


def _weights(file: Path) -> dict[str, Any]:
    """What stands for every weight in a file, under its name; ``[...]`` reads one."""
    opened = safe_open(file, framework="pt", backend="pread")  # raises where the header is not in order
    with file.open("rb") as data:
        size = int.from_bytes(data.read(8), "little")
        header = json.loads(data.read(size))
    weights: dict[str, Any] = {}
    for name in list(opened.keys()):
        about = header[name]
        if about["dtype"] in FORMATS:
            start = 8 + size + about["data_offsets"][0]
            weights[name] = StoredWeight(file, start, about["shape"], FORMATS[about["dtype"]])
        else:
            weights[name] = opened.get_slice(name)
    return weights


def _weight_files(folder: Path) -> list[Path]:
    """Those that the library would read: the one file, or all that the index names."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    named = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
    return [folder / name for name in sorted(set(named))]
