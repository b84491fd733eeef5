"""Compare two adapters blind, on prompts that were never trained on."""

from __future__ import annotations

from functools import partial
from random import SystemRandom
from uuid import uuid4

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QHideEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QStackedWidget, QVBoxLayout, QWidget

from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.curves.side_by_sides import BASE, SideBySideList, side_names
from desktop_rlhf.gui.curves.win_rate import MoreMatches, WinRateCard
from desktop_rlhf.gui.curves.wording import adapter_titles, percent, time_left
from desktop_rlhf.gui.forms.page_frame import card, fields, row, scrolling_column
from desktop_rlhf.gui.widgets.banner import Banner
from desktop_rlhf.gui.widgets.completion_card import CompletionCard
from desktop_rlhf.gui.widgets.controls import button, choice, fill
from desktop_rlhf.gui.widgets.prompt_text import prompt_text
from desktop_rlhf.gui.widgets.spin_boxes import CalmSpinBox
from desktop_rlhf.gui.widgets.stopwatch import Stopwatch
from desktop_rlhf.gui.widgets.text import ReadingText, Toast, label
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.records.verdicts import SideBySide, WinRate
from desktop_rlhf.workbench.messages import EngineFailed, JobEnded, JobProgressed, MatchReady, News, SampleMatches
from desktop_rlhf.workbench.project import Project
from desktop_rlhf.workbench.views import MatchShowing

REFUSAL_TAG = "refuse"
SAMPLER = Sampler(max_new_tokens=96)
USUAL_COUNT = 40


