"""The Label page: completions side by side, blind, and one key to choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QHideEvent, QKeySequence, QResizeEvent, QShortcut, QShowEvent
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QProgressBar,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from desktop_rlhf.gui.bridge.engine_thread import EngineHandle
from desktop_rlhf.gui.bridge.sampling_ahead import SamplingAhead
from desktop_rlhf.gui.widgets.answer_bar import AnswerBar, what_was_saved
from desktop_rlhf.gui.widgets.banner import Banner
from desktop_rlhf.gui.widgets.centred import centred
from desktop_rlhf.gui.widgets.completion_card import CompletionCard
from desktop_rlhf.gui.widgets.controls import button
from desktop_rlhf.gui.widgets.prompt_text import prompt_text
from desktop_rlhf.gui.widgets.ranking import Ranking
from desktop_rlhf.gui.widgets.sampling_bar import SamplingBar
from desktop_rlhf.gui.widgets.stopwatch import Stopwatch
from desktop_rlhf.gui.widgets.strength import KEYS
from desktop_rlhf.gui.widgets.text import ReadingText, Toast, label
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.workbench.messages import CompletionsReady, News
from desktop_rlhf.workbench.project import Project
from desktop_rlhf.workbench.views import Showing

MOST_AT_ONCE = 6
ENOUGH_FOR_A_REWARD_MODEL = 20
NARROWEST_CARD = 300  # pixels


class LabelPage(QWidget):
    """Shows a group that waits and saves what is said of it at once.

    The oldest of the adapter that is sampled from comes first, then the oldest of all.

    Signals:
        go_to: the page that an empty state offers.
    """

    go_to = Signal(str)

    def __init__(self, project: Project, engine: EngineHandle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("label-page")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._project = project
        self._showing: Showing | None = None
        self._ranking: Ranking | None = None
        self._awaited = False  # the first group of an adapter that was asked for
        self._watch = Stopwatch()
        self._ahead = SamplingAhead(project, engine, self)
        self._ahead.changed.connect(self._follow_sampling)
        self._ahead.failed.connect(self._sampling_failed)
        self._build()
        self._bind_keys()
        self._use_sampling()

    # What stands on the page

    def _build(self) -> None:
        self._banner = Banner("label-banner", "Sample again")
        self._banner.retry.connect(self._ahead.ask_again)
        self._states = QStackedWidget()
        self._states.addWidget(self._build_showing())
        self._states.addWidget(self._build_waiting())
        self._states.addWidget(self._build_empty())
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 14, 20, 12)
        column.setSpacing(10)
        column.addLayout(self._build_head())
        column.addWidget(self._banner)
        column.addWidget(self._states, 1)
        column.addWidget(self._build_answers())
        column.addLayout(self._build_sampling())

    def _build_head(self) -> QHBoxLayout:
        self._counter = label(role="hint", name="label-counter", wrap=False)
        self._offer = button("Enough for a first reward model", "label-offer", kind="quiet")
        self._offer.setToolTip("Go to the Reward model page")
        self._offer.clicked.connect(lambda: self.go_to.emit("reward"))
        self._toast = Toast("label-toast")
        row = QHBoxLayout()
        row.addWidget(label("Label", role="title", wrap=False))
        row.addSpacing(12)
        row.addWidget(self._toast, 1)
        row.addWidget(self._offer)
        row.addWidget(self._counter)
        return row

    def _build_showing(self) -> QWidget:
        self._prompt = ReadingText(most_lines=7)
        self._prompt.setObjectName("label-prompt")
        self._prompt.setAccessibleName("Prompt")
        self._prompt.setProperty("prompt", "true")
        self._cards = [CompletionCard(place) for place in range(MOST_AT_ONCE)]
        grid_home = QWidget()
        self._grid = QGridLayout(grid_home)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(12)
        for card in self._cards:
            card.picked.connect(self._pick)
            card.setParent(grid_home)
            card.hide()
        scroll = QScrollArea(widgetResizable=True)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(grid_home)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(self._prompt)
        column.addWidget(scroll, 1)
        return page

    def _build_waiting(self) -> QWidget:
        self._wait_sentence = label(role="heading", name="label-waiting")
        self._wait_bar = QProgressBar()
        self._wait_bar.setTextVisible(False)
        self._wait_again = button("Sample again", "label-sample-again", kind="primary")
        self._wait_again.clicked.connect(self._ahead.ask_again)
        return centred(self._wait_sentence, self._wait_bar, self._wait_again)

    def _build_empty(self) -> QWidget:
        sentence = label("There are no prompts to write completions for yet.", role="heading")
        to_prompts = button("Import prompts…", "label-import", kind="primary")
        to_prompts.clicked.connect(lambda: self.go_to.emit("prompts"))
        return centred(sentence, to_prompts)

    def _build_answers(self) -> QWidget:
        self._answers = AnswerBar()
        for made, slot in (
            (self._answers.accept, self._accept_ranking),
            (self._answers.back, self._take_back),
            (self._answers.tie_next, self._tie_with_next),
            (self._answers.tie, partial(self._save, Outcome.TIE)),
            (self._answers.bad, partial(self._save, Outcome.BOTH_BAD)),
            (self._answers.skip, partial(self._save, Outcome.SKIPPED)),
            (self._answers.undo, self._take_back_judgement),
        ):
            made.clicked.connect(lambda _=False, slot=slot: slot())
        return self._answers

    def _build_sampling(self) -> QVBoxLayout:
        self._sampling = SamplingBar(self._project.info.id, self._project.adapters(AdapterKind.POLICY))
        self._sampling.changed.connect(self._use_sampling)
        self._sampling.done.connect(self.setFocus)
        self._passed_over = label(role="hint", name="label-passed-over")
        self._passed_over.hide()
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addWidget(self._sampling)
        column.addWidget(self._passed_over)
        return column

    def _bind_keys(self) -> None:
        answers = self._answers
        keys: dict[str, Callable[[], None]] = {
            "T": answers.tie.click,
            "B": answers.bad.click,
            "S": answers.skip.click,
            "F": answers.flag.click,
            "Z": answers.undo.click,
            "=": answers.tie_next.click,
            "Backspace": answers.back.click,
            "Return": answers.accept.click,
            "Enter": answers.accept.click,
        }
        keys |= {str(place + 1): partial(self._pick, place) for place in range(MOST_AT_ONCE)}
        keys |= {key: partial(answers.strength.toggle, step) for key, step in KEYS.items()}
        for key, slot in keys.items():
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.setAutoRepeat(False)  # a key held down judges once
            shortcut.activated.connect(slot)

    # What the shell calls

    def refresh(self) -> None:
        """Read the store again; a group that is being judged stays."""
        self._fill_adapters()
        if self._showing is None:
            self._show_next()
        self._count_labels()
        self._ahead.top_up()

    def take_news(self, news: News) -> None:
        """Follow the engine; show a group as soon as one is ready."""
        self._ahead.take_news(news)
        if isinstance(news, CompletionsReady):
            if self._showing is None:
                self._show_next()
            self._count_labels()

    def sample_from(self, adapter_id: str) -> None:
        """Write with this adapter from now on, and show nothing else before its first group."""
        self._fill_adapters()
        self._sampling.choose_adapter(adapter_id)
        if self._showing is None or self._showing.adapter_id != adapter_id:
            self._awaited = True
            self._show_next()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._watch.go_on()
        self.setFocus()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._watch.pause()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay_cards()

    # Showing

    def _show_next(self) -> None:
        own = self._project.next_showing_from(self._sampling.adapter_id)
        self._awaited = self._awaited and own is None and not self._ahead.held
        self._show(own if own is not None or self._awaited else self._project.next_showing())

    def _show(self, showing: Showing | None) -> None:
        self._showing = showing
        self._ranking = None
        self._answers.show_for(len(showing.completions) if showing else 0)
        ranks = showing is not None and showing.mode == "ranking"
        if showing is None:
            self._show_waiting()
            return
        self._states.setCurrentIndex(0)
        self._prompt.setPlainText(prompt_text(showing.prompt))
        if ranks:
            self._ranking = Ranking(len(showing.completions))
        for card, completion in zip(self._cards, showing.completions, strict=False):
            card.show_completion(completion, "Place" if ranks else "This one")
        self._lay_cards()
        self._show_ranks()
        self._watch.restart()
        if not self.isVisible():
            self._watch.pause()

    def _lay_cards(self) -> None:
        count = len(self._showing.completions) if self._showing else 0
        fitting = max(1, (self.width() - 40) // NARROWEST_CARD)
        columns = max(1, min(fitting, 3 if count != 4 else 2, count))
        for place, card in enumerate(self._cards):
            self._grid.removeWidget(card)
            card.setVisible(place < count)
            if place < count:
                self._grid.addWidget(card, place // columns, place % columns)

    def _follow_sampling(self) -> None:
        self._passed_over.setText(self._ahead.passed_over)
        self._passed_over.setVisible(bool(self._ahead.passed_over))
        if self._awaited and self._ahead.held:  # it does not come, so others do
            self._show_next()
        self._show_waiting()

    def _show_waiting(self) -> None:
        if self._showing is not None:
            return
        empty = not self._project.prompts_to_sample(1)
        self._states.setCurrentIndex(2 if empty else 1)
        self._wait_sentence.setText(self._ahead.sentence)
        self._wait_again.setVisible(self._ahead.held)
        self._wait_bar.setVisible(not self._ahead.held)
        self._wait_bar.setRange(0, 0 if self._ahead.share is None else 1000)
        self._wait_bar.setValue(round(1000 * (self._ahead.share or 0.0)))

    def _count_labels(self) -> None:
        counts = self._project.label_counts()
        judged = counts.ranked + counts.ties + counts.both_bad
        self._counter.setText(f"{judged:,} judged · {counts.waiting} waiting")
        self._counter.setToolTip(
            f"{counts.ranked} ordered, {counts.ties} ties, {counts.both_bad} all bad, {counts.skipped} skipped, "
            f"{counts.flagged} flagged"
        )
        self._offer.setVisible(counts.ranked >= ENOUGH_FOR_A_REWARD_MODEL and not self._project.has_reward_model)

    def _fill_adapters(self) -> None:
        self._sampling.offer(self._project.adapters(AdapterKind.POLICY))

    def _use_sampling(self) -> None:
        self._awaited = False
        self._ahead.use(self._sampling.count, self._sampling.adapter_id, self._sampling.longest)
        if self._showing is None:
            self._show_next()

    # Judging

    def _pick(self, place: int) -> None:
        if self._showing is None or place >= len(self._showing.completions):
            return
        if self._ranking is not None:
            self._ranking.place(place)
            self._show_ranks()
        else:
            self._save(Outcome.RANKED, (1, 2) if place == 0 else (2, 1))

    def _tie_with_next(self) -> None:
        if self._ranking is not None:
            self._ranking.tie()
            self._show_ranks()

    def _take_back(self) -> None:
        if self._ranking is not None:
            self._ranking.take_back()
            self._show_ranks()

    def _accept_ranking(self) -> None:
        if self._ranking is not None and self._ranking.complete:
            self._save(Outcome.RANKED, tuple(rank for rank in self._ranking.ranks() if rank is not None))

    def _show_ranks(self) -> None:
        if self._ranking is None:
            return
        ranks = self._ranking.ranks()
        for card, rank in zip(self._cards, ranks, strict=False):
            tied = " (tied)" if rank is not None and ranks.count(rank) > 1 else ""
            card.show_rank("" if rank is None else f"Rank {rank}{tied}")
        self._answers.accept.setEnabled(self._ranking.complete)
        self._answers.back.setEnabled(self._ranking.started)
        self._answers.tie_next.setEnabled(self._ranking.started)
        self._answers.tie_next.setChecked(self._ranking.tie_next)

    def _save(self, outcome: Outcome, ranks: tuple[int, ...] = ()) -> None:
        if self._showing is None:
            return
        if len(set(ranks)) == 1:  # every completion on one rank is a tie, and is stored as one
            outcome, ranks = Outcome.TIE, ()
        strength = self._answers.strength.value if outcome is Outcome.RANKED and self._ranking is None else None
        flagged = self._answers.flag.isChecked()
        try:
            self._project.save_comparison(
                self._showing, outcome, ranks, strength=strength, flagged=flagged, duration_s=self._watch.seconds
            )
        except WorldError as error:
            self._banner.show_error(error)  # the judgement stays on the page, to be made again
            return
        self._banner.hide()
        self._toast.say(what_was_saved(outcome, ranks, strength, flagged))
        self._next()

    def _take_back_judgement(self) -> None:
        try:
            showing = self._project.undo()
        except WorldError as error:
            self._banner.show_error(error)
            return
        if showing is None:
            self._toast.say("There is nothing to take back.")
            return
        self._show(showing)
        self._count_labels()
        self._toast.say("Taken back. Choose again.")

    def _next(self) -> None:
        self._show_next()
        self._count_labels()
        self._ahead.top_up()

    def _sampling_failed(self, sentence: str, next_step: str, report: str) -> None:
        self._banner.say(sentence, next_step, report)
