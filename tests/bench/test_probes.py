"""The benchmark's probes: what each of their figures counts, and what it leaves out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bench import rows
from bench.plan import PROBES
from bench.probes import long_run
from bench.probes.estimate import ALL_PROGRESS, Heard, by_stage, carried_out, differences
from bench.probes.figures import spread as quantiles
from bench.probes.labelling import Part, Seen, part, slower, summary
from bench.probes.lateness import with_swallowed
from bench.probes.session import Keys, prepared
from bench.probes.soak import growth, least_squares
from bench.probes.soak import summary as soak_summary
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.events import Planned
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.estimated import Estimate
from desktop_rlhf.workbench.messages import JobEnded, JobProgressed, JobStarted, RunSaid, StartRun


def test_that_a_late_tick_counts_for_those_that_it_swallowed():
    assert with_swallowed([0.5, 40.0, 16.0, 17.0], every_ms=16) == [0.5, 40.0, 24.0, 8.0, 16.0, 17.0, 1.0]


def test_that_holds_of_the_window_show_in_the_p99_and_leave_the_highest_as_it_is():
    """35 holds in a minute of ticks: 9 % of the time, and less than 1 % of the ticks that came."""
    ticks = [0.1] * 3700 + [150.0] * 35
    assert quantiles(ticks)["p99"] < 1
    assert quantiles(with_swallowed(ticks))["p99"] > 100
    assert quantiles(with_swallowed(ticks))["max"] == 150


def test_that_a_key_waits_until_another_pair_is_painted():
    keys, first, second = Keys(), object(), object()
    assert keys.press(1.0, first)
    keys.painted(1.1, first)
    keys.painted(1.2, None)
    assert keys.waits_ms == []
    keys.painted(1.5, second)
    keys.painted(1.6, second)
    assert keys.waits_ms == [pytest.approx(500)]


def test_that_keys_that_are_not_pressed_are_counted_and_one_that_waits_at_the_end_is_not_lost():
    keys, pair = Keys(), object()
    assert not keys.press(1.0, None)
    assert keys.press(2.0, pair)
    assert not keys.press(3.0, pair)
    assert not keys.press(4.0, None)
    keys.end(5.0)
    keys.end(6.0)
    assert keys.waits_ms == [pytest.approx(3000)]
    assert (keys.nothing_shown, keys.too_early) == (1, 2)


class Pretended:
    """A labeller beside a run that does a pass each second, of which its engine's thread works for half."""

    def __init__(self) -> None:
        self.clock = 100.0
        self.pressed_at: list[float] = []
        self.seen: list[Seen] = []

    def press(self) -> None:
        self.pressed_at.append(self.clock - 100)

    def live(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.clock += 1
            self.seen.append(Seen(self.clock, self.clock, self.clock / 2))


def test_that_labels_come_evenly_by_the_clock():
    labeller = Pretended()
    assert part(labeller, 4, 40.0) == Part(True, 60, 120)
    assert labeller.pressed_at == [0, 10, 20, 30]
    assert labeller.clock == 140
    assert part(labeller, 0, 25.0) == Part(False, 60, 120)
    assert labeller.clock == 165


def test_that_labelling_is_held_against_the_parts_on_both_sides_by_the_clock():
    """The computer becomes slower and slower, and with labels a run is slower by 20 % by the clock."""
    clock, engine = [100, 72, 80, 56, 60, 40, 40], [100, 90, 100, 90, 100, 85, 100]
    parts = [Part(place % 2 == 1, *rates) for place, rates in enumerate(zip(clock, engine, strict=True))]
    found = summary(parts)
    assert (found["ours"], found["rounds"]) == (20, [20, 20, 20])
    assert (found["by_engine"], found["rounds_by_engine"]) == (10, [10, 10, 15])
    assert slower([4, 5, 4]) == [-25]


def progress(at_s: float, stage: str) -> Heard:
    return Heard(at_s, JobProgressed("run", stage, 0.0, None))


def test_that_a_stage_has_the_time_up_to_each_of_its_news():
    """Before the first stage a run looks through its data, and after the last one it keeps what it learned."""
    other = JobStarted("run", "Training")
    heard = [
        Heard(101, other), progress(103, "writing"), progress(104, "learning"), Heard(108, other),
        progress(116, "writing"), progress(132, "learning"), Heard(164, JobEnded("run", RunStatus.COMPLETED)),
    ]  # fmt: skip
    assert by_stage(100, heard) == {"writing": 3 + 8, "learning": 1 + 4 + 16 + 32}


def test_that_an_estimate_is_held_against_every_stage_but_the_short_ones():
    found = Estimate({"writing": 30.0, "scoring": 1.0, "learning": 70.0}, peak_mb=900, held_mb=0, free_mb=0)
    took = {"writing": 60.0, "scoring": 4.0, "learning": 35.0, "saving": 6.0}
    off = differences(found, 101, took, 1000)
    assert off == {"s": 0, "mb": -10, "s, writing": -50, "s, learning": 100, "s, saving": -100}


def test_that_the_stages_of_a_real_run_are_told_apart(tiny_model_path: Path):
    heard: list[Heard] = []
    with prepared(judged=8, base_model=tiny_model_path) as project, ALL_PROGRESS:
        engine = Engine(project, lambda news: heard.append(Heard(time.perf_counter(), news)))
        engine.run_until_idle()
        done = carried_out(engine, heard, StartRun("run", "reward", {"max_length": 4096}))
        engine.close()
    (plan,) = (n.event.work for n in done.said if isinstance(n, RunSaid) and isinstance(n.event, Planned))
    assert list(done.stages_s) == [stage for stage, work in plan.items() if work]
    assert len(done.stages_s) > 1


LEVEL, STEP = 1000.0, 2.0


@pytest.mark.parametrize(
    "mb",
    [
        pytest.param([LEVEL + 0.05 * update for update in range(50)], id="all the time"),
        pytest.param([LEVEL + update // 10 * 0.5 for update in range(50)], id="step after step"),
        pytest.param([LEVEL + update * 0.05 + (-1) ** update * STEP for update in range(500)], id="up and down too"),
    ],
)
def test_that_memory_that_grows_has_a_slope(mb):
    """All of these grow by 5 MB in 100 updates."""
    assert growth(mb) == pytest.approx(5.0, abs=0.6)


@pytest.mark.parametrize(
    "mb",
    [
        pytest.param([LEVEL + STEP * (20 <= update < 28) for update in range(50)], id="a hump"),
        pytest.param([LEVEL - STEP * (update % 9 == 0) for update in range(50)], id="dips"),
    ],
)
def test_that_memory_that_comes_back_to_one_level_has_no_slope(mb):
    assert growth(mb) == 0.0


def test_that_the_first_tenth_is_not_counted():
    mb = [LEVEL + 10 * STEP * max(4 - update, 0) for update in range(50)]
    assert growth(mb) == least_squares(mb) == 0.0


def test_that_a_step_near_the_end_shows_in_the_least_squares_alone():
    mb = [LEVEL + STEP * (update >= 45) for update in range(50)]
    assert growth(mb) == 0.0
    assert least_squares(mb) > 1.0


def soaked(**mb: float) -> dict[str, Any]:
    return {"mb": [LEVEL] * 20, "kept_mb": [LEVEL] * 20, "allocated_mb": [LEVEL] * 20, "allocated_after_mb": 3, **mb}


def test_that_what_a_run_leaves_is_what_the_second_adds_without_what_is_free():
    found = soak_summary(
        {
            "before": {"mb": 100, "allocated_mb": 1},
            "first": soaked(after_mb=150, given_back_mb=110),
            "second": soaked(after_mb=170, given_back_mb=110.5),
            "garbage": 0,
        }
    )
    assert found["left_by_second_mb"] == 0.5
    assert found["left_mb"] == [50, 70]
    (soak,) = (probe for probe in PROBES if probe.name == "soak")
    told = [rows.of_figure("soak", figure, {"tiny": found, "starter": found}) for figure in soak.figures]
    assert not any(row.note for row in told)


def test_that_what_is_free_is_given_back_after_the_end_of_a_run_is_read(tiny_model_path: Path, monkeypatch):
    """What is held is played: 2 MB more at each look, and 100 MB less once all that is free was given back."""
    held = iter(range(0, 1000, 2))
    given_back: list[int] = []
    monkeypatch.setattr(long_run, "held_mb", lambda: next(held) - 100 * len(given_back))
    monkeypatch.setattr(long_run, "give_back", lambda: given_back.append(1))
    with prepared(judged=8, base_model=tiny_model_path) as project:
        soak = long_run.Soak(project)
        found = soak.run("reward", epochs=1, max_length=4096)
        soak.close()
    assert found["given_back_mb"] == found["after_mb"] + 2 - 100
