from __future__ import annotations

import json

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QLabel, QScrollArea, QToolButton

from desktop_rlhf.gui.pages.runs import RUN_COLUMNS, RunsPage
from desktop_rlhf.gui.widgets.text import Fact
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.records.verdicts import wilson
from desktop_rlhf.runs.events import SampleShown
from desktop_rlhf.runs.learned import Learned, Reason
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE

HASH = "5eed" * 16


@pytest.fixture
def history(project):
    """A reward model, a DPO adapter, a PPO adapter on top of it, and a run that failed."""
    store = Store.open(project.path / STORE_FILE)

    def add(run_id, algorithm, parent=None, reward=None, report=None, status=RunStatus.COMPLETED, made=""):
        provenance = {"torch": "2.13.0", "data_sha256": HASH}
        store.runs.add(Run(run_id, algorithm, {"seed": 7}, parent, reward, {"pairwise": 2}, provenance))
        points = [MetricPoint(1, "loss", 0.69), MetricPoint(1, "objective/kl", 0.1)]
        store.runs.record(run_id, points, [SampleShown(1, "Hello?", f"said by {run_id}")], [])
        store.runs.end(run_id, status, "The disk is full." if status is RunStatus.FAILED else "", report or {})
        if made:
            kind = AdapterKind.REWARD if algorithm == "reward" else AdapterKind.POLICY
            store.adapters.add(Adapter(f"id-{made}", made, kind, parent, run_id, f"adapters/{made}", "0" * 64))

    held_out = wilson(30, 40)
    report = {"held_out_accuracy": held_out.value, "low": held_out.low, "high": held_out.high, "n": 40}
    add("r-reward", "reward", report=report | {"scores_chosen": [1.0] * 40}, made="judge")
    add("r-dpo", "dpo", made="kind")
    add("r-ppo", "ppo", parent="id-kind", reward="id-judge", report={"updates": 24}, made="kinder")
    add("r-bad", "dpo", status=RunStatus.FAILED)
    store.close()


@pytest.fixture
def page(qtbot, project, engine, history):
    made = RunsPage(project, engine)
    qtbot.addWidget(made)
    made.show()
    return made


def cells(table, row):
    return [table.item(row, column).text() for column in range(table.columnCount())]


def facts_of(page):
    return {shown.accessibleName(): shown.toPlainText() for shown in page.findChildren(Fact)}


def row_of(table, text):
    return next(row for row in range(table.rowCount()) if table.item(row, 0).text() == text)


def test_that_an_empty_project_is_told_where_runs_come_from(qtbot, project, engine):
    page = RunsPage(project, engine)
    qtbot.addWidget(page)
    page.show()
    assert page.empty.isVisible()
    assert not page.tables.isVisible()
    with qtbot.waitSignal(page.go_to) as asked:
        page.to_train.click()
    assert asked.args == ["reward"]


def test_that_every_run_has_a_row_newest_first(page):
    assert page.runs.rowCount() == 4
    row = cells(page.runs, 1)
    assert row[0] == "PPO"
    assert row[1:3] + row[4:] == ["kinder", "completed", "kind", "2"]
    row = cells(page.runs, 0)
    assert row[1:3] + row[4:] == ["–", "failed", "the base", "2"]


@pytest.mark.parametrize("width", [768, 1148])  # what the rail leaves of windows of 900 and 1280
def test_that_the_adapter_of_a_run_is_in_sight_however_long_its_name(qtbot, project, page, width):
    name = "a warm voice that is short and never apologises 12"
    store = Store.open(project.path / STORE_FILE)
    store.adapters.add(Adapter("id-long", name, AdapterKind.POLICY, None, "r-bad", "adapters/long", "0" * 64))
    store.close()
    page.resize(width, 560)
    page.refresh()
    table, column = page.runs, RUN_COLUMNS.index("Adapter")
    assert table.item(0, column).toolTip() == name
    qtbot.waitUntil(lambda: page.width() == width)
    ends = table.columnViewportPosition(column) + table.columnWidth(column)
    assert 0 < ends <= table.viewport().width()


