"""Where the base model of a project lies on this machine."""

from __future__ import annotations

from pathlib import Path

from desktop_rlhf.settings import STARTER_MODEL_NAME, starter_model_path


def base_model_folder(base_model: str) -> Path:
    """The folder of a project's base; the starter model is stored by name, so that the data folder may move."""
    return starter_model_path() if base_model == STARTER_MODEL_NAME else Path(base_model).expanduser()
