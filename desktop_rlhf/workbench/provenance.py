"""What a run was made with, so that it can be made again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence

import torch

from desktop_rlhf import __version__
from desktop_rlhf.adapters.devices import in_words
from desktop_rlhf.adapters.libraries import peft, transformers
from desktop_rlhf.adapters.processor import processor
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.records.project import ProjectInfo


def provenance(info: ProjectInfo, learned_ids: Sequence[str], model: ResidentModel) -> dict[str, object]:
    """Versions, hashes and the machine's part, by name; ``learned_ids`` are of the judgements or prompts to learn from.

    The reward model that a run learns from is in the run's own row.
    """
    data = hashlib.sha256("\n".join(learned_ids).encode()).hexdigest()
    return {
        "desktop_rlhf": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "base_model": info.base_model,
        "base_sha256": info.base_sha256,
        "data_sha256": data,
        "threads": torch.get_num_threads(),
        "few_rows": model.few_go_by,
        "processor": processor(),
        "device": in_words(model.device),
        "dtype": model.dtype,
    }
