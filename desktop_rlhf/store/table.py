"""What the tables share."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from desktop_rlhf.store.connection import Connection


class Table:
    """A group of methods over one connection."""

    def __init__(self, store: Connection) -> None:
        self.store = store

    def insert(self, table: str, row: Mapping[str, Any], *, ignore: bool = False) -> None:
        """Add one row; with ``ignore`` a row whose key is there already is left as it is."""
        verb = "INSERT OR IGNORE" if ignore else "INSERT"
        sql = f"{verb} INTO {table} ({', '.join(row)}) VALUES ({marks(row)})"
        self.store.db.execute(sql, list(row.values()))

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
        """Every row by the names of its columns; read whole, so that no statement stays open."""
        cursor = self.store.db.execute(sql, list(values))
        names = [column for column, *_ in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor.fetchall())

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The one value of a query that gives one row of one column."""
        return self.store.db.execute(sql, list(values)).fetchone()[0]


def marks(values: Collection[object]) -> str:
    """``?, ?, ?`` for as many values."""
    return ", ".join("?" * len(values))


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
