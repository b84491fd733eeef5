"""The window and the command line must be up before the model libraries are read from disk, which takes seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHALLOW = ["gui", "cli", "store", "comparisons", "prompts", "runs", "settings", "records", "__main__"]
LOOK = """
import importlib, pkgutil, sys
top = importlib.import_module("desktop_rlhf." + sys.argv[1])
for found in pkgutil.walk_packages(getattr(top, "__path__", ()), top.__name__ + "."):
    importlib.import_module(found.name)
print(*sorted({"torch", "transformers", "peft", "safetensors", "tokenizers"} & set(sys.modules)))
"""


@pytest.mark.parametrize("package", SHALLOW)
def test_that_importing_all_of_it_brings_in_no_model_library(package: str):
    looked = subprocess.run([sys.executable, "-c", LOOK, package], capture_output=True, text=True)
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.split() == []


READ_AHEAD = """
import sys
from pathlib import Path
from desktop_rlhf.gui.bridge.libraries import read_ahead
read_ahead()
maps = Path("/proc/self/maps")
print("torch" in sys.modules, "pyqtgraph" in sys.modules)
print("libtorch_python" in maps.read_text() if maps.exists() else True)
import torch
print(torch.ones(2).sum().item())
"""


def test_that_torch_is_linked_before_it_is_imported_and_works_after() -> None:
    looked = subprocess.run([sys.executable, "-c", READ_AHEAD], capture_output=True, text=True)
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.split() == ["False", "True", "True", "2.0"]
