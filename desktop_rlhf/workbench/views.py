"""What a project gives to be shown: completions to be judged, and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from desktop_rlhf.comparisons.modes import PAIRWISE, RANKING
from desktop_rlhf.comparisons.single import DEMONSTRATION, SINGLE
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.records.verdicts import Match


@dataclass(frozen=True, slots=True)
class Showing:
    """Completions of one prompt as they stand side by side; their order is shuffled and stored with the judgement."""

    group_id: str
    mode: str
    prompt: Prompt
    completions: tuple[Completion, ...]

    @property
    def adapter_id(self) -> str | None:
        """Whose completions they are; None is the base."""
        return self.completions[0].adapter_id


@dataclass(frozen=True, slots=True)
class MatchShowing:
    """One match of a blind side by side."""

    match: Match
    prompt: Prompt
    left: Completion
    right: Completion


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """How many judgements stand, and how many groups wait for one.

    Attributes:
        ranked, ties, both_bad, skipped: of completions that stood side by side.
        demonstrations:                  completions that were given as what to write.
        good, bad:                       completions that were called so by themselves.
    """

    ranked: int
    ties: int
    both_bad: int
    skipped: int
    flagged: int
    waiting: int
    demonstrations: int = 0
    good: int = 0
    bad: int = 0

    @classmethod
    def of(cls, counts: Mapping[tuple[str, Outcome], int], flagged: int, waiting: int) -> LabelCounts:
        """By mode and outcome."""
        side_by_side = {
            outcome: sum(counts.get((mode, outcome), 0) for mode in (PAIRWISE, RANKING)) for outcome in Outcome
        }
        return cls(
            ranked=side_by_side[Outcome.RANKED],
            ties=side_by_side[Outcome.TIE],
            both_bad=side_by_side[Outcome.BOTH_BAD],
            skipped=side_by_side[Outcome.SKIPPED],
            flagged=flagged,
            waiting=waiting,
            demonstrations=counts.get((DEMONSTRATION, Outcome.RANKED), 0),
            good=counts.get((SINGLE, Outcome.RANKED), 0),
            bad=counts.get((SINGLE, Outcome.BOTH_BAD), 0),
        )

    @property
    def with_good(self) -> int:
        """How many of them call a completion good."""
        return self.ranked + self.demonstrations + self.good

    @property
    def with_bad(self) -> int:
        """How many of them call a completion bad."""
        return self.ranked + self.both_bad + self.bad


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows of a file that were not taken for one reason.

    Attributes:
        why:   a sentence.
        lines: of the first few.
    """

    why: str
    rows: int
    lines: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """The reason with how many rows there were and where the first of them are."""
        named = f"line{'' if self.rows == 1 else 's'} {', '.join(map(str, self.lines))}"
        more = self.rows - len(self.lines)
        return f"{self.why.removesuffix('.')} ({named}{f' and {more:,} more' if more else ''})."


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What a file brought: new prompts, prompts that were there already, and what is new of the rest.

    Attributes:
        judgements: of single completions as good or bad.
        left_out:   rows that were not taken, by reason.
    """

    prompts: int
    duplicates: int
    comparisons: int
    demonstrations: int = 0
    judgements: int = 0
    left_out: tuple[LeftOut, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows were taken; each has one prompt."""
        return self.prompts + self.duplicates

    @property
    def omission(self) -> str:
        """How many rows were left out and why, in sentences; empty when all were taken."""
        if not self.left_out:
            return ""
        rows = sum(reason.rows for reason in self.left_out)
        count = f"{rows:,} of {self.rows + rows:,} rows {'was' if rows == 1 else 'were'} left out."
        return " ".join([count, *(reason.sentence for reason in self.left_out)])


@dataclass(frozen=True, slots=True)
class Sources:
    """How many comparisons, demonstrations and judgements of single completions a run learned from."""

    comparisons: int
    demonstrations: int
    judgements: int

    @classmethod
    def of(cls, judgements: Mapping[str, int]) -> Sources:
        """By mode."""
        demonstrations, single = judgements.get(DEMONSTRATION, 0), judgements.get(SINGLE, 0)
        return cls(sum(judgements.values()) - demonstrations - single, demonstrations, single)
