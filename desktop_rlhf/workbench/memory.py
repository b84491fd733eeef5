"""How much memory the process holds, and held at most."""

from __future__ import annotations

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def reset_peak() -> None:
    """Begin a new measurement where the system can (Linux); elsewhere the peak is that of the whole process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mb() -> float:
    """Resident memory at its highest, in MB of a million bytes; 0 where the system does not tell."""
    if STATUS.exists():
        return _said("VmHWM")
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def resident_mb() -> float:
    """Resident memory now, in MB of a million bytes; 0 where the system does not tell (elsewhere than on Linux)."""
    return _said("VmRSS") if STATUS.exists() else 0.0


def _said(name: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6
