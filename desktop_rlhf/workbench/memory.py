"""How much memory the process holds and held at most, and how much there is.

All of it is in MB of a million bytes, of the device that is asked about: on CUDA of the card, which has a memory of its
own; elsewhere, and where none is named, of the computer, as resident memory. It is 0 where the system does not tell.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever asks about the computer alone needs no torch
    import torch

STATUS = Path("/proc/self/status")


def has_its_own(device: torch.device | None) -> bool:
    """Whether a device has memory of its own that can be counted."""
    return device is not None and device.type == "cuda"


def reset_peak(device: torch.device | None = None) -> None:
    """Begin a new measurement where the system can (Linux, CUDA); elsewhere the peak is that of the whole process."""
    if has_its_own(device):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mb(device: torch.device | None = None) -> float:
    """What was held at its highest."""
    if has_its_own(device):
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e6
    if (peak := _read("/proc/self/status", "VmHWM")) is not None:
        return peak
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def held_mb(device: torch.device | None = None) -> float:
    """What is held now."""
    if has_its_own(device):
        import torch

        return torch.cuda.memory_allocated(device) / 1e6
    return _read("/proc/self/status", "VmRSS") or 0.0


def free_mb(device: torch.device | None = None) -> float:
    """What may be taken beside it without swapping."""
    if has_its_own(device):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)) / 1e6
    return _read("/proc/meminfo", "MemAvailable") or 0.0


def _read(file: str, name: str) -> float | None:
    """A line of one of Linux's own files, in MB."""
    if not Path(file).exists():
        return None
    line = next(line for line in Path(file).read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6
