"""Train a policy by any algorithm there is, and watch it."""

from __future__ import annotations

from typing import TypeVar
from uuid import uuid4

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QButtonGroup, QLineEdit, QWidget

from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.curves.held_out import HeldOut
from desktop_rlhf.gui.curves.live_run import LiveRun
from desktop_rlhf.gui.curves.wording import adapter_titles, counted, listed
from desktop_rlhf.gui.forms.page_frame import Folded, card, fields, row, scrolling_column
from desktop_rlhf.gui.forms.run_estimate import RunEstimate
from desktop_rlhf.gui.forms.spec_form import SpecForm, say_changes
from desktop_rlhf.gui.widgets.controls import button, choice, fill
from desktop_rlhf.gui.widgets.text import label
from desktop_rlhf.records.adapters import LONGEST_NAME, AdapterKind
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.spec import AlgorithmSpec
from desktop_rlhf.workbench.algorithms import TRAINABLE, spec_named
from desktop_rlhf.workbench.messages import EstimateRun, JobEnded, News, StartRun
from desktop_rlhf.workbench.project import Project
from desktop_rlhf.workbench.views import LabelCounts

C = TypeVar("C", StartRun, EstimateRun)
POLICY_SPECS: tuple[type[AlgorithmSpec], ...] = tuple(spec for spec in TRAINABLE if spec.makes == AdapterKind.POLICY)


