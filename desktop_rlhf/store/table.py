"""What the tables share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from desktop_rlhf.store.connection import Connection


class Table:
    """A group of methods over one connection."""

    def __init__(self, store: Connection) -> None:
        self.store = store

    def insert(self, table: str, row: Mapping[str, Any], *, ignore: bool = False) -> None:
        """Add one row; with ``ignore`` a row whose key is there already is left as it is."""
        self.store.db[table].insert(dict(row), ignore=ignore)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
        return iter(list(self.store.db.query(sql, list(values))))

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The one value of a query that gives one row of one column."""
        return self.store.db.execute(sql, list(values)).fetchone()[0]


def marks(values: Sequence[object]) -> str:
    """``?, ?, ?`` for as many values."""
    return ", ".join("?" * len(values))


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
