from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLabel

from desktop_rlhf.gui.curves.held_out import HeldOut
from desktop_rlhf.gui.pages.reward import RewardPage
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.records.verdicts import wilson
from desktop_rlhf.reward.calibration import Scored, report_on
from desktop_rlhf.reward.spec import FEWEST_COMPARISONS, RewardSpec
from desktop_rlhf.runs.events import Noted, StepTaken
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.messages import JobEnded, JobProgressed, JobStarted, RunSaid


def report_of(right: int, n: int, longer: float = 0.5) -> dict[str, object]:
    accuracy = wilson(right, n)
    return {
        "held_out_accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high, "n": n,
        "longer_wins": longer, "shorter_wins": 1 - longer,
        "scores_chosen": [1.0, 0.5] * n, "scores_rejected": [-1.0, 0.0] * n,
    }  # fmt: skip


def measured(right: int, n: int, *, sure: float = 1.0, strengths: tuple[int | None, ...] = (None,), lengths=(5, 5)):
    """A report of ``n`` pairs, the first ``right`` of them ordered well, all by the margin ``sure``."""
    scored = [
        Scored((sure if i < right else -sure, 0.0), lengths, ((0, 1),), strengths[i % len(strengths)]) for i in range(n)
    ]
    return report_on(scored)


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

    def add(
        run_id: str, report: dict[str, object], status: RunStatus = RunStatus.COMPLETED, spec: RewardSpec | None = None
    ) -> None:
        store = Store.open(project.path / STORE_FILE)
        settings = (spec or RewardSpec()).as_settings()
        store.runs.add(Run(run_id, RewardSpec.name, settings, None, None, (), {}))
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


def test_that_the_page_opens_with_the_settings_a_reward_model_was_last_trained_with(qtbot, project, engine, add_run):
    add_run("run", {}, spec=RewardSpec(epochs=2))
    page = RewardPage(project, engine)
    qtbot.addWidget(page)
    assert page.form.values() == {"epochs": 2}
    assert page._settings.unfold.text() == "Settings: Epochs 2"


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


def test_that_a_run_that_measured_nothing_leaves_what_was_measured_before(page, add_run):
    add_run("run", report_of(33, 41))
    add_run("later", {}, RunStatus.STOPPED)
    page.refresh()
    assert page.result.number.text() == "80 %"
    assert page.result.isVisible()


def test_that_the_page_counts_comparisons_everywhere_and_says_how_many_pairs_they_make(page, add_run):
    ranking = Scored((1.0, 0.5, 0.0), (5, 5, 5), ((0, 1), (0, 2), (1, 2)))
    pair = Scored((1.0, 0.0), (5, 5), ((0, 1),))
    add_run("run", report_on([ranking, pair]))
    page.refresh()
    said = "n = 2 held-out comparisons, which make 4 pairs"
    assert page.result.interval.text().endswith(said)
    assert [shown.text() for shown in page.findChildren(QLabel) if shown.text().endswith(f"{said})")]
    assert "On 4 pairs" in page.trust.sureness.text()


def test_that_pairs_are_not_counted_beside_comparisons_that_are_as_many(page, add_run):
    add_run("run", measured(30, 40))
    page.refresh()
    assert page.result.interval.text().endswith("n = 40 held-out comparisons")


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
        (report_of(20, 40), "40 held-out comparisons cannot tell this reward model from chance"),
        (report_of(5, 40), "against you"),
        (report_of(34, 40, longer=0.9), "always choosing the longer"),
        (report_of(34, 40, longer=0.05), "always choosing the shorter"),
        (report_of(18, 20), "Fewer than 30"),
        (report_of(0, 0), "Nothing was measured"),
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


def test_that_the_page_shows_agreement_by_strength_each_with_its_n(page, add_run):
    add_run("run", measured(30, 40, strengths=(4, 2, None, 2)))
    page.refresh()
    shares = page.trust.by_strength.shares
    assert [share.title for share in shares] == [
        "slightly better, n = 20",
        "significantly better, n = 10",
        "not said, n = 10",
    ]
    assert shares[0].value == 15 / 20
    assert shares[0].low == wilson(15, 20).low
    assert page.trust.by_strength.isVisible()


def test_that_rows_by_strength_stay_away_where_no_strength_was_said(page, add_run):
    add_run("run", measured(30, 40))
    page.refresh()
    assert page.trust.isVisible()
    assert not page.trust.by_strength.isVisible()


def test_that_the_reliability_chart_draws_how_sure_and_how_right(page, add_run):
    add_run("run", measured(30, 40))
    page.refresh()
    (point,) = page.trust.reliability.points
    assert point.confidence == pytest.approx(0.731, abs=1e-3)
    assert point.agreement == wilson(30, 40)
    assert "73 % sure, 75 % right, 40" in page.trust.reliability.accessibleName()


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (measured(30, 40), "by 2 points on average (ECE). On 40 pairs"),
        (measured(24, 40, sure=5.0), "surer than it should be: dividing its margins by 12 would"),
        (measured(39, 40, sure=0.2), "less sure than it could be: dividing its margins by 0.055 would"),
        (measured(40, 40, sure=0.2), "by 45 points on average (ECE)."),
    ],
)
def test_that_calibration_is_said_in_plain_words(report, said):
    assert said in HeldOut.read(report).sureness_words()


def test_that_a_calibration_error_that_chance_makes_is_not_called_a_fault():
    assert "no sign of a fault" in HeldOut.read(measured(30, 40)).sureness_words()
    assert "no sign of a fault" not in HeldOut.read(measured(24, 40, sure=5.0)).sureness_words()


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ((9, 5), "higher for longer completions: correlation +"),
        ((5, 9), "higher for shorter completions: correlation −"),
    ],
)
def test_that_the_correlation_with_length_is_shown(page, add_run, lengths, said):
    add_run("run", measured(36, 40, lengths=lengths))
    page.refresh()
    assert said in page.trust.length.text()
    assert HeldOut.read(measured(36, 40)).length_words() == ""


@pytest.mark.parametrize(
    ("lengths", "right", "said"),
    [
        ((9, 5), 40, "does not beat “longer wins” (100 %)"),
        ((5, 9), 36, "does not beat “shorter wins” (100 %)"),
        ((5, 5), 22, "does not clearly beat “longer wins” (50 %)"),
        ((5, 5), 36, ""),
    ],
)
def test_that_a_model_no_better_than_length_alone_is_warned_of(page, add_run, lengths, right, said):
    add_run("run", measured(right, 40, lengths=lengths))
    page.refresh()
    assert page.trust.warning.isVisible() == bool(said)
    assert said in page.trust.warning.text()


def test_that_an_old_report_without_calibration_shows_only_what_it_has(page, add_run):
    add_run("run", report_of(33, 41))
    page.refresh()
    assert page.result.isVisible()
    assert not page.trust.isVisible()


def test_that_the_card_goes_when_the_next_run_starts(page, judge, engines, add_run):
    add_run("run", measured(30, 40))
    judge(FEWEST_COMPARISONS)
    page.refresh()
    assert page.trust.isVisible()
    begin(page, engines)
    assert not page.trust.isVisible()
