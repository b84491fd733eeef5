from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLabel

from desktop_rlhf.gui.curves.held_out import HeldOut
from desktop_rlhf.gui.pages.reward import RewardPage
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.records.verdicts import wilson
from desktop_rlhf.reward.spec import FEWEST_COMPARISONS, RewardSpec
from desktop_rlhf.runs.events import Noted, StepTaken
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.messages import JobEnded, JobProgressed, JobStarted, RunSaid
from desktop_rlhf.workbench.project import STORE_FILE


def report_of(right: int, n: int, longer: float = 0.5) -> dict[str, object]:
    accuracy = wilson(right, n)
    return {
        "held_out_accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high, "n": n,
        "longer_wins": longer, "shorter_wins": 1 - longer,
        "scores_chosen": [1.0, 0.5] * n, "scores_rejected": [-1.0, 0.0] * n,
    }  # fmt: skip


@pytest.fixture
def judge(project, add_group):
    def judged(count: int) -> None:
        for _ in range(count):
            add_group("a good one", "a bad one")
            project.save_comparison(project.next_showing(), Outcome.RANKED, (1, 2))

    return judged


@pytest.fixture
def add_run(project):
    """Stores an ended reward run with one point and the adapter it made."""

    def add(run_id: str, report: dict[str, object], status: RunStatus = RunStatus.COMPLETED) -> None:
        store = Store.open(project.path / STORE_FILE)
        store.runs.add(Run(run_id, RewardSpec.name, RewardSpec().as_settings(), None, None, (), {}))
        store.runs.record(run_id, [MetricPoint(1, "loss", 0.7)], (), ["a note"])
        store.runs.end(run_id, status, report=report)
        path = f"adapters/{run_id}"
        store.adapters.add(Adapter(f"of-{run_id}", "reward 1", AdapterKind.REWARD, None, run_id, path, "0" * 64))
        store.close()

    return add


@pytest.fixture
def page(qtbot, project, engine):
    made = RewardPage(project, engine)
    qtbot.addWidget(made)
    made.show()
    return made


def begin(page, engines):
    """Start a run by the button and give its job id and the command."""
    page.train.click()
    command = engines[-1].commands[-1]
    page.take_news(JobStarted(command.job_id, "Training", "run"))
    return command


def test_that_too_few_comparisons_are_explained_and_labelling_is_offered(qtbot, page, judge):
    judge(3)
    page.refresh()
    assert "3 comparisons" in page.data.text()
    assert str(FEWEST_COMPARISONS - 3) in page.why_not.text()
    assert not page.train.isEnabled()
    with qtbot.waitSignal(page.go_to) as asked:
        page.to_label.click()
    assert asked.args == ["label"]


def test_that_training_is_asked_for_with_the_settings_that_were_changed(page, judge, engines):
    judge(FEWEST_COMPARISONS)
    page.refresh()
    page.form.set_values({"epochs": 2})
    command = begin(page, engines)
    assert command.algorithm == "reward"
    assert dict(command.settings) == {"epochs": 2}
    assert command.name == "reward 1"
    assert not page.train.isEnabled()


def test_that_a_bad_setting_holds_the_button_back(page, judge):
    judge(FEWEST_COMPARISONS)
    page.refresh()
    page.form.findChild(object, "setting-learning_rate").setText("much")
    assert not page.train.isEnabled()
    assert "setting" in page.why_not.text()


def test_that_the_page_follows_its_run_and_no_other(page, judge, engines):
    judge(FEWEST_COMPARISONS)
    page.refresh()
    command = begin(page, engines)
    page.take_news(JobProgressed(command.job_id, "training", 0.25, 120.0))
    page.take_news(JobProgressed("another", "training", 0.99, 1.0))
    page.take_news(RunSaid("run", StepTaken(1, 4, {"loss": 0.6})))
    page.take_news(RunSaid("other run", StepTaken(2, 4, {"loss": 0.1})))
    page.take_news(RunSaid("run", Noted("5 held out.")))
    assert page.run.board.series("loss").values.tolist() == [0.6]
    assert "25 %, about 2 minutes left" in page.run.detail.text()
    assert page.run.notes.text() == "5 held out."


def test_that_the_end_shows_accuracy_with_its_n_and_interval_beside_the_baselines(page, judge, engines, add_run):
    judge(FEWEST_COMPARISONS)
    page.refresh()
    command = begin(page, engines)
    add_run("run", report_of(33, 41, longer=0.6))
    page.take_news(JobEnded(command.job_id, RunStatus.COMPLETED, run_id="run", adapter_id="of-run"))
    assert page.result.isVisible()
    assert page.result.number.text() == "80 %"
    assert "n = 41" in page.result.interval.text()
    assert "66 to 90 %" in page.result.interval.text()
    assert {(s.title, s.value) for s in page.result.bars.shares} >= {("longer wins", 0.6), ("shorter wins", 0.4)}
    assert page.train.isEnabled()


def test_that_a_stored_run_is_shown_again_after_a_restart(page, add_run):
    add_run("run", report_of(33, 41))
    page.refresh()
    assert page.run.board.series("loss").values.tolist() == [0.7]
    assert page.run.notes.text() == "a note"
    assert page.result.isVisible()
    listed = [shown.text() for shown in page.findChildren(QLabel) if shown.text().startswith("reward 1")]
    assert len(listed) == 1
    assert "n = 41" in listed[0]


def test_that_a_failed_run_says_why_and_what_next(page, judge, engines):
    judge(FEWEST_COMPARISONS)
    page.refresh()
    command = begin(page, engines)
    page.take_news(JobEnded(command.job_id, RunStatus.FAILED, "The disk is full.", "Make some space.", ""))
    assert page.run.banner.isVisible()
    assert page.run.banner.text == "The disk is full. Make some space."
    assert page.train.isEnabled()


def test_that_a_stop_asks_the_engine_once(page, judge, engines):
    judge(FEWEST_COMPARISONS)
    page.refresh()
    command = begin(page, engines)
    page.run.stop.click()
    page.run.stop.click()
    assert [what for verb, what in engines[-1].asked if verb == "stop"] == [command.job_id]


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (report_of(20, 40), "no better than chance"),
        (report_of(5, 40), "against you"),
        (report_of(34, 40, longer=0.9), "always choosing the longer"),
        (report_of(34, 40, longer=0.05), "always choosing the shorter"),
        (report_of(18, 20), "Fewer than 30"),
        (report_of(0, 0), "Nothing was held out"),
    ],
)
def test_that_a_weak_result_is_called_weak(report, said):
    assert said in " ".join(HeldOut.read(report).sentences())


def test_that_a_strong_result_is_not_talked_down():
    assert HeldOut.read(report_of(36, 40)).sentences() == ["It agrees with you more often than chance would."]


def test_that_a_run_that_measured_nothing_shows_no_number(page, add_run):
    add_run("run", {}, RunStatus.FAILED)
    page.refresh()
    assert not page.result.isVisible()
