"""An order in the making: completions placed one by one, best first."""

from __future__ import annotations


class Ranking:
    """Keeps what was placed so far. The last completion is placed by itself, as the worst.

    A tie puts a completion on the rank of the one placed before it.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._placed: list[int] = []
        self._tied: list[bool] = []
        self.tie_next = False

    @property
    def complete(self) -> bool:
        """Whether every completion has its rank."""
        return len(self._placed) == self._count

    @property
    def started(self) -> bool:
        """Whether anything was placed."""
        return bool(self._placed)

    def place(self, index: int) -> None:
        """Put completion ``index`` next; one that has its place already stays there."""
        if index in self._placed or not 0 <= index < self._count:
            return
        self._put(index, self.tie_next and self.started)
        self.tie_next = False
        if len(self._placed) == self._count - 1:
            self._put(next(i for i in range(self._count) if i not in self._placed), False)

    def tie(self) -> None:
        """Tie the next completion with the one before it; when all are placed, the last with the one before it."""
        if self.complete:
            self._tied[-1] = not self._tied[-1]
        elif self.started:
            self.tie_next = not self.tie_next

    def take_back(self) -> None:
        """Lift the completion that the person placed last, and with it the one that followed by itself."""
        for _ in range(2 if self.complete else 1):
            if self._placed:
                self._placed.pop()
                self._tied.pop()
        self.tie_next = False

    def ranks(self) -> tuple[int | None, ...]:
        """One per completion, 1 is best, equal numbers tie, None has no place yet."""
        ranks: list[int | None] = [None] * self._count
        rank = 0
        for index, tied in zip(self._placed, self._tied, strict=True):
            rank += not tied
            ranks[index] = rank
        return tuple(ranks)

    def _put(self, index: int, tied: bool) -> None:
        self._placed.append(index)
        self._tied.append(tied)
