"""The tests for a GPU, where there is none: on a device that is the CPU in disguise and bears no stray tensor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .conftest import ON_A_STAND_IN

HERE = Path(__file__).parent


def test_that_everything_that_is_tested_on_a_gpu_holds_on_a_stand_in() -> None:
    """In a process of its own: torch has to know all of its devices before its first backward pass."""
    files = [str(file) for file in (*HERE.glob("test_*.py"), HERE / "stand_in_only.py")]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *files],
        cwd=HERE.parents[1],
        env=os.environ | {ON_A_STAND_IN: "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
