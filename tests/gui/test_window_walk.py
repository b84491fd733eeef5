"""The whole road in the window, by keys and clicks, with the real engine and the tiny model."""

from __future__ import annotations

import json

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QPushButton, QSpinBox, QWidget

from desktop_rlhf.gui.window import MainWindow
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.messages import JobEnded, JobPaused
from desktop_rlhf.workbench.project import Project

PATIENCE_MS = 120_000


class Walker:
    """Presses keys and clicks buttons, as a person does."""

    def __init__(self, window: MainWindow, qtbot) -> None:
        self.window = window
        self.bot = qtbot
        self.news: list[object] = []

    @property
    def project(self) -> Project:
        return self.window.workspace.project

    @property
    def page(self) -> QWidget:
        return self.window.workspace.page(self.window.workspace.page_name)

    def find(self, kind, name):
        found = self.page.findChild(kind, name)
        assert found is not None, f"{name} on {self.window.workspace.page_name}"
        return found

    def click(self, name: str) -> None:
        target = self.find(QPushButton, name)
        self.bot.waitUntil(lambda: target.isVisible() and target.isEnabled(), timeout=PATIENCE_MS)
        self.bot.mouseClick(target, Qt.MouseButton.LeftButton)

    def press(self, keys: str) -> None:
        self.window.activateWindow()  # without a window manager nobody else does
        self.bot.waitUntil(self.window.isActiveWindow)
        for key in keys:
            self.bot.keyClick(self.window.focusWidget() or self.page, Qt.Key[f"Key_{key.upper()}"])

    def go(self, number: int, name: str) -> None:
        self.bot.keyClick(self.window, Qt.Key[f"Key_{number}"], Qt.KeyboardModifier.ControlModifier)
        self.bot.waitUntil(lambda: self.window.workspace.page_name == name)

    def set(self, name: str, value: int) -> None:
        self.find(QSpinBox, name).setValue(value)

    def until(self, true) -> None:
        self.bot.waitUntil(true, timeout=PATIENCE_MS)

    def ended(self) -> list[JobEnded]:
        return [news for news in self.news if isinstance(news, JobEnded) and news.run_id]


@pytest.fixture
def walker(qtbot, empty_project, tmp_path, monkeypatch):
    lines = [json.dumps({"prompt": f"question {i}", "split": "held_out" if i % 3 else "train"}) for i in range(48)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "prompts.jsonl"), ""))
    empty_project.close()
    window = MainWindow()
    qtbot.addWidget(window)
    window.resize(1280, 800)
    with qtbot.waitExposed(window):
        window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    window.open_project(empty_project.path)
    walker = Walker(window, qtbot)
    window.workspace.engine.news.connect(walker.news.append)
    yield walker
    window.close()
    assert not window.left_behind


def test_that_the_road_is_walked_in_the_window_from_an_empty_project_to_a_win_rate(walker: Walker) -> None:
    project = walker.project
    assert walker.window.workspace.page_name == "prompts"
    walker.click("prompts-empty-import")
    assert len(project.prompts()) == 48
    walker.click("prompts-start")
    assert walker.window.workspace.page_name == "label"
    walker.set("label-longest", 8)

    pick = walker.find(QPushButton, "pick-1")
    for keys in ("1", "2", "e1", "f2", "t", "b", "s", "z1"):
        walker.until(pick.isVisible)
        walker.press(keys)
    counts = project.label_counts()
    assert (counts.ranked, counts.ties, counts.both_bad, counts.skipped, counts.flagged) == (5, 1, 1, 0, 1)
    assert [comparison.strength for comparison in project.comparisons()][:3] == [None, None, 3]
    while project.label_counts().ranked < 14:
        walker.until(pick.isVisible)
        walker.press("12"[project.label_counts().ranked % 2])
    assert all(c.outcome is not Outcome.RANKED or sorted(c.ranks) == [1, 2] for c in project.comparisons())

    walker.go(3, "reward")
    walker.click("reward-train")
    walker.until(lambda: len(walker.ended()) == 1)
    assert walker.ended()[0].status is RunStatus.COMPLETED
    assert len(project.adapters(AdapterKind.REWARD)) == 1

    walker.go(4, "train")
    walker.click("train-start")
    walker.until(lambda: len(walker.ended()) == 2)
    walker.click("algorithm-ppo")
    for name, value in (
        ("updates", 8),
        ("prompts_per_update", 2),
        ("completions_per_prompt", 2),
        ("max_new_tokens", 6),
    ):
        walker.page.form.findChild(QSpinBox, f"setting-{name}").setValue(value)
    walker.click("train-start")
    walker.click("run-pause")
    walker.until(lambda: any(isinstance(news, JobPaused) for news in walker.news))

    walker.go(2, "label")
    before = project.label_counts().ranked
    walker.until(pick.isVisible)
    walker.press("1")
    assert project.label_counts().ranked == before + 1
    walker.go(4, "train")
    walker.click("run-pause")
    walker.until(lambda: len(walker.ended()) == 3)
    assert [ending.status for ending in walker.ended()] == [RunStatus.COMPLETED] * 3
    ppo, dpo = project.adapters(AdapterKind.POLICY)
    assert len(project.metrics(ppo.run_id)["objective/kl"]) == 8

    walker.click("train-compare")
    assert walker.window.workspace.page_name == "compare"
    walker.set("compare-count", 4)
    walker.click("compare-start")
    (made,) = project.side_by_sides()
    assert (made.candidate_id, made.baseline_id) == (ppo.id, None)
    for count, key in enumerate("1t2z21"):
        walker.until(walker.find(QPushButton, "pick-1").isVisible)
        walker.until(lambda: project.next_match(made.id) is not None)
        walker.press(key)
        assert project.win_rate(made.id).interval.n == (1, 2, 3, 2, 3, 4)[count]
    rate = project.win_rate(made.id)
    assert (rate.interval.n, rate.ties) == (4, 1)
    walker.until(walker.find(QWidget, "win-rate").isVisible)

    walker.go(6, "runs")
    assert [run.algorithm for run in project.runs()] == ["ppo", "dpo", "reward"]
    walker.page.sample_from.emit(dpo.id)
    walker.page.go_to.emit("label")
    assert walker.window.workspace.page("label")._sampling.adapter_id == dpo.id
