from __future__ import annotations

import json

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton

from desktop_rlhf.gui.pages.train import POLICY_SPECS, TrainPage
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.kto.spec import KtoSpec
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.policy.sft.spec import SftSpec
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.runs.events import Noted, SampleShown, StepTaken
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.algorithms import TRAINABLE
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.messages import (
    EngineFailed,
    JobEnded,
    JobPaused,
    JobProgressed,
    JobResumed,
    JobStarted,
    ResumeRun,
    RunSaid,
)


@pytest.fixture
def page(qtbot, project, engine, judged):
    made = TrainPage(project, engine)
    qtbot.addWidget(made)
    made.show()
    return made


def choose(page, spec):
    page.findChild(QPushButton, f"algorithm-{spec.name}").click()


def begin(page, engines):
    page.start.click()
    command = engines[-1].commands[-1]
    page.take_news(JobStarted(command.job_id, "Training", "run"))
    return command


def test_that_every_algorithm_that_makes_a_policy_is_offered():
    assert [s for s in TRAINABLE if s.makes == "policy"] == list(POLICY_SPECS)
    assert len(POLICY_SPECS) >= 2


def test_that_without_comparisons_the_page_offers_to_label(qtbot, project, engine):
    page = TrainPage(project, engine)
    qtbot.addWidget(page)
    choose(page, DpoSpec)
    assert not page.start.isEnabled()
    assert "comparisons" in page.why_not.text()
    with qtbot.waitSignal(page.go_to) as asked:
        page.to_missing.click()
    assert asked.args == ["label"]


def test_that_without_a_reward_model_the_page_offers_to_train_one(qtbot, page):
    choose(page, PpoSpec)
    assert not page.start.isEnabled()
    assert "reward model" in page.why_not.text()
    with qtbot.waitSignal(page.go_to) as asked:
        page.to_missing.click()
    assert asked.args == ["reward"]


def test_that_a_run_starts_from_what_was_chosen(page, add_adapter, engines):
    parent = add_adapter("kind", AdapterKind.POLICY)
    judge = add_adapter("judge", AdapterKind.REWARD, "reward")
    page.refresh()
    choose(page, PpoSpec)
    page.parent_box.setCurrentText("kind")
    page.name.setText("kinder")
    page.form.set_values({"updates": 3, "kl_coef": 0.2})
    command = begin(page, engines)
    assert command.algorithm == "ppo"
    assert dict(command.settings) == {"updates": 3, "kl_coef": 0.2}
    assert (command.parent_adapter_id, command.reward_adapter_id) == (parent, judge)
    assert command.name == "kinder"


def test_that_an_algorithm_without_a_reward_model_is_not_given_one(page, add_adapter, engines):
    add_adapter("judge", AdapterKind.REWARD, "reward")
    page.refresh()
    choose(page, DpoSpec)
    command = begin(page, engines)
    assert command.reward_adapter_id is None
    assert command.parent_adapter_id is None
    assert command.name == "dpo 1"


def test_that_each_algorithm_keeps_its_own_settings(page):
    choose(page, DpoSpec)
    page.form.set_values({"beta": 0.3})
    choose(page, PpoSpec)
    assert page.form.values() == {}
    assert page.form.isHidden() is False
    choose(page, DpoSpec)
    assert page.form.values() == {"beta": 0.3}


def test_that_curves_samples_notes_and_progress_are_shown_as_they_come(page, engines):
    command = begin(page, engines)
    page.take_news(JobProgressed(command.job_id, "training", 0.5, 30.0))
    page.take_news(RunSaid("run", StepTaken(1, 2, {"loss": 0.69, "kl_k3": 0.0})))
    page.take_news(RunSaid("run", SampleShown(1, "Hello?", "<b>Good day</b>", 1.25)))
    page.take_news(RunSaid("run", Noted("Two pairs were dropped.")))
    assert page.run.board.series("kl_k3").values.tolist() == [0.0]
    assert "less than a minute left" in page.run.detail.text()
    assert page.run.notes.text() == "Two pairs were dropped."
    said = page.run.samples.findChild(QLabel, "sample-text")
    assert said.text() == "<b>Good day</b>"
    assert said.textFormat() is Qt.TextFormat.PlainText
    assert any("reward 1.25" in shown.text() for shown in page.run.samples.findChildren(QLabel))


def test_that_the_newest_samples_are_kept_and_stand_on_top(page, engines):
    begin(page, engines)
    for step in range(50):
        page.take_news(RunSaid("run", SampleShown(step, "Hello?", f"words {step}")))
    assert len(page.run.samples) < 50
    assert page.run.samples._cards[0].findChild(QLabel, "sample-text").text() == "words 49"