def test_that_every_adapter_has_a_row(page):
    row = cells(page.adapters, row_of(page.adapters, "kinder"))
    assert row[:5] == ["kinder", "policy", "kind", "PPO", "2"]


def test_that_the_newest_run_is_shown_and_why_it_failed(page):
    assert "failed" in page.heading.text()
    assert page.curves.banner.text == "The disk is full."
    assert not page.sample.isVisible()


def test_that_a_run_shows_its_chain_curves_samples_settings_and_provenance(page):
    page.runs.selectRow(1)
    assert page.chain.text().startswith("the base → kind → kinder")
    assert "2 comparisons" in page.chain.text()
    assert "“judge”" in page.chain.text()
    assert page.curves.board.series("objective/kl").values.tolist() == [0.1]
    assert page.curves.samples.findChild(QLabel, "sample-text").text() == "said by r-ppo"
    assert {"seed": "7", "torch": "2.13.0", "updates": "24"}.items() <= facts_of(page).items()


@pytest.mark.parametrize("width", [768, 1148])  # what the rail leaves of windows of 900 and 1280
def test_that_a_hash_is_broken_where_the_room_ends_and_widens_nothing(qtbot, page, width):
    page.resize(width, 560)
    page.runs.selectRow(1)
    page.findChild(QToolButton, "run-provenance-unfold").click()
    shown = page.findChild(Fact, "fact-data_sha256")
    area = next(area for area in page.findChildren(QScrollArea) if area.isAncestorOf(shown))
    qtbot.waitUntil(lambda: shown.isVisible() and shown.verticalScrollBar().maximum() == 0)
    assert area.widget().width() == area.viewport().width()
    assert shown.height() >= 2 * shown.fontMetrics().lineSpacing()
    shown.selectAll()
    shown.copy()
    assert QGuiApplication.clipboard().text() == HASH


def test_that_a_run_says_how_many_of_all_comparisons_it_learned_from_and_why_not_from_the_rest(qtbot, project, engine):
    learned = Learned(118, {Reason.TIE: 7, Reason.TOO_LONG: 3, Reason.EQUAL_TEXTS: 2})
    store = Store.open(project.path / STORE_FILE)
    store.runs.add(Run("r", "dpo", {}, None, None, {"pairwise": 121}, {}))
    store.runs.record("r", notes=[note.sentence for note in learned.notes])
    store.runs.end("r", RunStatus.COMPLETED, report={"steps": 9} | learned.report())
    store.close()
    page = RunsPage(project, engine)
    qtbot.addWidget(page)
    page.show()
    assert "Learned from 118 of 130 comparisons." in page.chain.text()
    assert page.curves.notes.text() == learned.sentence
    assert cells(page.runs, 0)[-1] == "118"
    assert "tie 7, too long 3, equal texts 2" in facts_of(page).values()


def test_that_a_reward_run_shows_its_accuracy_with_n(page):
    page.runs.selectRow(3)
    assert page.held_out.isVisible()
    assert "n = 40" in page.held_out.interval.text()
    page.runs.selectRow(1)
    assert not page.held_out.isVisible()


def test_that_an_adapter_leads_to_the_run_that_made_it(page):
    page.tables.setCurrentIndex(1)
    page.adapters.selectRow(row_of(page.adapters, "kind"))
    assert page.curves.run_id == "r-dpo"
    assert not page.runs.selectedItems()


def test_that_a_run_that_went_on_made_the_adapter_of_its_end(project, page):
    store = Store.open(project.path / STORE_FILE)
    store.adapters.add(Adapter("id-end", "kinder", AdapterKind.POLICY, "id-kind", "r-ppo", "adapters/end", "0" * 64))
    store.close()
    page.refresh()
    assert cells(page.runs, 1)[1] == "kinder"
    assert [cells(page.adapters, row)[0] for row in range(2)] == ["kinder", "kinder, stopped"]
    page.runs.selectRow(1)
    assert page.chain.text().startswith("the base → kind → kinder\n")


