"""Adapters, by the folders they stand in."""

from __future__ import annotations

from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.store import clock
from desktop_rlhf.store.table import Table


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

    def all(self, kind: AdapterKind | None = None) -> list[Adapter]:
        """Newest first."""
        rows = self.rows("SELECT * FROM adapters WHERE ? IN ('', kind) ORDER BY rowid DESC", [kind or ""])
        return [Adapter(**row | {"kind": AdapterKind(row["kind"])}) for row in rows]

    def holds(self, kind: AdapterKind) -> bool:
        """Whether there is one of this kind."""
        return bool(self.value("SELECT EXISTS (SELECT 1 FROM adapters WHERE kind = ?)", [kind]))

    def get(self, adapter_id: str) -> Adapter:
        """KeyError when there is none."""
        for row in self.rows("SELECT * FROM adapters WHERE id = ?", [adapter_id]):
            return Adapter(**row | {"kind": AdapterKind(row["kind"])})
        raise KeyError(adapter_id)
