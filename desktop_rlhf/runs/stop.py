"""How a run is asked to end early."""

from __future__ import annotations

import threading


class StoppedError(Exception):
    """A run was asked to end before its first step, so there is nothing to keep."""


class StopToken:
    """Set by any thread, polled by the run before each micro-batch and inside sampling."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def request(self) -> None:
        """Ask the run to end at its next check, keeping what it has."""
        self._event.set()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise StoppedError once it is requested, for what has nothing to keep yet."""
        if self.requested:
            raise StoppedError


NEVER = StopToken()
"""Of work that nobody asks to end."""
