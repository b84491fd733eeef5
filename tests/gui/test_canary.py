"""Faults of the binding that were measured once, so that a newer one is not taken in unseen."""

from __future__ import annotations

import sys

import pytest
from PySide6.QtCore import QObject, Signal


class _Speaker(QObject):
    said = Signal(object)


@pytest.mark.parametrize("value", [None, True])
def test_that_a_signal_takes_no_reference_from_what_it_carries(qapp, value) -> None:
    speaker = _Speaker()
    heard: list[object] = []
    speaker.said.connect(lambda what: heard.append(what is value))
    before = sys.getrefcount(value)
    for _ in range(5000):
        speaker.said.emit(value)
    assert len(heard) == 5000
    lost = before - sys.getrefcount(value)
    assert lost < 1000 or sys.version_info >= (3, 12)  # from 3.12 on these objects are immortal
