"""Completions of one prompt of which no two read the same."""

from __future__ import annotations

from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.runs.seeds import derive_seed

MOST_DRAWN_AGAIN = 3
"""Times that what repeats is drawn anew before fewer have to do."""


def same_text(one: Completion, other: Completion) -> bool:
    """Whether they read the same; nobody sees blanks at the ends."""
    return one.text.strip() == other.text.strip()


class DistinctGroup:
    """What was drawn for one prompt so far.

    The seed of each draw hangs on the prompt and on how many were drawn for it before, so the same command gives the
    same group whatever else is drawn beside it.

    Args:
        count:   how many completions are wanted.
        seed:    of the command.
        repeats: whether two may read the same.
    """

    def __init__(self, group_id: str, prompt: Prompt, count: int, seed: int, *, repeats: bool = False) -> None:
        self.id = group_id
        self.prompt = prompt
        self.completions: list[Completion] = []
        self._count = count
        self._seed = seed
        self._repeats = repeats
        self._draws = 0

    @property
    def missing(self) -> int:
        """How many more are wanted."""
        return self._count - len(self.completions)

    @property
    def gives_a_choice(self) -> bool:
        """Whether there are two to choose between, or all that were wanted."""
        return len(self.completions) >= min(2, self._count)

    def next_seeds(self) -> list[int]:
        """Seeds for what is missing; each is given once."""
        first, self._draws = self._draws, self._draws + self.missing
        return [derive_seed(self._seed, self.prompt.id, draw) for draw in range(first, self._draws)]

    def take(self, completion: Completion) -> None:
        """Keep a completion, unless it repeats one that is kept."""
        if self._repeats or not any(same_text(completion, kept) for kept in self.completions):
            self.completions.append(completion)