def test_that_the_row_of_a_run_tells_whether_anything_of_it_was_kept(project, page):
    store = Store.open(project.path / STORE_FILE)
    for run_id, status in (
        ("r-cut", RunStatus.INTERRUPTED),
        ("r-held", RunStatus.STOPPED),
        ("r-can", RunStatus.STOPPED),
    ):
        store.runs.add(Run(run_id, "ppo", {}, None, None, {}, {}))
        store.runs.end(run_id, status)
    store.close()
    checkpoint = project.path / "checkpoints" / "r-can" / "000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    page.refresh()
    told = [cells(page.runs, row)[2] for row in range(3)]
    assert told == ["stopped, kept", "stopped, nothing kept", "interrupted, nothing kept"]
    page.runs.selectRow(2)
    assert "interrupted, nothing kept" in page.heading.text()
    assert "ended before its first step" in page.curves.notes.text()


def test_that_a_policy_adapter_can_be_sampled_from(qtbot, page):
    page.tables.setCurrentIndex(1)
    page.adapters.selectRow(row_of(page.adapters, "kinder"))
    with qtbot.waitSignals([page.sample_from, page.go_to]):
        page.sample.click()


def test_that_the_adapter_that_was_selected_is_the_one_named(qtbot, page):
    page.tables.setCurrentIndex(1)
    page.adapters.selectRow(row_of(page.adapters, "kind"))
    with qtbot.waitSignal(page.sample_from) as asked:
        page.sample.click()
    assert asked.args == ["id-kind"]


def test_that_a_reward_model_is_not_offered_to_speak_but_can_be_exported(qtbot, page):
    page.tables.setCurrentIndex(1)
    page.adapters.selectRow(row_of(page.adapters, "judge"))
    assert not page.sample.isVisible()
    with qtbot.waitSignal(page.export) as asked:
        page.export_adapter.click()
    assert asked.args == ["id-judge"]


def test_that_a_run_without_an_adapter_has_none_to_export(page):
    page.runs.selectRow(0)
    assert not page.export_adapter.isVisible()


def test_that_a_refresh_keeps_the_selection(page):
    page.runs.selectRow(2)
    page.refresh()
    assert page.runs.selectedItems()[0].row() == 2
    assert page.curves.run_id == "r-dpo"


def test_that_a_run_broken_off_is_resumed_on_the_page_where_such_runs_start(qtbot, project, page):
    checkpoint = project.path / "checkpoints" / "r-bad" / "000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    page.refresh()
    page.runs.selectRow(row_of(page.runs, "DPO"))
    page.refresh()
    assert page.curves.go_on.isVisible()
    with qtbot.waitSignal(page.resume_run) as asked:
        page.curves.go_on.click()
    assert asked.args == ["r-bad"]


def test_that_a_run_tells_what_it_learned_from_by_kind(qtbot, project, engine, tmp_path):
    rows = [{"prompt": "Is it?", "completion": "Yes."}, {"prompt": "Is it?", "completion": "No.", "label": False}]
    rows.append({"prompt": "Is it?", "chosen": "Yes.", "rejected": "No."})
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, rows)))
    project.import_file(tmp_path / "said.jsonl")
    store = Store.open(project.path / STORE_FILE)
    ids = [comparison.id for comparison in store.comparisons.all()]
    store.runs.add(Run("r", "kto", {}, None, None, store.comparisons.modes_of(ids), {}), ids)
    store.close()
    page = RunsPage(project, engine)
    qtbot.addWidget(page)
    page.refresh()
    assert page.chain.text().endswith("Learned from 1 comparison, 1 demonstration and 1 judged completion.")
    assert cells(page.runs, 0)[-1] == "3"