def test_that_pause_becomes_resume_when_the_engine_says_so(page, engines):
    command = begin(page, engines)
    page.run.pause.click()
    assert page.run.pause.text() == "Pause"
    page.take_news(JobPaused(command.job_id))
    assert page.run.pause.text() == "Resume"
    page.run.pause.click()
    page.take_news(JobResumed(command.job_id))
    assert page.run.pause.text() == "Pause"
    asked = [(verb, what) for verb, what in engines[-1].asked if verb != "submit"]
    assert asked == [("pause", command.job_id), ("resume", command.job_id)]


def test_that_only_one_run_is_started_at_a_time(page, engines):
    begin(page, engines)
    page.start.click()
    assert not page.start.isEnabled()
    assert len(engines[-1].commands) == 1


def test_that_after_the_end_a_blind_comparison_is_offered(qtbot, page, engines, add_adapter):
    command = begin(page, engines)
    assert not page.compare.isVisible()
    page.take_news(JobEnded(command.job_id, RunStatus.COMPLETED, run_id="run", adapter_id="made"))
    assert "done" in page.run.sentence.text()
    assert page.compare.isVisible()
    with qtbot.waitSignal(page.go_to) as asked:
        page.compare.click()
    assert asked.args == ["compare"]


def test_that_a_run_stopped_before_it_began_promises_no_adapter(page, engines):
    command = begin(page, engines)
    page.take_news(JobEnded(command.job_id, RunStatus.STOPPED))
    assert "before it began" in page.run.sentence.text()
    assert not page.compare.isVisible()


def test_that_a_dead_engine_ends_the_run_on_the_page(page, engines):
    begin(page, engines)
    page.take_news(EngineFailed("It broke."))
    assert not page.run.busy
    assert page.start.isEnabled()


def test_that_a_stored_run_is_loaded_with_curves_and_samples(page, add_adapter):
    add_adapter("kind", AdapterKind.POLICY)
    page.refresh()
    assert page.run.board.series("loss").values.tolist() == [0.69]
    assert page.run.samples.findChild(QLabel, "sample-text").text() == "Stored words."
    assert page.compare.isVisible()


def test_that_a_refresh_leaves_a_live_run_alone(page, engines, add_adapter):
    begin(page, engines)
    page.take_news(RunSaid("run", StepTaken(1, 2, {"loss": 0.5})))
    add_adapter("kind", AdapterKind.POLICY)
    page.refresh()
    assert page.run.board.series("loss").values.tolist() == [0.5]
    assert page.run.run_id == "run"


@pytest.fixture
def broken_off(project, add_adapter):
    """A DPO run that was interrupted and left a checkpoint; gives its id."""
    store = Store.open(project.path / STORE_FILE)
    store.runs.add(Run("broken", "dpo", {}, None, None, (), {}))
    store.runs.record("broken", [MetricPoint(1, "loss", 0.5)], [], [])
    store.runs.end("broken", RunStatus.INTERRUPTED, "The program ended while it ran.")
    store.close()
    checkpoint = project.path / "checkpoints" / "broken" / "000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    return "broken"


def test_that_the_key_that_starts_a_run_pressed_again_does_nothing_to_it(qtbot, page, engines):
    page.activateWindow()
    qtbot.waitUntil(page.isActiveWindow)
    page.start.setFocus()
    qtbot.keyClick(page.start, Qt.Key.Key_Space)
    (command,) = engines[-1].commands
    page.take_news(JobStarted(command.job_id, "Training", "run"))
    for key in (Qt.Key.Key_Space, Qt.Key.Key_Return):
        qtbot.keyClick(page.focusWidget(), key)
    assert engines[-1].asked == [("submit", command)]
    qtbot.keyClick(page.focusWidget(), Qt.Key.Key_Tab)
    assert page.focusWidget() is page.run.pause


def test_that_a_run_broken_off_is_resumed_with_one_click_and_watched(page, engines, broken_off):
    page.refresh()
    assert page.run.go_on.isVisible()
    page.run.go_on.click()
    (command,) = engines[-1].commands
    assert command == ResumeRun(command.job_id, broken_off)
    assert not page.run.go_on.isVisible()
    assert not page.start.isEnabled()
    page.take_news(JobStarted(command.job_id, "Training: DPO", broken_off))
    page.take_news(RunSaid(broken_off, StepTaken(2, 2, {"loss": 0.4})))
    assert page.run.board.series("loss").values.tolist() == [0.5, 0.4]


