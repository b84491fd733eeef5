"""What a benchmark found, as a table for the eye and as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from bench.processes import ROOT
from bench.rows import Row
from desktop_rlhf.adapters.processor import processor

HEAD = ("work", "figure", "ours", "peer", "unit", "ratio", "goal", "MB ours", "MB peer", "ratio", "goal", "met")


def table(rows: Sequence[Row]) -> str:
    """Columns in line; below them what the peer was and why something is missing."""
    cells = [HEAD, *map(_cells, rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    for row in rows:
        if row.setting_peer:
            lines.append(f"{row.work}: {row.peer_name}, {row.setting_peer}; ours in {row.setting_ours}.")
        if row.note:
            lines.append(f"{row.work}, {row.figure}: {row.note}")
    return "\n".join(lines)


def write(rows: Sequence[Row], path: Path) -> None:
    """The rows, and what they hang on: the code that was measured and the machine that it ran on."""
    code = {"commit": git("rev-parse", "HEAD"), "changed_since": bool(git("diff", "--name-only", "HEAD"))}
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "versions": {"Python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "peft")},
    }
    found = {"code": code, "machine": machine, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def git(*arguments: str) -> str | None:
    """What git says of this checkout; None where there is no git, or no checkout of it."""
    try:
        ended = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return None if ended.returncode else ended.stdout.strip()


def _cells(row: Row) -> tuple[str, ...]:
    sign = "≥" if row.better == "higher" else "≤"
    goal = "" if row.goal is None else f"{sign} {row.goal:g}"
    memory_goal = f"≥ {row.memory_goal:g}" if row.memory_goal else ""
    met = {True: "yes", False: "no", None: ""}[row.met]
    numbers = [_number(value) for value in (row.ours, row.peer, row.ratio)]
    memory = [_number(value) for value in (row.memory_ours_mb, row.memory_peer_mb, row.memory_ratio)]
    ours, peer, ratio = numbers
    return (row.work, row.figure, ours, peer, row.unit, ratio, goal, *memory, memory_goal, met)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
