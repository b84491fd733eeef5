"""How long a job will still take, from how far it came in the time it worked."""

from __future__ import annotations

import time

SECONDS_BETWEEN_NEWS = 0.1
SECONDS_TO_TELL = 2.0


class Pace:
    """A stopwatch that stands still while the job is paused."""

    def __init__(self) -> None:
        self._worked_s = 0.0
        self._since: float | None = time.monotonic()
        self._said_at = 0.0

    def hold(self) -> None:
        if self._since is not None:
            self._worked_s += time.monotonic() - self._since
            self._since = None

    def go_on(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def due(self, share: float) -> bool:
        """Whether progress should be told now: ten times a second, and at the end."""
        now = time.monotonic()
        if now - self._said_at < SECONDS_BETWEEN_NEWS and share < 1:
            return False
        self._said_at = now
        return True

    def left_s(self, share: float) -> float | None:
        """Seconds of work left when ``share`` of it is done; None while there is too little to tell from."""
        worked = self._worked_s + (time.monotonic() - self._since if self._since is not None else 0.0)
        if worked < SECONDS_TO_TELL or share < 0.01:
            return None
        return worked * (1 - share) / share