@pytest.fixture
def add_ended(project):
    """Stores a DPO run that ended early with nothing kept."""

    def add(status: RunStatus, steps: int) -> None:
        store = Store.open(project.path / STORE_FILE)
        store.runs.add(Run("lost", "dpo", {}, None, None, (), {}))
        store.runs.record("lost", [MetricPoint(step, "loss", 0.5) for step in range(1, steps + 1)])
        store.runs.end("lost", status, "The program ended while it ran.")
        store.close()

    return add


@pytest.mark.parametrize("status", [RunStatus.INTERRUPTED, RunStatus.STOPPED])
def test_that_a_run_that_ended_before_its_first_step_says_why_it_cannot_go_on(qtbot, page, add_ended, status):
    add_ended(status, steps=0)
    page.refresh()
    assert not page.run.go_on.isVisible()
    assert page.run.notes.text().endswith("Nothing was kept to go on from: it ended before its first step.")
    assert "is stored" not in page.run.sentence.text()
    qtbot.waitUntil(lambda: page.run.board.status.text() == "")


def test_that_a_run_that_ended_before_its_first_checkpoint_says_why_it_cannot_go_on(page, add_ended):
    add_ended(RunStatus.INTERRUPTED, steps=1)
    page.refresh()
    assert page.run.notes.text().endswith("Nothing was kept to go on from: it left no checkpoint.")


def test_that_a_run_that_can_go_on_does_not_say_that_nothing_was_kept(page, broken_off):
    page.refresh()
    assert "Nothing was kept" not in page.run.notes.text()


def test_that_points_are_promised_only_while_a_run_may_bring_some(qtbot, page, engines):
    command = begin(page, engines)
    status = page.run.board.status
    qtbot.waitUntil(lambda: status.text() == "The first points come after the first step.")
    page.take_news(JobEnded(command.job_id, RunStatus.INTERRUPTED, "It was broken off.", run_id="run"))
    qtbot.waitUntil(lambda: status.text() == "")
    assert page.run.notes.text().endswith("it ended before its first step.")


def test_that_a_run_that_completed_is_not_offered_to_be_resumed(page, add_adapter):
    add_adapter("kind", AdapterKind.POLICY)
    page.refresh()
    assert page.run.isVisible()
    assert not page.run.go_on.isVisible()


def test_that_a_run_that_paused_by_itself_says_why_until_it_goes_on(page, engines):
    command = begin(page, engines)
    page.take_news(JobPaused(command.job_id, "The loss is not a number any more.", "Lower the learning rate."))
    assert page.run.pause.text() == "Resume"
    assert page.run.banner.isVisible()
    assert "not a number" in page.run.banner.findChild(QLabel).text()
    page.take_news(JobResumed(command.job_id))
    assert not page.run.banner.isVisible()


@pytest.fixture
def bring(project, tmp_path):
    """Imports completions of one prompt, each with what is said of it."""

    def take_in(*said: bool | None) -> None:
        rows = [{"prompt": "Is it?", "completion": f"It is {i}."} for i in range(len(said))]
        rows = [row if label is None else row | {"label": label} for row, label in zip(rows, said, strict=True)]
        (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, rows)))
        project.import_file(tmp_path / "said.jsonl")

    return take_in


@pytest.mark.parametrize(
    ("said", "startable", "told"),
    [
        ((), set(), None),
        ((None,), {"sft"}, "It learns from 1 demonstration."),
        ((True, True, None), {"sft"}, "It learns from 1 demonstration and 2 completions judged good."),
        ((True, False), {"sft", "kto"}, "It learns from 1 completion judged good."),
        ((False,), set(), None),
    ],
)
def test_that_only_what_can_learn_from_single_completions_is_offered(
    qtbot, project, engine, bring, said, startable, told
):
    if said:
        bring(*said)
    page = TrainPage(project, engine)
    qtbot.addWidget(page)
    ready = set()
    for spec in POLICY_SPECS:
        choose(page, spec)
        if page.start.isEnabled():
            ready.add(spec.name)
        elif spec.needs_good:
            assert "there are none yet" in page.why_not.text()
            assert page.to_missing.text() == "Label comparisons"
    assert ready == startable
    if told:
        choose(page, SftSpec)
        assert page.why_not.text() == told


def test_that_everything_kto_learns_from_is_told(qtbot, project, engine, judged, add_group, bring):
    add_group("a bad one", "another")
    project.save_comparison(project.next_showing(), Outcome.BOTH_BAD)
    bring(None, True, False, False)
    page = TrainPage(project, engine)
    qtbot.addWidget(page)
    choose(page, KtoSpec)
    assert page.why_not.text() == (
        "It learns from 1 comparison with a winner, 1 comparison called all bad, 1 demonstration, 1 completion judged "
        "good and 2 completions judged bad."
    )
    choose(page, DpoSpec)
    assert page.why_not.text() == "It learns from 1 comparison with a winner."
