"""Model folders: what may be loaded from one, and the hash that tells two apart. Reads files only, no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from desktop_rlhf.records.errors import ModelFolderError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
CHUNK_BYTES = 16 << 20
"""Read at a time. Between two chunks a thread waits for Python's lock, so that there are few."""
CHECKPOINT_MANIFEST = "manifest.json"

CHOOSE_ANOTHER = "Choose a folder with config.json, *.safetensors weights and a tokenizer."


def check_model_folder(path: Path) -> None:
    """Look at ``path`` without loading anything from it; return when it is a complete folder of plain data.

    Raises:
        ModelFolderError: the folder is missing, incomplete, holds only pickles, or carries code.
    """
    if not path.exists():
        raise ModelFolderError(f"There is no model folder at {path}.", "Choose a folder that exists.")
    if not path.is_dir():
        raise ModelFolderError(f"{path} is a file, not a model folder.", "Choose the folder that the file lies in.")
    if not (path / "config.json").is_file():
        raise ModelFolderError(f"The folder {path} has no config.json, so it is not a model.", CHOOSE_ANOTHER)
    for name in ("config.json", "tokenizer_config.json"):
        if "auto_map" in _settings(path / name):
            raise ModelFolderError(
                f"The model in {path} wants to run code of its own ({name} has auto_map).",
                "Choose a model that needs no code of its own; this program never runs a model's code.",
            )
    if code := sorted(p.name for p in path.glob("*.py")):
        raise ModelFolderError(
            f"The folder {path} carries code ({', '.join(code)}).",
            "Choose a model that needs no code of its own; this program never runs a model's code.",
        )
    if not any(path.glob("*.safetensors")):
        if any(found for pattern in PICKLES for found in path.glob(pattern)):
            raise ModelFolderError(
                f"The weights in {path} are pickled, and opening a pickle can run whatever is hidden in it.",
                "Choose a copy of the model whose weights are *.safetensors files.",
            )
        raise ModelFolderError(f"The folder {path} has no weights (*.safetensors).", CHOOSE_ANOTHER)
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise ModelFolderError(f"The folder {path} has no tokenizer.", "Save the tokenizer into the same folder.")


def hash_model_folder(path: Path) -> str:
    """SHA-256, in hex, over config.json, tokenizer.json and the weights: names, sizes and bytes, sorted by name.

    Raises:
        OSError: a file could not be read.
    """
    names = {"config.json", "tokenizer.json"} | {p.name for p in path.glob("*.safetensors")}
    whole = hashlib.sha256()
    for file in sorted(path / name for name in names):
        if file.is_file():
            # The size marks where a file ends, so bytes cannot wander from one file into the next unseen.
            whole.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    whole.update(chunk)
    return whole.hexdigest()


def holds_checkpoint(folder: Path) -> bool:
    """Whether a run's folder has a checkpoint that was written to its end; its hashes are looked at when it is read."""
    return any(path.parent.name.isdigit() for path in folder.glob(f"*/{CHECKPOINT_MANIFEST}"))


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(f"{file} is not valid JSON: {error}.", "Download or copy the model again.") from error
    if not isinstance(read, dict):
        raise ModelFolderError(f"{file} does not hold a model's settings.", "Download or copy the model again.")
    return read
