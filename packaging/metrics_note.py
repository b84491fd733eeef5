"""Write the tables of the note on metrics from what the algorithms declare.

Call it after a change: `.venv/bin/python packaging/metrics_note.py`. A table stands directly under the heading of its
algorithm; all else in the note is written by hand.
"""

from __future__ import annotations

from desktop_rlhf.runs.spec import AlgorithmSpec
from desktop_rlhf.settings import resources_path
from desktop_rlhf.workbench.algorithms import TRAINABLE

COLUMNS = ("Curve", "Unit", "What it is", "Formula", "Healthy", "If not", "Source")


def table(spec: type[AlgorithmSpec]) -> str:
    """The curves of an algorithm as a Markdown table."""
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    for m in spec.metrics:
        rows.append((f"`{m.name}`", m.unit or "–", m.sentence, m.formula, m.healthy, m.if_not or "–", m.source))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_tables(note: str) -> str:
    """The note with every table as it is declared."""
    for spec in TRAINABLE:
        heading = f"\n## {spec.title}\n\n"
        before, after = note.split(heading)
        _, below = after.split("\n\n", 1)
        note = f"{before}{heading}{table(spec)}\n\n{below}"
    return note


if __name__ == "__main__":
    path = resources_path() / "notes" / "metrics.md"
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
