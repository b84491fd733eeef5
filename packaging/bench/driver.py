"""One benchmark from its first process to its rows. One process runs at a time."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import rows
from bench.inputs import spread
from bench.plan import PAIRS_PER_STEP, Plan, Probe, Setting, Work
from bench.processes import Measured, ProcessFailedError, measured, python_of, said
from bench.rows import Row

Say = Callable[[str], None]


class Side:
    """One of the two that take turns: a command, and where it works.

    Args:
        command: without the file of inputs, which goes behind it.
    """

    def __init__(self, command: Sequence[str | Path], folder: Path) -> None:
        self._command = command
        self._folder = folder

    def __call__(self, inputs: Mapping[str, Any]) -> Measured:
        return measured(self._command, inputs, self._folder)


def compare(
    work: Work,
    plan: Plan,
    inputs: Mapping[str, Any],
    ours: Side,
    peer: Side | None,
    settings: Sequence[Setting],
    say: Say,
) -> Row:
    """The row of a paired work: the peer's settings in a short trial each, then ours and the fastest of them in turn.

    What fails stands in the row's note; a round counts when both sides came through it.
    """
    row = rows.of_work(work)
    setting = fastest(work, plan, inputs, peer, settings, row, say) if peer else None
    if setting is None:
        peer = None
    mine: list[Measured] = []
    theirs: list[Measured] = []
    try:
        for number in range(plan.rounds):
            mine.append(ours(inputs))
            if peer is None:
                say(f"{work.name} {number + 1}: {mine[-1].rate:.3g} {work.unit}, {mine[-1].peak_mb:.0f} MB")
                continue
            theirs.append(peer({**inputs, "setting": setting}))
            say(f"{work.name} {number + 1}: {_of_pair(work, mine[-1], theirs[-1])}")
    except ProcessFailedError as error:
        row.note = str(error)
    if peer is not None:
        mine = mine[: len(theirs)] or mine
    if mine:
        rows.fill(row, mine, theirs)
    return row


def fastest(
    work: Work, plan: Plan, inputs: Mapping[str, Any], peer: Side, settings: Sequence[Setting], row: Row, say: Say
) -> Setting | None:
    """The setting with the highest rate in a short trial; None when every one failed. All rates go into the row."""
    rates: dict[str, float] = {}
    for setting in settings:
        try:
            rates[setting["name"]] = peer({**tried_on(work, plan, inputs, setting), "setting": setting}).rate
            say(
                f"{work.name}, {work.peer_name}, {setting['name']}: {rates[setting['name']]:.3g} {work.unit} in a trial"
            )
        except ProcessFailedError as error:
            row.note = f"{work.peer_name} with {setting['name']}: {error}"
            say(f"{work.name}, {row.note}")
    row.runs["trials"] = rates
    return max((one for one in settings if one["name"] in rates), key=lambda one: rates[one["name"]], default=None)


def tried_on(work: Work, plan: Plan, inputs: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
    """The part of the inputs that one setting is tried on."""
    if work.name == "sample":
        return {**inputs, "prompts": spread(inputs["prompts"], max(plan.fewest_tried, setting["prompts"]))}
    name, each = ("prompts", plan.episodes) if work.name == "ppo" else ("pairs", PAIRS_PER_STEP)
    return {**inputs, name: inputs[name][: each * (1 + plan.trial_steps)]}


def probed(probe: Probe, plan: Plan, folder: Path, say: Say) -> list[Row]:
    """The rows of what has no peer. A probe that is not there, or that fails, is named in the note."""
    module = f"bench.probes.{probe.name}"
    answers: list[dict[str, Any]] = []
    note = ""
    if importlib.util.find_spec(module) is None:
        note = f"there is no {module}"
    else:
        try:
            for _ in range(plan.rounds if probe.repeated else 1):
                answers.append(said([python_of("own"), "-m", module, *plan.probe_options], folder))
        except ProcessFailedError as error:
            note = str(error)
    found = [rows.of_figure(probe.name, figure, answers) for figure in probe.figures]
    for row in found:
        row.note = note or row.note
        say(f"{row.work}: {row.note or f'{row.ours:.4g} {row.unit}'}")
    return found


def _of_pair(work: Work, mine: Measured, theirs: Measured) -> str:
    rates = f"{mine.rate:.3g} against {theirs.rate:.3g} {work.unit}, {mine.rate / theirs.rate:.2f} times"
    return f"{rates}; {mine.peak_mb:.0f} against {theirs.peak_mb:.0f} MB"
