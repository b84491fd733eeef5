"""A row of the table: a detail with the breaks that tests catch, or advice with the place where it is followed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Break:
    """One change for the worse, and the test that fails because of it.

    Attributes:
        what: the change in words, as a sentence without its full stop.
        test: as pytest names it, ``tests/…/test_x.py::test_that_y``; parameters may follow in brackets.
        file: where ``old`` stands exactly once, from the checkout's top.
        old:  whole lines or a part of one.
        new:  what stands there instead.
    """

    what: str
    test: str
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Row:
    """A detail that is a property of our code; without any one of its ``breaks`` the code has it."""

    id: str
    detail: str
    breaks: tuple[Break, ...]


@dataclass(frozen=True)
class Advice:
    """A detail that states no property of our code.

    Attributes:
        why: what makes it advice, and where the program follows it.
    """

    id: str
    detail: str
    why: str