class ComparePage(QWidget):
    """Either the choice of what to compare, or the matches of one side by side.

    While matches are judged the win rate is not shown: knowing it bends the next judgement.

    Signals:
        go_to: the name of the page that holds what is missing.
    """

    go_to = Signal(str)

    def __init__(self, project: Project, engine: EngineHandle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self._engine = engine
        self._current: SideBySide | None = None
        self._showing: MatchShowing | None = None
        self._jobs: dict[str, str] = {}  # job id -> side by side id
        self._watch = Stopwatch()
        self._missing_page = ""
        self.banner = Banner("compare-error")
        self.pages = QStackedWidget()
        self._choosing = self._build_choice()
        self.pages.addWidget(self._choosing)
        self._judging = self._build_matches()
        self.pages.addWidget(self._judging)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.banner)
        layout.addWidget(self.pages, 1)
        self._bind_keys()
        self.refresh()

    # What stands on the page

    def _build_choice(self) -> QWidget:
        self.candidate = choice("compare-candidate", "The adapter to judge")
        self.baseline = choice("compare-baseline", "What to judge it against")
        self.count = CalmSpinBox()
        self.count.setObjectName("compare-count")
        self.count.setAccessibleName("Number of prompts")
        self.start = button("Start comparing", "compare-start", kind="primary")
        self.start.clicked.connect(self._start)
        self.why_not = label(role="hint", name="compare-hint")
        self.to_missing = button("", "compare-to-missing")
        self.to_missing.clicked.connect(self._go_to_missing)
        for box in (self.candidate, self.baseline):
            box.currentIndexChanged.connect(self._offer)
        rows = (("Candidate", self.candidate), ("Baseline", self.baseline), ("Held-out prompts", self.count))
        page = QWidget()
        column = scrolling_column(page)
        column.addWidget(label("Compare", "title"))
        column.addWidget(
            label("Both answer the same held-out prompts; you choose without knowing which is which.", "hint")
        )
        frame, inside = card()
        inside.addLayout(fields([(label(words, wrap=False), field) for words, field in rows]))
        inside.addLayout(row(self.start, self.to_missing))
        inside.addWidget(self.why_not)
        column.addWidget(frame)
        self._past = SideBySideList(self._project)
        self._past.opened.connect(self._enter)
        column.addWidget(self._past)
        column.addStretch(1)
        return page

    def _build_matches(self) -> QWidget:
        back = button("← All side by sides", "compare-back", kind="quiet")
        back.clicked.connect(self._leave)
        self.counter = label(role="hint", name="compare-counter", wrap=False)
        self.show_result = button("Show result", "compare-show-result")
        self.show_result.setToolTip("Ends the blindness to the score; the sides stay hidden")
        self.show_result.clicked.connect(self._reveal)
        self.result = WinRateCard()
        self.more = MoreMatches()
        self.more.wanted.connect(self._judge_more)
        self.more.prompts.connect(partial(self.go_to.emit, "prompts"))
        self.toast = Toast("compare-toast")
        self.waiting = label(role="heading", name="compare-waiting")
        self.waiting.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.progress = QProgressBar()
        self.progress.setObjectName("compare-progress")
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName("Progress of sampling")
        self.detail = label(role="hint", name="compare-detail")
        self.detail.setAlignment(Qt.AlignmentFlag.AlignCenter)

        self.prompt = ReadingText(most_lines=6)
        self.prompt.setAccessibleName("Prompt")
        self.sides = (CompletionCard(0), CompletionCard(1))
        both = QHBoxLayout()
        both.setSpacing(12)
        for side in self.sides:
            both.addWidget(side)
            side.picked.connect(self._pick)
        self.tie = button("T   Tie", "compare-tie", tip="Neither is better (key T)")
        self.tie.clicked.connect(partial(self._judge, "tie"))
        self.undo = button("Z   Undo", "compare-undo", tip="Take the last choice back (key Z)")
        self.undo.clicked.connect(self._undo)
        self._match = QWidget()
        column = QVBoxLayout(self._match)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.prompt)
        column.addLayout(both, 1)

        page = QWidget()
        page.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        outer = QVBoxLayout(page)
        outer.setContentsMargins(20, 14, 20, 12)
        outer.setSpacing(10)
        head = row(back, stretch=False)
        head.addWidget(self.toast, 1)
        head.addWidget(self.counter)
        head.addWidget(self.show_result)
        outer.addLayout(head)
        outer.addWidget(self.result)
        outer.addWidget(self.more)
        outer.addWidget(self.waiting)
        outer.addWidget(self.progress)
        outer.addWidget(self.detail)
        outer.addWidget(self._match, 1)
        outer.addLayout(row(self.tie, self.undo))
        outer.addStretch(0)
        return page

    def _bind_keys(self) -> None:
        self._keys = []
        for key, slot in (
            ("1", partial(self._pick, 0)),
            ("2", partial(self._pick, 1)),
            ("T", partial(self._judge, "tie")),
            ("Z", self._undo),
        ):
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.setAutoRepeat(False)  # a key held down judges once
            shortcut.activated.connect(slot)
            shortcut.setEnabled(False)
            self._keys.append(shortcut)

    def _turn_to(self, page: QWidget) -> None:
        """Show a view; the keys judge only where matches are."""
        self.pages.setCurrentWidget(page)
        for shortcut in self._keys:
            shortcut.setEnabled(page is self._judging)

    # What the shell calls

    def refresh(self) -> None:
        """Read adapters and side by sides again; a match that is being judged stays."""
        policies = self._project.adapters(AdapterKind.POLICY)
        fill(self.candidate, adapter_titles(policies))
        fill(self.baseline, adapter_titles(policies, BASE))
        held_out = len(self._prompts())
        chosen = self.count.value() or USUAL_COUNT
        self.count.setRange(min(1, held_out), held_out)
        self.count.setValue(chosen)
        self._offer()
        self._past.refresh()
        if self._current is not None and self._showing is None:
            self._next()

    def take_news(self, news: News) -> None:
        """Show a match as soon as one is ready, and say why there is none."""
        match news:
            case MatchReady(side_by_side_id=which) if self._current and which == self._current.id:
                if self._showing is None:
                    self._next()
                self._count()
            case JobProgressed(job_id=job_id, share=share, left_s=left_s) if job_id in self._jobs:
                left = "" if left_s is None else f", {time_left(left_s)}"
                self.progress.setRange(0, 1000)
                self.progress.setValue(round(1000 * share))
                self.detail.setText(f"{percent(share)} written{left}")
            case JobEnded(job_id=job_id) if job_id in self._jobs:
                del self._jobs[job_id]
                if news.status is RunStatus.FAILED:
                    self.banner.say(news.reason, news.next_step, news.traceback)
                self._no_more_comes()
            case EngineFailed() if self._jobs:
                self._jobs.clear()  # the window says why
                self._no_more_comes()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._watch.go_on()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._watch.pause()

    # Choosing what to compare

    def _prompts(self) -> list[Prompt]:
        return [prompt for prompt in self._project.prompts(Split.HELD_OUT) if REFUSAL_TAG not in prompt.tags]

    def _left(self, rate: WinRate) -> int:
        """How many more matches can be judged: a side by side has one of each prompt."""
        return max(0, len(self._prompts()) - rate.interval.n)

    def _offer(self) -> None:
        reason, self._missing_page, words = "", "", ""
        if not self.candidate.count():
            reason, self._missing_page, words = "There is no trained adapter to judge yet.", "train", "Train one"
        elif not self.count.maximum():
            reason, self._missing_page, words = "There are no held-out prompts.", "prompts", "Import prompts"
        elif self.candidate.currentData() == self.baseline.currentData():
            reason = "Choose two different ones; an adapter ties with itself."
        self.start.setEnabled(not reason)
        self.to_missing.setText(words)
        self.to_missing.setVisible(bool(self._missing_page))
        self.why_not.setText(reason or "Decide how many you will judge before you start, and judge them all.")

    def _start(self) -> None:
        try:
            made = self._project.side_by_side(
                self.candidate.currentData(), self.baseline.currentData(), self.count.value()
            )
        except WorldError as error:
            self.banner.show_error(error)
            return
        self._sample(made)
        self._enter(made)

    def _sample(self, which: SideBySide) -> None:
        """Ask for the matches; one seed for all of them, drawn anew so that a second look is not the first again."""
        job_id = uuid4().hex
        ids = tuple(prompt.id for prompt in self._prompts()[: which.planned])
        self._jobs[job_id] = which.id
        self.progress.setRange(0, 0)
        self.detail.clear()
        self._engine.submit(SampleMatches(job_id, which.id, ids, SAMPLER, SystemRandom().randrange(2**31)))

    # Judging

    def _enter(self, which: SideBySide) -> None:
        self._current = which
        if self._project.matches(which.id) < which.planned and which.id not in self._jobs.values():
            self._sample(which)  # the rest of what was decided on
        self.banner.hide()
        self.result.hide()
        self.toast.clear()
        self._turn_to(self._judging)
        self._next()
        self._judging.setFocus()

    def _judge_more(self, count: int) -> None:
        """Go on with the same two, blind to the score again."""
        assert self._current is not None
        try:
            more = self._project.plan_more(self._current.id, count)
        except WorldError as error:
            self.banner.show_error(error)
            return
        self._enter(more)

    def _leave(self) -> None:
        self._current = self._showing = None
        self._turn_to(self._choosing)
        self.refresh()

    def _next(self) -> None:
        assert self._current is not None
        self._show(self._project.next_match(self._current.id))

    def _no_more_comes(self) -> None:
        if self._current is None:
            return
        if self._showing is None:
            self._next()
        else:
            self._count()

    def _show(self, showing: MatchShowing | None) -> None:
        assert self._current is not None
        self._showing = showing
        sampling = self._current.id in self._jobs.values()
        self.more.hide()
        self._match.setVisible(showing is not None)
        self.tie.setVisible(showing is not None)
        self.waiting.setVisible(showing is None)
        self.progress.setVisible(showing is None and sampling)
        self.detail.setVisible(showing is None and sampling)
        if showing is not None:
            self.prompt.setPlainText(prompt_text(showing.prompt))
            self.sides[0].show_completion(showing.left, "Left")
            self.sides[1].show_completion(showing.right, "Right")
            self._watch.restart()
            if not self.isVisible():
                self._watch.pause()
        elif sampling:
            self.waiting.setText("The next matches are being written…")
        elif self._project.matches(self._current.id):
            self.waiting.setText("Every match is judged.")
            self._reveal()
            rate = self._project.win_rate(self._current.id)
            self.more.offer(rate, self._left(rate))
            self.more.show()
        else:
            self.waiting.setText("No match was written.")
        self._count()

    def _count(self) -> None:
        assert self._current is not None
        rate = self._project.win_rate(self._current.id)
        left = self._project.matches(self._current.id) - rate.interval.n
        same = f", {rate.same} the same on both sides" if rate.same else ""
        writing = ", more being written" if self._current.id in self._jobs.values() else ""
        self.counter.setText(f"{rate.asked} judged, {left} to go{same}{writing}")
        self.undo.setVisible(rate.asked > 0)
        self.show_result.setVisible(rate.asked > 0 and self.result.isHidden())
        if not self.result.isHidden():
            self._reveal()

    def _reveal(self) -> None:
        assert self._current is not None
        rate = self._project.win_rate(self._current.id)
        self.result.show_rate(rate, *side_names(self._project, self._current), self._left(rate))
        self.result.show()
        self.show_result.hide()

    def _pick(self, place: int) -> None:
        self._judge("right" if place else "left")

    def _judge(self, side: str, _checked: bool = False) -> None:
        if self._showing is None:
            return
        try:
            self._project.save_verdict(self._showing, side, duration_s=self._watch.seconds)
        except WorldError as error:
            self.banner.show_error(error)  # the match stays, to be judged again
            return
        self.banner.hide()
        self.toast.say({"left": "Left it is.", "right": "Right it is.", "tie": "A tie."}[side])
        self._next()

    def _undo(self) -> None:
        if self._current is None:
            return
        try:
            showing = self._project.undo_verdict(self._current.id)
        except WorldError as error:
            self.banner.show_error(error)
            return
        if showing is None:
            self.toast.say("There is nothing to take back.")
            return
        self.toast.say("Taken back. Choose again.")
        self.result.hide()
        self._show(showing)

    def _go_to_missing(self) -> None:
        self.go_to.emit(self._missing_page)
