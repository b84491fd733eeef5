"""The strip that shows what the engine does."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import (
    QProgressBar,
    QPushButton,
)

from desktop_rlhf.gui.widgets.job_strip import JobStrip, time_left
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.messages import (
    JobEnded,
    JobPaused,
    JobProgressed,
    JobResumed,
    JobStarted,
)

from .test_shell import click, text_of


@pytest.fixture
def strip(qtbot):
    made = JobStrip()
    qtbot.addWidget(made)
    made.show()
    return made


def test_that_the_strip_shows_the_run_rather_than_the_sampling_beside_it(strip):
    strip.take_news(JobStarted("r", "Training by DPO", "run"))
    strip.take_news(JobStarted("s", "Sampling"))
    strip.take_news(JobProgressed("s", "sampling", 0.9, 1.0))
    strip.take_news(JobProgressed("r", "epoch 1", 0.25, 600.0))
    assert text_of(strip, "job-title") == "Training by DPO"
    assert text_of(strip, "job-detail") == "epoch 1 · about 10 min left · and 1 more"
    assert strip.findChild(QProgressBar, "job-progress").value() == 250


def test_that_a_run_can_be_paused_resumed_and_stopped(strip, qtbot):
    strip.take_news(JobStarted("r", "Training", "run"))
    for news, name, signal in (
        (None, "job-pause", strip.pause),
        (JobPaused("r"), "job-pause", strip.resume),
        (JobResumed("r"), "job-pause", strip.pause),
        (None, "job-stop", strip.stop),
    ):
        if news is not None:
            strip.take_news(news)
        with qtbot.waitSignal(signal) as asked:
            click(strip, name)
        assert asked.args == ["r"]


def test_that_sampling_can_be_stopped_but_not_paused(strip):
    strip.take_news(JobStarted("s", "Sampling"))
    assert strip.findChild(QPushButton, "job-pause").isHidden()
    assert not strip.findChild(QPushButton, "job-stop").isHidden()


def test_that_the_strip_says_how_a_job_ended(strip):
    strip.take_news(JobStarted("r", "Training", "run"))
    strip.take_news(JobEnded("r", RunStatus.STOPPED, run_id="run", adapter_id="made"))
    assert text_of(strip, "job-title") == "Training: stopped; what it learned is kept."
    assert not strip.training


@pytest.mark.parametrize("run_id", [None, "run"])
def test_that_the_strip_promises_nothing_of_a_stopped_job_that_left_nothing(strip, run_id):
    strip.take_news(JobStarted("e", "Estimating", run_id))
    strip.take_news(JobEnded("e", RunStatus.STOPPED, run_id=run_id))
    assert text_of(strip, "job-title") == "Estimating: stopped."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (5, "less than a minute left"), (90, "about 2 min left"), (3 * 3600, "about 3.0 h left")],
)
def test_that_time_left_is_said_roughly(seconds, words):
    assert time_left(seconds) == words
