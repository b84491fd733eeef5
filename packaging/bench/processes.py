"""Measured processes: started one at a time, in the environment they need, and what they said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from desktop_rlhf.adapters.precision import OF_THE_LIBRARY

ROOT = Path(__file__).parents[2]
TOLD = 6  # last lines of a failed process that are passed on


class ProcessFailedError(Exception):
    """A measured process did not measure; the sentence says why."""


@dataclass(frozen=True)
class Measured:
    """What one process said of its work.

    Attributes:
        items:   pairs, episodes or tokens in ``seconds``.
        peak_mb: its highest resident memory, in a million bytes, imports included.
        setting: how it worked.
    """

    seconds: float
    items: float
    peak_mb: float
    setting: str

    @property
    def rate(self) -> float:
        return self.items / self.seconds


def python_of(environment: str) -> Path:
    """The Python that runs this, for ``own``; that of ``parity`` or ``bench`` in the checkout."""
    if environment == "own":
        return Path(sys.executable)
    folder = {"parity": ".venv-parity", "bench": ".venv-bench"}[environment]
    return ROOT / folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def said(command: Sequence[str | Path], folder: Path) -> dict[str, Any]:
    """Run a command in ``folder`` with this checkout on its path, and give its last line of JSON.

    Raises:
        ProcessFailedError: it is not there, failed, or said nothing.
    """
    path = os.pathsep.join([str(ROOT / "packaging"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # What the program sets for its own process is not the peer's; what a person set is everybody's.
    inherited = {name: value for name, value in os.environ.items() if OF_THE_LIBRARY.get(name) != value}
    environ = inherited | {"PYTHONPATH": path, "TRL_EXPERIMENTAL_SILENCE": "1"}
    try:
        ended = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    except OSError as error:
        raise ProcessFailedError(f"{command[0]} could not be started: {error.strerror}.") from None
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    if ended.returncode or not lines:
        end = "\n".join((ended.stderr or ended.stdout).strip().splitlines()[-TOLD:])
        raise ProcessFailedError(f"exit code {ended.returncode}. {end}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def measured(command: Sequence[str | Path], folder: Path, inputs: Mapping[str, Any]) -> Measured:
    """Run a command on ``inputs``, which it gets as a file; see ``said``."""
    file = folder / "inputs.json"
    file.write_text(json.dumps(inputs), encoding="utf-8")
    return Measured(**said([*command, file], folder))
