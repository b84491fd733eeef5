"""From measurements to the rows of the report; a ratio above 1 always means that ours is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.plan import Figure, Work
from bench.processes import Measured


@dataclass
class Row:
    """One line of the report; what could not be measured is None.

    Attributes:
        figure:       what was measured: a work or a probe may have several rows, each with a figure of its own.
        unit:         of ``ours`` and ``peer``; ``better`` says which way is better.
        ratio:        median over the rounds of ours / peer where higher is better.
        memory_ratio: the same of the peer's peak memory / ours.
        goal:         of ``ratio`` where ours ran beside a peer, of ``ours`` in a probe; a work that ran alone has none.
        met:          whether every goal is reached.
        note:         why something is missing.
        runs:         every single measurement.
    """

    work: str
    figure: str
    unit: str
    better: str
    goal: float | None = None
    memory_goal: float | None = None
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    memory_ours_mb: float | None = None
    memory_peer_mb: float | None = None
    memory_ratio: float | None = None
    met: bool | None = None
    peer_name: str | None = None
    setting_ours: str | None = None
    setting_peer: str | None = None
    note: str = ""
    runs: dict[str, Any] = field(default_factory=dict)


def of_work(work: Work) -> Row:
    """A row that nothing is known of yet."""
    return Row(work.name, "rate", work.unit, "higher", peer_name=work.peer_name)


def fill(row: Row, work: Work, ours: Sequence[Measured], peer: Sequence[Measured]) -> None:
    """Write medians into a row, of as many rounds as there are; ``peer`` is as long as ``ours`` or empty.

    The work's goals are of ratios, so they go in with the peer.
    """
    row.ours, row.memory_ours_mb = median(one.rate for one in ours), median(one.peak_mb for one in ours)
    row.setting_ours = ours[0].setting
    row.runs |= {"ours": [vars(one) for one in ours], "peer": [vars(one) for one in peer]}
    if not peer:
        return
    pairs = list(zip(ours, peer, strict=True))
    row.peer, row.memory_peer_mb = median(one.rate for one in peer), median(one.peak_mb for one in peer)
    row.setting_peer = peer[0].setting
    row.ratio = median(mine.rate / other.rate for mine, other in pairs)
    row.memory_ratio = median(other.peak_mb / mine.peak_mb for mine, other in pairs)
    row.goal, row.memory_goal = work.goal, work.memory_goal
    row.met = row.ratio >= work.goal and (work.memory_goal is None or row.memory_ratio >= work.memory_goal)


def of_figure(name: str, figure: Figure, said: Mapping[str, Any]) -> Row:
    """A row without a peer: one figure of what a probe said, all of which is kept with it."""
    row = Row(name, figure.name, figure.unit, "lower", figure.goal, runs={"said": said})
    found: Any = said
    for part in figure.place:
        found = found.get(part) if isinstance(found, Mapping) else None
    if found is None:
        row.note = f"the probe does not say {'.'.join(figure.place)}"
    else:
        row.ours = float(found)
        row.met = row.ours <= figure.goal
    return row
