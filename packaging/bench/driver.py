"""How one work is measured: in turn with its peer, or by a probe. One process runs at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench import rows
from bench.inputs import spread
from bench.plan import PAIRS_PER_STEP, Plan, Probe, Setting, Work
from bench.processes import Measured, ProcessFailedError, python_of, said
from bench.rows import Row

Say: TypeAlias = Callable[[str], None]
Side: TypeAlias = Callable[[Mapping[str, Any]], Measured]
"""One of the two that take turns: from its inputs to what a process of its own measured."""


@dataclass(frozen=True)
class Pairing:
    """A work, and the two that do it.

    Attributes:
        peer:     None when ours runs alone.
        settings: the peer's, of which the fastest is measured.
    """

    work: Work
    plan: Plan
    inputs: Mapping[str, Any]
    ours: Side
    peer: Side | None
    settings: Sequence[Setting]
    say: Say

    def row(self) -> Row:
        """Try the peer's settings, then let ours and the fastest of them run in turn.

        What fails stands in the row's note; a round counts when both sides came through it.
        """
        row = rows.of_work(self.work)
        mine: list[Measured] = []
        theirs: list[Measured] = []
        try:
            if self.peer is None:
                for _ in range(self.plan.rounds):
                    mine.append(self.ours(self.inputs))
                    self.say(f"{self.work.name}: {_of_one(self.work, mine[-1])}")
            else:
                setting = self._fastest(self.peer, row)
                for _ in range(self.plan.rounds):
                    mine.append(self.ours(self.inputs))
                    theirs.append(self.peer({**self.inputs, "setting": setting}))
                    self.say(f"{self.work.name}: {_of_pair(self.work, mine[-1], theirs[-1])}")
        except ProcessFailedError as error:
            row.note = str(error)
        if mine:
            rows.fill(row, self.work, mine[: len(theirs)] or mine, theirs)
        return row

    def _fastest(self, peer: Side, row: Row) -> Setting:
        """The setting with the highest rate in a short trial; what came of each goes into the row.

        Raises:
            ProcessFailedError: all of them failed.
        """
        rates: dict[str, float] = {}
        failures: dict[str, str] = {}
        for setting in self.settings:
            name = setting["name"]
            try:
                rates[name] = peer({**self._tried_on(setting), "setting": setting}).rate
            except ProcessFailedError as error:
                failures[name] = str(error)
            outcome = failures.get(name) or f"{rates[name]:.3g} {self.work.unit} in a trial"
            self.say(f"{self.work.name}, {self.work.peer_name}, {name}: {outcome}")
        row.runs["trials"] = rates | failures
        if not rates:
            raise ProcessFailedError(f"{self.work.peer_name}: {next(iter(failures.values()))}")
        return max((one for one in self.settings if one["name"] in rates), key=lambda one: rates[one["name"]])

    def _tried_on(self, setting: Setting) -> dict[str, Any]:
        """The part of the inputs that one setting is tried on."""
        if self.work.name == "sample":
            count = max(self.plan.fewest_tried, setting["prompts"])
            return {**self.inputs, "prompts": spread(self.inputs["prompts"], count)}
        name, each = ("prompts", self.plan.episodes) if self.work.name == "ppo" else ("pairs", PAIRS_PER_STEP)
        return {**self.inputs, name: self.inputs[name][: each * (1 + self.plan.trial_steps)]}


def probed(probe: Probe, plan: Plan, folder: Path, say: Say) -> list[Row]:
    """The rows of what has no peer. A probe that is not there, or that fails, is named in the note."""
    module = f"bench.probes.{probe.name}"
    answer: dict[str, Any] = {}
    note = ""
    try:
        if not (Path(__file__).parent / "probes" / f"{probe.name}.py").exists():
            raise ProcessFailedError(f"there is no {module}")
        answer = said([python_of("own"), "-m", module, *plan.probe_options], folder)
    except ProcessFailedError as error:
        note = str(error)
    found = [rows.of_figure(probe.name, figure, answer) for figure in probe.figures]
    for row in found:
        row.note = note or row.note
        say(f"{row.work}, {row.figure}: {row.note or f'{row.ours:.4g} {row.unit}'}")
    return found


def _of_one(work: Work, mine: Measured) -> str:
    return f"{mine.rate:.3g} {work.unit}, {mine.peak_mb:.0f} MB"


def _of_pair(work: Work, mine: Measured, theirs: Measured) -> str:
    rates = f"{mine.rate:.3g} against {theirs.rate:.3g} {work.unit}, {mine.rate / theirs.rate:.2f} times"
    return f"{rates}; {mine.peak_mb:.0f} against {theirs.peak_mb:.0f} MB"
