"""Whether the starter model stands where set-up puts it. Reads files only, no torch."""

from __future__ import annotations

import json

from desktop_rlhf.settings import starter_model_path

MANIFEST_FILE = "manifest.json"


def starter_model_ready() -> bool:
    """True when the starter model's manifest is there and every file it names has the size it names.

    Sizes only: this is asked each time the window opens, and set-up has compared the hashes once.
    """
    folder = starter_model_path()
    try:
        files = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]
        return bool(files) and all((folder / name).stat().st_size == entry["size"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
