"""Curves of stored runs: short ones are there at once, long ones a piece at a time, and never those of another run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from desktop_rlhf.gui.curves import reader as reading
from desktop_rlhf.gui.curves.live_run import LiveRun
from desktop_rlhf.gui.curves.reader import CurveReader
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.messages import RunSaid

STEPS = 25
NAMES = tuple(metric.name for metric in DpoSpec.metrics)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    """A run of 25 steps is a long one, and one of two steps a short one."""
    monkeypatch.setattr(reading, "PIECE", 10)
    monkeypatch.setattr(reading, "AT_ONCE", 2 * len(NAMES) + 1)


@pytest.fixture
def runs(project):
    """Two long runs and a short one, whose values tell them apart."""
    store = Store.open(project.path / STORE_FILE)
    for run_id, steps, value in (("long", STEPS, 1.0), ("other", STEPS, 2.0), ("short", 2, 3.0)):
        store.runs.add(Run(run_id, "dpo", {}, None, None, {}, {}))
        store.runs.record(run_id, [MetricPoint(step, name, value) for name in NAMES for step in range(steps)])
        store.runs.end(run_id, RunStatus.COMPLETED)
    store.close()
    return project


@pytest.fixture
def live(qtbot, engine, runs):
    made = LiveRun(engine)
    qtbot.addWidget(made)
    made.show()
    return made


def curves(live):
    return {name: live.board.series(name).values.tolist() for name in NAMES}


def wait_read(qtbot, live):
    qtbot.waitUntil(lambda: not live.board.reading)


def test_that_the_pieces_make_the_curves_that_are_stored(qtbot, runs):
    store = Store.open(runs.path / STORE_FILE)
    store.runs.record("long", [MetricPoint(3, "loss", math.nan), MetricPoint(12, "loss", -math.inf)])
    store.close()
    reader = CurveReader()
    found = {}
    reader.read.connect(lambda name, points: found.update({name: points}))
    with qtbot.waitSignal(reader.done):
        reader.start(runs, "long", NAMES)
    stored = runs.metrics("long")
    assert list(found) == list(NAMES)
    for name in NAMES:
        assert np.array_equal(found[name], np.array(stored[name], dtype=float), equal_nan=True)


def test_that_a_short_run_is_there_at_once(live, runs):
    live.show_stored(runs, runs.run("short"), DpoSpec)
    assert not live.board.reading
    assert curves(live) == {name: [3.0] * 2 for name in NAMES}


def test_that_a_long_run_leaves_the_window_its_turn_and_comes_whole(qtbot, live, runs):
    live.show_stored(runs, runs.run("long"), DpoSpec)
    assert live.board.reading
    assert [] in curves(live).values()
    wait_read(qtbot, live)
    assert curves(live) == {name: [1.0] * STEPS for name in NAMES}


@pytest.mark.parametrize(("run_id", "expected"), [("other", [2.0] * STEPS), ("short", [3.0] * 2)])
def test_that_the_curves_are_those_of_the_run_that_was_chosen_last(qtbot, live, runs, run_id, expected):
    live.show_stored(runs, runs.run("long"), DpoSpec)
    live.show_stored(runs, runs.run(run_id), DpoSpec)
    assert all(values in ([], expected) for values in curves(live).values())
    wait_read(qtbot, live)
    qtbot.wait(20)  # what the reading of the first run left behind would come now
    assert curves(live) == {name: expected for name in NAMES}


def test_that_steps_taken_while_the_curves_are_read_come_after_them(qtbot, live, runs):
    live.resume(runs, runs.run("long"), DpoSpec)
    assert live.board.reading
    live.take_news(RunSaid("long", StepTaken(STEPS, 2 * STEPS, {"loss": 9.0})))
    wait_read(qtbot, live)
    assert curves(live)["loss"] == [1.0] * STEPS + [9.0]


def test_that_a_new_run_gets_no_curves_of_the_one_that_was_being_read(qtbot, live, runs):
    live.show_stored(runs, runs.run("long"), DpoSpec)
    live.begin("job", DpoSpec)
    qtbot.wait(20)
    assert not live.board.reading
    assert not any(curves(live).values())
