"""What every measured process does: read what it is asked, and say in one line of JSON what it measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from desktop_rlhf.workbench.memory import peak_mb


def asked() -> dict[str, Any]:
    """The inputs, from the file that the process was given."""
    inputs: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return inputs


def say(seconds: float, items: float, setting: str) -> None:
    """Print what was measured, with this process's highest resident memory, imports included.

    Args:
        items: pairs, episodes or tokens that were worked through in ``seconds``.
    """
    print(json.dumps({"seconds": seconds, "items": items, "peak_mb": peak_mb(), "setting": setting}), flush=True)