class TrainPage(QWidget):
    """Everything on it comes from the specs; a new algorithm needs no line here.

    Signals:
        go_to: the name of the page that holds what is missing, or what comes next.
    """

    go_to = Signal(str)

    def __init__(self, project: Project, engine: EngineHandle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self._engine = engine
        self._missing_page = ""
        self.spec = POLICY_SPECS[0]

        self._algorithms = QButtonGroup(self)
        segments = row()
        for i, spec in enumerate(POLICY_SPECS):
            segment = button(spec.title, f"algorithm-{spec.name}", kind="segment", tip=spec.sentence, checkable=True)
            segment.setChecked(i == 0)
            self._algorithms.addButton(segment, i)
            segments.insertWidget(i, segment)
        self._algorithms.idToggled.connect(self._choose)
        self.about = label(role="hint", name="algorithm-sentence")
        self.parent_box = choice("train-parent", "The adapter to start from")
        self.reward_box = choice("train-reward", "The reward model to train against")
        self._reward_label = label("Reward model", wrap=False)
        self.doubt = label(role="warn", name="reward-doubt")
        self.reward_box.currentIndexChanged.connect(self._doubt)
        self.name = QLineEdit()
        self.name.setObjectName("train-name")
        self.name.setAccessibleName("Name of the new adapter")
        self.name.setMaxLength(LONGEST_NAME)
        self._forms: dict[str, SpecForm] = {}
        self.start = button("Start training", "train-start", kind="primary")
        self.start.clicked.connect(self._start)
        self.estimate = RunEstimate(engine, "train", self)
        self.estimate.wanted.connect(self._estimate)
        for box in (self.parent_box, self.reward_box):
            box.currentIndexChanged.connect(self.estimate.clear)
        self.why_not = label(role="hint", name="train-hint")
        self.to_missing = button("", "train-to-missing")
        self.to_missing.clicked.connect(self._go_to_missing)
        self.run = LiveRun(engine)
        self.run.ended.connect(self._ended)
        self.run.resumes.connect(self.resume_run)
        self.compare = button("Compare with the base, blind", "train-compare", kind="primary")
        self.compare.setToolTip("Judge both side by side on prompts that were never trained on")
        self.compare.clicked.connect(self._go_to_compare)
        self.compare.hide()

        column = scrolling_column(self)
        column.addWidget(label("Train", "title"))
        frame, inside = card()
        inside.addLayout(segments)
        inside.addWidget(self.about)
        start_label, name_label = label("Start from", wrap=False), label("Name", wrap=False)
        chosen = fields(
            [(start_label, self.parent_box), (self._reward_label, self.reward_box), (name_label, self.name)]
        )
        chosen.addWidget(self.doubt, 1, 2)  # beside the reward model
        inside.addLayout(chosen)
        self._settings = Folded("Settings", "train-settings", tip="Every setting with its unit and default")
        inside.addWidget(self._settings)
        inside.addLayout(row(self.start, self.estimate.button, self.to_missing))
        inside.addWidget(self.estimate.answer)
        inside.addWidget(self.why_not)
        column.addWidget(frame)
        column.addLayout(row(self.compare))
        column.addWidget(self.run)
        column.addStretch(1)
        self._choose(0, True)
        self.refresh()

    @property
    def form(self) -> SpecForm:
        """The settings of the algorithm that is chosen; made, as it was last started, when it is chosen first."""
        if self.spec.name not in self._forms:
            made = self._forms[self.spec.name] = SpecForm(self.spec)
            made.set_values(self._project.last_settings(self.spec.name))
            made.changed.connect(self._offer)
            made.changed.connect(self.estimate.clear)
            self._settings.content.addWidget(made)
        return self._forms[self.spec.name]

    def refresh(self) -> None:
        """Read adapters, reward models and comparisons again; with nothing running, show the newest run."""
        fill(self.parent_box, adapter_titles(self._project.adapters(AdapterKind.POLICY), "The base model"))
        fill(self.reward_box, adapter_titles(self._project.adapters(AdapterKind.REWARD)))
        self._doubt()
        self._suggest_name()
        specs = {spec.name: spec for spec in POLICY_SPECS}
        newest = next((run for run in self._project.runs() if run.algorithm in specs), None)
        if newest and not self.run.busy and newest.id != self.run.run_id:
            self.run.show_stored(self._project, newest, specs[newest.algorithm])
            self.compare.setVisible(newest.status in (RunStatus.COMPLETED, RunStatus.STOPPED))
        self._offer()

    def resume_run(self, run_id: str) -> None:
        """Have a run that ended early go on, and watch it here."""
        run = self._project.run(run_id)
        self.compare.hide()
        self.run.resume(self._project, run, spec_named(run.algorithm))
        self._offer()

    def take_news(self, news: News) -> None:
        """Follow the run this page started, or the estimate it asked for."""
        self.run.take_news(news)
        self.estimate.take_news(news)

    def _choose(self, index: int, chosen: bool) -> None:
        if not chosen:
            return
        self.spec = POLICY_SPECS[index]
        self.about.setText(self.spec.sentence)
        chosen_form = self.form
        for form in self._forms.values():
            form.setVisible(form is chosen_form)
        self.reward_box.setVisible(self.spec.needs_reward_model)
        self._reward_label.setVisible(self.spec.needs_reward_model)
        self._doubt()
        self._suggest_name()
        self.estimate.clear()
        self._offer()

    def _doubt(self) -> None:
        """Say where the reward model that is chosen has not shown that it agrees with the person. It may be used."""
        adapters = self._project.adapters(AdapterKind.REWARD) if self.spec.needs_reward_model else []
        run_id = next((adapter.run_id for adapter in adapters if adapter.id == self.reward_box.currentData()), None)
        measured = HeldOut.read(self._project.run(run_id).report) if run_id else None
        said = measured.doubt() if measured else ""
        self.doubt.setText(said)
        self.doubt.setVisible(bool(said))

    def _suggest_name(self) -> None:
        """A free name as the placeholder, which is taken when nothing is written."""
        taken = {adapter.name for adapter in self._project.adapters()}
        number = 1
        while f"{self.spec.name} {number}" in taken:
            number += 1
        self.name.setPlaceholderText(f"{self.spec.name} {number}")

    def _missing(self) -> tuple[str, str, str]:
        """(what is missing, the page that has it, the words of the button); empty when nothing is."""
        counts, title = self._project.label_counts(), self.spec.title
        if self.spec.needs_comparisons and not counts.ranked:
            return f"{title} learns from comparisons, and you made none yet.", "label", "Label comparisons"
        missing = [
            kind
            for kind, needed, there in (
                ("good", self.spec.needs_good, counts.with_good),
                ("bad", self.spec.needs_bad, counts.with_bad),
            )
            if needed and not there
        ]
        if missing:
            said = f"{title} learns from {listed(missing)} completions, and there are none yet: label, or import some."
            return said, "label", "Label comparisons"
        if self.spec.needs_reward_model and not self.reward_box.count():
            return f"{title} needs a reward model, and there is none yet.", "reward", "Train a reward model"
        if not self._project.prompts_to_sample(1):
            return "There are no prompts to train on.", "prompts", "Import prompts"
        return "", "", ""

    def _offer(self) -> None:
        reason, self._missing_page, words = self._missing()
        sources = learned_from(self.spec, self._project.label_counts())
        ready = f"It learns from {listed(sources)}." if sources else ""
        if not reason and not self.form.usable:
            reason = "A setting needs your attention before training can start."
        if self.run.busy:
            reason = "A run is under way; you can label meanwhile, or stop it below."
        say_changes(self._settings, self.form)
        self.to_missing.setText(words)
        self.to_missing.setVisible(bool(self._missing_page))
        self.start.setEnabled(not reason)
        self.start.setToolTip(reason or "Start with these settings")
        self.estimate.offer(reason)
        said = reason or ready
        self.why_not.setText(said)
        self.why_not.setVisible(bool(said))

    def _start(self) -> None:
        job_id = uuid4().hex
        self.compare.hide()
        self.estimate.clear()
        self.run.begin(job_id, self.spec)
        self._engine.submit(self._asked(StartRun, job_id))
        self.name.clear()
        self._offer()

    def _estimate(self) -> None:
        self.estimate.ask(self._asked(EstimateRun, uuid4().hex))

    def _asked(self, kind: type[C], job_id: str) -> C:
        """What stands on the page, to be done or to be estimated."""
        return kind(
            job_id,
            self.spec.name,
            self.form.values(),
            parent_adapter_id=self.parent_box.currentData(),
            reward_adapter_id=self.reward_box.currentData() if self.spec.needs_reward_model else None,
            name=self.name.text().strip() or self.name.placeholderText(),
        )

    def _ended(self, news: JobEnded) -> None:
        self.compare.setVisible(news.adapter_id is not None)
        self.run.offer_to_resume(self._project)
        self.refresh()

    def _go_to_missing(self) -> None:
        self.go_to.emit(self._missing_page)

    def _go_to_compare(self) -> None:
        self.go_to.emit("compare")


def learned_from(spec: type[AlgorithmSpec], counts: LabelCounts) -> list[str]:
    """What there is for an algorithm to learn from, in words, kind by kind."""
    kinds = (
        (
            spec.needs_comparisons or spec.needs_good,
            counts.ranked,
            "comparison with a winner",
            "comparisons with a winner",
        ),
        (spec.needs_bad, counts.both_bad, "comparison called all bad", "comparisons called all bad"),
        (spec.needs_good, counts.demonstrations, "demonstration", ""),
        (spec.needs_good, counts.good, "completion judged good", "completions judged good"),
        (spec.needs_bad, counts.bad, "completion judged bad", "completions judged bad"),
    )
    return [counted(count, one, many) for wanted, count, one, many in kinds if wanted and count]
