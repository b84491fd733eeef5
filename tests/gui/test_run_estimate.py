from __future__ import annotations

import pytest

from desktop_rlhf.gui.pages.reward import RewardPage
from desktop_rlhf.gui.pages.train import TrainPage
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.estimated import Estimate
from desktop_rlhf.workbench.messages import (
    EngineFailed,
    EstimateRun,
    JobEnded,
    JobProgressed,
    JobStarted,
    RunEstimated,
    StartRun,
)

FITS = Estimate({"training": 780.0, "measuring on held-out prompts": 60.0}, 1900, 700, 14_000)
TOO_LARGE = Estimate({"training": 780.0}, 30_000, 700, 14_000)


@pytest.fixture(params=[TrainPage, RewardPage])
def page(request, qtbot, project, engine, add_group):
    for _ in range(8):
        add_group("a good one", "a bad one")
        project.save_comparison(project.next_showing(), Outcome.RANKED, (1, 2))
    made = request.param(project, engine)
    qtbot.addWidget(made)
    made.show()
    return made


def ask(page, engines) -> EstimateRun:
    page.estimate.button.click()
    command = engines[-1].commands[-1]
    assert isinstance(command, EstimateRun)
    page.take_news(JobStarted(command.job_id, "Estimating"))
    return command


def answer(page, engines, estimate: Estimate = FITS) -> str:
    command = ask(page, engines)
    page.take_news(RunEstimated(command.job_id, estimate))
    page.take_news(JobEnded(command.job_id, RunStatus.COMPLETED))
    return command.job_id


def test_that_what_is_estimated_is_what_would_be_trained(page, engines) -> None:
    page.form.set_values({"epochs": 3})
    estimated = ask(page, engines)
    page._start()
    trained = engines[-1].commands[-1]
    assert isinstance(trained, StartRun)
    assert dict(estimated.settings) == {"epochs": 3}
    for name in ("algorithm", "settings", "parent_adapter_id", "reward_adapter_id"):
        assert getattr(estimated, name) == getattr(trained, name)


def test_that_the_answer_stands_in_a_sentence_and_stays_when_the_page_is_read_again(page, engines) -> None:
    assert not page.estimate.answer.isVisible()
    answer(page, engines)
    page.refresh()
    assert page.estimate.answer.isVisible()
    assert page.estimate.answer.text() == FITS.sentence
    assert page.estimate.answer.property("role") == "hint"
    assert page.estimate.button.text() == "Estimate"


def test_that_a_run_that_will_not_fit_is_warned_of(page, engines) -> None:
    answer(page, engines, TOO_LARGE)
    assert page.estimate.answer.text().startswith("It will not fit.")
    assert page.estimate.answer.property("role") == "warn"
    answer(page, engines)
    assert page.estimate.answer.property("role") == "hint"


def test_that_progress_is_shown_while_it_is_made_and_it_can_be_left(page, engines) -> None:
    command = ask(page, engines)
    page.take_news(JobProgressed("another", "training", 0.9, None))
    page.take_news(JobProgressed(command.job_id, "training", 0.42, None))
    assert "42 %" in page.estimate.answer.text()
    assert page.estimate.button.text() == "Stop estimating"
    page.estimate.button.click()
    assert engines[-1].asked[-1] == ("stop", command.job_id)
    assert not page.estimate.answer.isVisible()
    page.take_news(JobEnded(command.job_id, RunStatus.STOPPED))
    assert page.estimate.button.text() == "Estimate"
    assert page.estimate.button.isEnabled()


def test_that_another_setting_takes_the_answer_away(page, engines) -> None:
    answer(page, engines)
    page.form.set_values({"epochs": 2})
    assert not page.estimate.answer.isVisible()


def test_that_another_setting_breaks_off_an_estimate_that_is_being_made(page, engines) -> None:
    command = ask(page, engines)
    page.form.set_values({"epochs": 2})
    assert engines[-1].asked[-1] == ("stop", command.job_id)
    page.take_news(RunEstimated(command.job_id, FITS))
    assert not page.estimate.answer.isVisible()


def test_that_training_takes_the_answer_away_and_nothing_is_estimated_meanwhile(page, engines) -> None:
    answer(page, engines)
    page._start()
    assert not page.estimate.answer.isVisible()
    assert not page.estimate.button.isEnabled()
    assert page.estimate.button.toolTip()


def test_that_why_there_is_no_estimate_is_said(page, engines) -> None:
    command = ask(page, engines)
    page.take_news(JobEnded(command.job_id, RunStatus.FAILED, "This run needs more memory.", "Set max_length to 64."))
    assert page.estimate.answer.text() == "This run needs more memory. Set max_length to 64."
    assert page.estimate.answer.property("role") == "error"


def test_that_an_engine_that_failed_leaves_no_estimate_waiting(page, engines) -> None:
    ask(page, engines)
    page.take_news(EngineFailed("It broke."))
    assert page.estimate.button.text() == "Estimate"
    assert not page.estimate.answer.isVisible()


@pytest.mark.parametrize("kind", [TrainPage, RewardPage])
def test_that_without_data_there_is_nothing_to_estimate(qtbot, empty_project, engine, kind) -> None:
    page = kind(empty_project, engine)
    qtbot.addWidget(page)
    assert not page.estimate.button.isEnabled()
    assert page.estimate.button.toolTip()


def test_that_another_algorithm_takes_the_answer_away(qtbot, project, engine, engines, add_group) -> None:
    add_group("a good one", "a bad one")
    project.save_comparison(project.next_showing(), Outcome.RANKED, (1, 2))
    page = TrainPage(project, engine)
    qtbot.addWidget(page)
    page.show()
    answer(page, engines)
    page.findChild(type(page.start), f"algorithm-{PpoSpec.name}").click()
    assert not page.estimate.answer.isVisible()
