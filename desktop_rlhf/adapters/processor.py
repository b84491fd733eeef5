"""Of which kind this computer's processor is: how fast products are, and their last bits, may differ among kinds."""

from __future__ import annotations

import platform
from contextlib import suppress
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
KIND = ("vendor_id", "cpu family", "model", "model name")
"""What that file says of a processor's kind. Linux has it, where Python often knows no more than its architecture."""


def processor() -> str:
    """The kind in words, as far as the system tells it, and the widest instructions that torch uses there."""
    told = [platform.machine(), platform.processor(), torch.backends.cpu.get_cpu_capability()]
    with suppress(OSError):
        first, _, _ = CPUINFO.read_text().partition("\n\n")
        lines = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
        kind = {name.strip(): value.strip() for name, value in lines.items()}
        told += [kind[name] for name in KIND if name in kind]
    return " ".join(word for word in told if word)
