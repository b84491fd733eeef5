"""Train a reward model, and see how well it agrees with the person."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.curves.held_out import HeldOut, HeldOutCard, TrustCard
from desktop_rlhf.gui.curves.live_run import LiveRun
from desktop_rlhf.gui.curves.wording import counted, moment, percent
from desktop_rlhf.gui.forms.page_frame import Folded, card, empty, row, scrolling_column
from desktop_rlhf.gui.forms.run_estimate import RunEstimate
from desktop_rlhf.gui.forms.spec_form import SpecForm, say_changes
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.runs import Run
from desktop_rlhf.reward.spec import FEWEST_COMPARISONS, RewardSpec
from desktop_rlhf.workbench.messages import EstimateRun, JobEnded, News, StartRun
from desktop_rlhf.workbench.project import Project


class RewardPage(QWidget):
    """The settings are folded; the result stands above the curves.

    Signals:
        go_to: the name of the page that an empty state offers.
    """

    go_to = Signal(str)

    def __init__(self, project: Project, engine: EngineHandle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self._engine = engine
        self.data = label(name="reward-data")
        self.why_not = label(role="hint", name="reward-hint")
        self.to_label = button("Label comparisons", "reward-to-label")
        self.to_label.clicked.connect(self._go_to_label)
        self.train = button("Train reward model", "reward-train", kind="primary")
        self.train.clicked.connect(self._start)
        self.form = SpecForm(RewardSpec)
        self.form.set_values(project.last_settings(RewardSpec.name))
        self.form.changed.connect(self._offer)
        self.estimate = RunEstimate(engine, "reward", self)
        self.estimate.wanted.connect(self._estimate)
        self.form.changed.connect(self.estimate.clear)
        self.run = LiveRun(engine)
        self.run.ended.connect(self._ended)
        self.run.resumes.connect(self.resume_run)
        self.result = HeldOutCard()
        self.trust = TrustCard()

        column = scrolling_column(self)
        column.addWidget(label("Reward model", "title"))
        column.addWidget(label(RewardSpec.sentence, "hint"))
        frame, inside = card()
        inside.addWidget(self.data)
        inside.addLayout(row(self.train, self.estimate.button, self.to_label))
        inside.addWidget(self.estimate.answer)
        inside.addWidget(self.why_not)
        self._settings = Folded("Settings", "reward-settings", tip="Learning rate, passes, how much is held out")
        self._settings.content.addWidget(self.form)
        inside.addWidget(self._settings)
        column.addWidget(frame)
        column.addWidget(self.result)
        column.addWidget(self.trust)
        column.addWidget(self.run)
        self._earlier, earlier = card("Reward models so far")
        self._models = QVBoxLayout()
        earlier.addLayout(self._models)
        column.addWidget(self._earlier)
        column.addStretch(1)
        self.refresh()

    def refresh(self) -> None:
        """Count the comparisons again, and show the newest run and what the newest model was measured to be."""
        self._offer()
        runs = [run for run in self._project.runs() if run.algorithm == RewardSpec.name]
        if not self.run.busy and runs and runs[0].id != self.run.run_id:
            self.run.show_stored(self._project, runs[0], RewardSpec)
        if not self.run.busy and runs:
            # A run that was stopped before it measured says nothing of the model that there is.
            self._show_report(next((run.report for run in runs if run.report), {}))
        self._list_models({run.id: run for run in runs})

    def resume_run(self, run_id: str) -> None:
        """Have a run that ended early go on, and watch it here."""
        self.result.hide()
        self.trust.hide()
        self.run.resume(self._project, self._project.run(run_id), RewardSpec)
        self._offer()

    def take_news(self, news: News) -> None:
        """Follow the run this page started, or the estimate it asked for."""
        self.run.take_news(news)
        self.estimate.take_news(news)

    def _offer(self) -> None:
        ranked = self._project.label_counts().ranked
        short = FEWEST_COMPARISONS - ranked
        if short > 0:
            have = counted(ranked, "comparison") if ranked else "no comparison"
            self.data.setText(f"You have {have} with a winner; a reward model needs at least {FEWEST_COMPARISONS}.")
            reason = f"{counted(short, 'more comparison')} and it can be trained."
        else:
            held_out = float(self._form_value("held_out_share"))
            self.data.setText(
                f"{counted(ranked, 'comparison')} with a winner; about {percent(held_out)} of their prompts are held "
                "out to measure agreement."
            )
            reason = "" if self.form.usable else "A setting needs your attention before it can be trained."
        if self.run.busy:
            reason = "It is being trained; you can go on labelling."
        say_changes(self._settings, self.form)
        self.why_not.setText(reason)
        self.why_not.setVisible(bool(reason))
        self.to_label.setVisible(short > 0)
        self.train.setEnabled(not reason)
        self.train.setToolTip(reason or "Train on every comparison with a winner")
        self.estimate.offer(reason)

    def _form_value(self, name: str) -> float:
        """A number of the form; its default while what stands there cannot be used."""
        values = self.form.values() if self.form.usable else {}
        return float(values.get(name, getattr(RewardSpec, name)))

    def _start(self) -> None:
        job_id = uuid4().hex
        count = len(self._project.adapters(AdapterKind.REWARD)) + 1
        self.result.hide()
        self.trust.hide()
        self.estimate.clear()
        self.run.begin(job_id, RewardSpec)
        self._engine.submit(StartRun(job_id, RewardSpec.name, self.form.values(), name=f"reward {count}"))
        self._offer()

    def _estimate(self) -> None:
        self.estimate.ask(EstimateRun(uuid4().hex, RewardSpec.name, self.form.values()))

    def _ended(self, news: JobEnded) -> None:
        if news.run_id is not None:
            self._show_report(self._project.run(news.run_id).report)
        self.run.offer_to_resume(self._project)
        self.refresh()

    def _show_report(self, report: Mapping[str, object]) -> None:
        self.result.show_report(report)
        self.trust.show_report(report)

    def _go_to_label(self) -> None:
        self.go_to.emit("label")

    def _list_models(self, runs: dict[str, Run]) -> None:
        empty(self._models)
        adapters = self._project.adapters(AdapterKind.REWARD)
        self._earlier.setVisible(bool(adapters))
        for adapter in adapters:
            run = runs.get(adapter.run_id)
            measured = HeldOut.read(run.report) if run else None
            agreement = "not measured"
            if measured and measured.accuracy.n:
                agreement = f"{percent(measured.accuracy.value)} ({measured.interval_words()})"
            self._models.addWidget(label(f"{adapter.name} · {moment(adapter.created_at)} · {agreement}"))
