"""How much memory the process holds and held at most, and how much there is."""

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
    if (peak := _read("/proc/self/status", "VmHWM")) is not None:
        return peak
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def resident_mb() -> float:
    """Resident memory now, in MB of a million bytes; 0 where the system does not tell."""
    return _read("/proc/self/status", "VmRSS") or 0.0


def free_mb() -> float:
    """What may be taken beside it without swapping, in MB of a million bytes; 0 where the system does not tell."""
    return _read("/proc/meminfo", "MemAvailable") or 0.0


def _read(file: str, name: str) -> float | None:
    """A line of one of Linux's own files, in MB."""
    if not Path(file).exists():
        return None
    line = next(line for line in Path(file).read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6
