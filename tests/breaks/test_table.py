"""The table of details: it is whole, what it names is there, and the note says what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from breaks.note import note
from breaks.table import GROUPS, broken_rows

ROOT = Path(__file__).parents[2]
NUMBERS = {"L": 12, "D": 9, "R": 11, "P": 22}
BREAKS = [pytest.param(one, id=f"{id}: {one.what}") for id, one in broken_rows()]


def test_that_every_row_is_there_once_and_in_order() -> None:
    wanted = [f"{letter}{number + 1}" for letter, count in NUMBERS.items() for number in range(count)]
    assert [row.id for rows in GROUPS.values() for row in rows] == wanted


def test_that_every_row_can_be_broken_or_says_why_not() -> None:
    for rows in GROUPS.values():
        for row in rows:
            assert getattr(row, "breaks", None) or getattr(row, "why", None), row.id


@pytest.mark.parametrize("one", BREAKS)
def test_that_what_is_to_be_broken_stands_where_the_table_says(one) -> None:
    assert (ROOT / one.file).read_text(encoding="utf-8").count(one.old) == 1
    assert one.new != one.old


@pytest.mark.parametrize("one", BREAKS)
def test_that_the_test_of_a_row_exists(one) -> None:
    file, name = one.test.split("::")
    assert re.search(rf"^def {re.escape(name.partition('[')[0])}\(", (ROOT / file).read_text(encoding="utf-8"), re.M)


def test_that_the_note_is_what_the_rows_generate() -> None:
    assert (ROOT / "resources" / "notes" / "correctness.md").read_text(encoding="utf-8") == note()
