"""Adapters, by the folders they stand in."""

from __future__ import annotations

from collections.abc import Sequence

from desktop_rlhf.records.adapters import Adapter, AdapterKind, told_apart
from desktop_rlhf.store import clock
from desktop_rlhf.store.table import Table

_NAMESAKES = """
    WITH asked AS (SELECT name FROM adapters WHERE id = ?)
    SELECT adapters.* FROM adapters, asked WHERE instr(adapters.name, asked.name) = 1
        OR adapters.run_id IN (SELECT run_id FROM adapters WHERE name = asked.name)
    ORDER BY adapters.rowid
"""
"""Those that the name of one is told from, see ``told_apart``."""


class AdapterTable(Table):
    """What training left behind."""

    def add(self, adapter: Adapter) -> None:
        with self.store.transaction():
            self.insert(
                "adapters",
                {
                    "id": adapter.id,
                    "name": adapter.name,
                    "kind": adapter.kind,
                    "parent_id": adapter.parent_id,
                    "run_id": adapter.run_id,
                    "path": adapter.path,
                    "sha256": adapter.sha256,
                    "created_at": adapter.created_at or clock.now(),
                },
            )

    def rename(self, adapter_id: str, name: str) -> None:
        with self.store.transaction():
            self.store.db.execute("UPDATE adapters SET name = ? WHERE id = ?", [name, adapter_id])

    def all(self, kind: AdapterKind | None = None) -> list[Adapter]:
        """Newest first, under names that tell them apart; what was stored may be one name for several."""
        told = self._told("SELECT * FROM adapters ORDER BY rowid")
        return [adapter for adapter in reversed(told) if kind in (None, adapter.kind)]

    def holds(self, kind: AdapterKind) -> bool:
        """Whether there is one of this kind."""
        return bool(self.value("SELECT EXISTS (SELECT 1 FROM adapters WHERE kind = ?)", [kind]))

    def get(self, adapter_id: str) -> Adapter:
        """Under the name that it has among all; KeyError when there is none."""
        for adapter in self._told(_NAMESAKES, [adapter_id]):
            if adapter.id == adapter_id:
                return adapter
        raise KeyError(adapter_id)

    def _told(self, sql: str, values: Sequence[str] = ()) -> list[Adapter]:
        return told_apart([Adapter(**row | {"kind": AdapterKind(row["kind"])}) for row in self.rows(sql, values)])
