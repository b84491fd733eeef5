"""How a run is asked to end early."""

from __future__ import annotations

import threading


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
