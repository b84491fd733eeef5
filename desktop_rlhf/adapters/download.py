"""Fetching a base model by its Hugging Face id, once, when a person asks for it and there is a network."""

from __future__ import annotations

import os
import re
from pathlib import Path

from desktop_rlhf.adapters.folders import check_model_folder
from desktop_rlhf.records.errors import ModelFolderError
from desktop_rlhf.settings import data_path

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WANTED = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


def is_model_id(base_model: str) -> bool:
    """Whether this reads as ``organisation/name`` and is no folder here."""
    return _ID.fullmatch(base_model) is not None and not Path(base_model).expanduser().exists()


def downloaded(base_model: str) -> str:
    """A local folder as it is; a Hugging Face id as the local folder its files were downloaded to.

    Only plain data is fetched: no pickle and no code. This is the one place that goes to the network, and a folder that
    was fetched before is used without it.

    Raises:
        ModelFolderError: neither a folder nor an id, or it could not be fetched.
    """
    if not is_model_id(base_model):
        return base_model
    target = data_path() / "models" / base_model.replace("/", "--")
    if not target.exists():
        from huggingface_hub import constants, snapshot_download

        offline = os.environ.pop("HF_HUB_OFFLINE", None)
        try:
            constants.HF_HUB_OFFLINE = False
            part = target.with_name(target.name + ".part")
            snapshot_download(base_model, local_dir=part, allow_patterns=_WANTED)
            check_model_folder(part)
            os.replace(part, target)
        except ModelFolderError:
            raise
        except Exception as error:  # the library raises many kinds, all of them mean the same to a person
            why = (str(error) or repr(error)).splitlines()[0]
            raise ModelFolderError(
                f"“{base_model}” could not be downloaded: {why}.",
                "Check the name and the network, or choose a local folder.",
            ) from error
        finally:
            if offline is not None:
                os.environ["HF_HUB_OFFLINE"] = offline
            constants.HF_HUB_OFFLINE = offline is not None
    return str(target)
