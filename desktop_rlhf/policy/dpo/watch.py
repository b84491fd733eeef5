"""A word where DPO makes the chosen completions themselves much less likely."""

from __future__ import annotations

from collections.abc import Generator

from desktop_rlhf.runs.events import Event, Noted, StepTaken

FALLEN = -10.0
"""Nats, mean over a batch: less than a 20,000th as likely as under the reference."""


def told_when_chosen_fall(events: Generator[Event, None, int], beta: float) -> Generator[Event, None, int]:
    """The same events, with a note behind the first step whose chosen completions have fallen that far.

    Only the difference of chosen and rejected enters the loss, so the loss may look well while both of them fall.
    """
    told = False
    while True:
        try:
            event = next(events)
        except StopIteration as finished:
            return int(finished.value)
        yield event
        if told or not isinstance(event, StepTaken):
            continue
        fallen = event.metrics["rewards/chosen"] / beta
        if told := fallen < FALLEN:
            yield Noted(
                f"At step {event.step} the chosen completions are {-fallen:.0f} nats less likely than at the start, "
                "however well the margin looks. An rpo_alpha above 0 holds them; fewer steps or a higher beta help too."
            )
