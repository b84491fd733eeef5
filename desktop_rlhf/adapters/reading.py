"""How a base model is read: its weights go from the file to where they stay, and nothing else of it into memory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from desktop_rlhf.adapters.folders import check_model_folder
from desktop_rlhf.records.errors import ModelFolderError

WEIGHTS, INDEX, GENERATION = "model.safetensors", "model.safetensors.index.json", "generation_config.json"


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
        tokenizer = AutoTokenizer.from_pretrained(source, **safe)
        base = _one_by_one(Path(source), dtype) if local else None
        if base is None:
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
    opened = [safe_open(file, framework="pt", backend="pread") for file in files]
    weights = {name: file.get_slice(name) for file in opened for name in list(file.keys())}
    generation = GenerationConfig.from_pretrained(folder) if (folder / GENERATION).is_file() else None
    base = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(
        None, config=config, state_dict=weights, dtype=dtype, generation_config=generation
    )
    base.config.name_or_path = base.name_or_path = str(folder)
    return base


def _weight_files(folder: Path) -> list[Path]:
    """Those that the library would read: the one file, or all that the index names."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    named = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
    return [folder / name for name in sorted(set(named))]
