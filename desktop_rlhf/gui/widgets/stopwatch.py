"""How long a judgement took, measured while it could be seen."""

from __future__ import annotations

from time import monotonic


class Stopwatch:
    """Runs on a clock that never goes back; the time in a pause does not count."""

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    def restart(self) -> None:
        self._before, self._since = 0.0, monotonic()

    def pause(self) -> None:
        self._before, self._since = self.seconds, None

    def go_on(self) -> None:
        if self._since is None:
            self._since = monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the restart, pauses left out."""
        return self._before + (monotonic() - self._since if self._since is not None else 0.0)
