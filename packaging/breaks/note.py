"""The note that the table becomes."""

from __future__ import annotations

from collections.abc import Iterator

from breaks.row import Advice, Break, Row
from breaks.table import GROUPS

HEAD = """# Details that decide whether training works

A training loop can look healthy and still teach the wrong thing: a mask off by one, a reference at another temperature,
a penalty at the wrong token. Each row below is such a detail, the test that holds it, and what was broken on purpose to
see that test fail. `python3 packaging/dev.py breaks` breaks all of it again, one thing at a time in a copy of the
program, and fails where a test does not notice; the exact lines are in `packaging/breaks`.

A test is named as the sentence is, with `test_that_` before it and underscores for spaces. Rows that state no property
of the program's code are advice, and say where the program follows it.
"""


def note() -> str:
    """The table as Markdown."""
    return "".join([HEAD, *(line for title, rows in GROUPS.items() if rows for line in _group(title, rows))])


def _group(title: str, rows: tuple[Row | Advice, ...]) -> Iterator[str]:
    yield f"\n## {title}\n\n| Row | Detail | Held by | Broken, and caught |\n|---|---|---|---|\n"
    for row in rows:
        if isinstance(row, Advice):
            yield _line(row.id, row.detail, f"Advice. {row.why}", "")
        else:
            for i, one in enumerate(row.breaks):
                yield _line(*(("", "") if i else (row.id, row.detail)), _test(one), f"{one.what}: `{one.file}`")


def _test(one: Break) -> str:
    file, name = one.test.split("::")
    return f"{name.partition('[')[0].removeprefix('test_that_').replace('_', ' ')}: `{file}`"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
