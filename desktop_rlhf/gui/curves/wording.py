"""How curves, numbers, times and shares are written on the pages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime

from desktop_rlhf.records.adapters import Adapter
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.records.verdicts import Interval
from desktop_rlhf.runs.spec import Metric

TOOLTIP_WIDTH = 90  # characters; Qt breaks no line of a plain tooltip
STATUS_WORDS = {
    RunStatus.RUNNING: "running",
    RunStatus.COMPLETED: "completed",
    RunStatus.STOPPED: "stopped, kept",
    RunStatus.FAILED: "failed",
    RunStatus.INTERRUPTED: "interrupted",
}
NOTHING_KEPT = {
    RunStatus.STOPPED: "stopped, nothing kept",
    RunStatus.INTERRUPTED: "interrupted, nothing kept",
}
"""Of runs that left neither an adapter nor a checkpoint to go on from."""


def number(value: float) -> str:
    """Four figures, as short as they go: 0.6931, 12.3, 1e-4; a zero has no sign."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}".replace("-", "−")
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    if not exponent:
        return str(value)
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")


def meaning(metric: Metric) -> str:
    """What a curve is and what is healthy, in one line."""
    unit = f" [{metric.unit}]" if metric.unit else ""
    if_not = f" If not: {metric.if_not}." if metric.if_not else ""
    return _plain(f"{metric.title}{unit}: {metric.sentence}. Healthy: {metric.healthy}.{if_not}")


def definition(metric: Metric) -> str:
    """The name a curve is logged under, its meaning, formula and source, in lines that a tooltip has room for."""
    formula = _plain(f"Formula, its signs under Help: {metric.formula}.")
    parts = (metric.name, meaning(metric), formula, _plain(f"Source: {metric.source}."))
    return "\n".join(textwrap.fill(part, TOOLTIP_WIDTH) for part in parts)


def _plain(markdown: str) -> str:
    return markdown.replace("`", "")


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def interval_words(interval: Interval, what: str) -> str:
    """“95 % interval 55 to 83 %, n = 41 held-out comparisons”."""
    if interval.n == 0:
        return f"n = 0 {what}, so nothing is known yet"
    return f"95 % interval {100 * interval.low:.0f} to {100 * interval.high:.0f} %, n = {interval.n} {what}"


def counted(count: int, one: str, many: str = "") -> str:
    """“1 comparison”, “2 comparisons”."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(parts: Sequence[str]) -> str:
    """“a”, “a and b”, “a, b and c”."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def time_left(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute left"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {counted(minutes, 'minute')} left"
    return f"about {minutes // 60} h {minutes % 60:02d} min left"


def moment(stored: str) -> str:
    """A stored time in UTC as a person's own date and minute; empty stays empty."""
    try:
        return datetime.fromisoformat(stored).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stored


def adapter_titles(adapters: Iterable[Adapter], base: str = "") -> list[tuple[str, object]]:
    """(title, id) for a drop-down; ``base`` is the title of no adapter, left out when it is empty."""
    titles: list[tuple[str, object]] = [(base, None)] if base else []
    return titles + [(adapter.name, adapter.id) for adapter in adapters]
