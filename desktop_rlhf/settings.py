"""Where things live on this machine, and the settings of the program itself."""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

import platformdirs

STARTER_MODEL_NAME = "SmolLM2-135M-Instruct"
LARGEST_LOG = 1_000_000  # bytes, and as much again of what was before


def data_path() -> Path:
    """The user's data folder: models, what was tried, which projects were open and, by default, projects.

    ``DESKTOP_RLHF_DATA`` moves it.
    """
    moved = os.environ.get("DESKTOP_RLHF_DATA")
    return Path(moved) if moved else Path(platformdirs.user_data_dir("desktop_rlhf", appauthor=False))


def starter_model_path() -> Path:
    """Where set-up puts the starter model."""
    return data_path() / "models" / STARTER_MODEL_NAME


def tried_path() -> Path:
    """The folder of what was found by trial on this computer; without it, it is tried again."""
    return data_path() / "tried"


def log_path() -> Path:
    """What the program says of itself: which device, format and ways of computing it takes, and why."""
    return data_path() / "log.txt"


def projects_path() -> Path:
    """Where new projects are proposed to go."""
    return data_path() / "projects"


def recent_path() -> Path:
    """The file that lists the projects that were open last."""
    return data_path() / "recent.ini"


def resources_path() -> Path:
    """The folder of what the program ships, in a checkout, an installed wheel and a bundle alike."""
    bundle = getattr(sys, "_MEIPASS", None)
    package = Path(__file__).resolve().parent
    places = [Path(bundle) / "resources"] if bundle else [package / "resources", package.parent / "resources"]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"the program's resources are missing; looked in {', '.join(map(str, places))}")


def asked_device() -> str:
    """``auto``, or the device that ``DESKTOP_RLHF_DEVICE`` names: ``cpu``, ``cuda`` or ``mps``."""
    return os.environ.get("DESKTOP_RLHF_DEVICE", "").strip().lower() or "auto"


def go_offline() -> None:
    """Tell the model libraries to ask no network; to be called before any of them is imported."""
    for name in (
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_DATASETS_OFFLINE",
        "HF_HUB_DISABLE_TELEMETRY",
        "DO_NOT_TRACK",
    ):
        os.environ[name] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # what MPS lacks is done by the CPU


def keep_log() -> None:
    """Let what the program says of itself go into a file, and warnings to whoever started it too.

    Where the file cannot be written only the warnings are seen.
    """
    logger = logging.getLogger("desktop_rlhf")
    for before in list(logger.handlers):
        logger.removeHandler(before)
        before.close()
    logger.setLevel(logging.INFO)
    if logging.lastResort is not None:  # Python's own, for warnings, which it leaves out where there is another
        logger.addHandler(logging.lastResort)
    try:
        log_path().parent.mkdir(parents=True, exist_ok=True)
        kept = RotatingFileHandler(log_path(), maxBytes=LARGEST_LOG, backupCount=1, encoding="utf-8")
    except OSError as error:
        logger.warning("no log is kept: %s", error)
        return
    kept.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(kept)
