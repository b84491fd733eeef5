"""How much of what there is a run learns from, and why it leaves the rest out: one count for note, report and page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from desktop_rlhf.runs.events import Noted
from desktop_rlhf.runs.stop import NEVER, StopToken

T = TypeVar("T")


class Reason(StrEnum):
    """Why a comparison, or a prompt to write to, is not learned from. The first that holds is the one that counts."""

    HELD_OUT_PROMPT = "held_out_prompt"
    SINGLE = "single"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    SKIPPED = "skipped"
    CALLED_BAD = "called_bad"
    NOT_ASKED = "not_asked"
    EMPTY = "empty"
    EQUAL_TEXTS = "equal_texts"
    PROMPT_TOO_LONG = "prompt_too_long"
    TOO_LONG = "too_long"
    HELD_OUT = "held_out"
    NO_ROOM = "no_room"
    REFUSE = "refuse"


WORDS = {
    Reason.HELD_OUT_PROMPT: "on held-out prompts",
    Reason.SINGLE: "of one completion alone",
    Reason.TIE: "ties",
    Reason.BOTH_BAD: "both bad",
    Reason.SKIPPED: "skipped",
    Reason.CALLED_BAD: "called bad",
    Reason.NOT_ASKED: "not asked for",
    Reason.EMPTY: "with an empty completion",
    Reason.EQUAL_TEXTS: "of equal texts",
    Reason.PROMPT_TOO_LONG: "with a prompt that fills max_length",
    Reason.TOO_LONG: "longer than max_length",
    Reason.HELD_OUT: "held out to measure on",
    Reason.NO_ROOM: "without room for max_new_tokens",
    Reason.REFUSE: "tagged refuse",
}


@dataclass(frozen=True, slots=True)
class Learned:
    """The count. ``kept`` and all that was ``left_out`` are together what there was.

    Attributes:
        cut:  completions learned from or measured on that were cut at their limit of tokens; no end token is made up
              for them.
        what: what is counted: comparison, judgement or prompt.
    """

    kept: int
    left_out: Mapping[Reason, int] = field(default_factory=dict)
    cut: int = 0
    what: str = "comparison"

    @property
    def total(self) -> int:
        return self.kept + sum(self.left_out.values())

    @property
    def why(self) -> str:
        """A sentence with the reasons, one space before it; empty when nothing was left out."""
        given = (f"{self.left_out[reason]:,} {_words(reason, self.left_out[reason])}" for reason in self.left_out)
        told = ", ".join(given)
        return f" Left out: {told}." if told else ""

    @property
    def share(self) -> str:
        """“118 of 130 comparisons”."""
        all_of = f"{self.total:,} {self.what}{'' if self.total == 1 else 's'}"
        return all_of if self.kept == self.total else f"{self.kept:,} of {all_of}"

    @property
    def sentence(self) -> str:
        """“Learns from 118 of 130 comparisons. Left out: 7 ties, 5 of equal texts.”"""
        completions = "completion was" if self.cut == 1 else "completions were"
        cut = f" {self.cut:,} {completions} cut at the limit of tokens and end without an end token."
        return f"Learns from {self.share}.{self.why}{cut if self.cut else ''}"

    @property
    def notes(self) -> tuple[Noted, ...]:
        """What a run says of it: nothing when it learns from everything, whole."""
        return (Noted(self.sentence),) if self.left_out or self.cut else ()

    def without(self, reason: Reason, count: int) -> Learned:
        """The same after ``count`` more were left out."""
        return replace(self, kept=self.kept - count, left_out=_added(self.left_out, {reason: count}))

    @classmethod
    def read(cls, report: Mapping[str, object]) -> Learned | None:
        """Back from a run's report; None where it has no count."""
        kept, left_out, cut = (report.get(name) for name in ("learned_from", "left_out", "cut"))
        if not (isinstance(kept, int) and isinstance(left_out, Mapping) and isinstance(cut, int)):
            return None
        what = str(report.get("counted", ""))
        return cls(kept, {Reason(name): count for name, count in left_out.items()}, cut, what)

    def report(self) -> dict[str, object]:
        """For a run's report, as JSON takes it."""
        left_out = {str(reason): count for reason, count in self.left_out.items()}
        return {"learned_from": self.kept, "counted": self.what, "left_out": left_out, "cut": self.cut}


def sifted(
    examples: Iterable[T],
    name: Callable[[T], str],
    why: Callable[[T], Reason | None],
    before: Mapping[Reason, int],
    stop: StopToken = NEVER,
) -> tuple[tuple[T, ...], Learned]:
    """The examples against which nothing speaks, and the count.

    Args:
        name:   the id of what an example comes from; it is kept when one of its examples is, and left out for the
                first reason otherwise.
        why:    the reason to leave an example out, or None.
        before: what was left out already.

    Raises:
        StoppedError: ``stop`` was requested.
    """
    kept: list[T] = []
    reasons: dict[str, Reason] = {}
    names: set[str] = set()
    for example in examples:
        stop.check()
        reason = why(example)
        if reason is None:
            kept.append(example)
            names.add(name(example))
        else:
            reasons.setdefault(name(example), reason)
    lost = Counter(reason for one, reason in reasons.items() if one not in names)
    return tuple(kept), Learned(len(names), _added(before, lost))


def _added(one: Mapping[Reason, int], other: Mapping[Reason, int]) -> dict[Reason, int]:
    """Both counts together, in the reasons' own order and without zeros."""
    both = {reason: one.get(reason, 0) + other.get(reason, 0) for reason in Reason}
    return {reason: count for reason, count in both.items() if count}


def _words(reason: Reason, count: int) -> str:
    return "tie" if reason is Reason.TIE and count == 1 else WORDS[reason]
