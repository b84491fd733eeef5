"""Completions, in the groups they were sampled in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.store import clock
from desktop_rlhf.store.table import Table, dumps, marks

_WAITING_FROM = """
    FROM groups WHERE waiting = 1
    AND EXISTS (SELECT 1 FROM completions WHERE group_id = groups.id AND adapter_id IS ?)
"""


class CompletionTable(Table):
    """Completions stay as they were sampled."""

    def add_group(self, completions: Sequence[Completion], *, to_label: bool) -> None:
        """Add completions that share one prompt and one group, all or none. ``to_label``: they wait for a person."""
        first = completions[0]
        with self.store.transaction():
            self.insert("groups", {"id": first.group_id, "prompt_id": first.prompt_id, "to_label": int(to_label)})
            for completion in completions:
                self.insert(
                    "completions",
                    {
                        "id": completion.id,
                        "prompt_id": completion.prompt_id,
                        "group_id": completion.group_id,
                        "adapter_id": completion.adapter_id,
                        "text": completion.text,
                        "completion_ids": dumps(completion.completion_ids),
                        "ended": int(completion.ended),
                        "sampler": dumps(dataclasses.asdict(completion.sampler)),
                        "seed": completion.seed,
                        "created_at": completion.created_at or clock.now(),
                    },
                )

    def group(self, group_id: str) -> list[Completion]:
        """In the order they were sampled."""
        sql = "SELECT * FROM completions WHERE group_id = ? ORDER BY rowid"
        return [_completion(row) for row in self.rows(sql, [group_id])]

    def get_all(self, completion_ids: Sequence[str]) -> dict[str, Completion]:
        """By id; ids that are not there are left out."""
        found = {}
        for start in range(0, len(completion_ids), 500):
            some = completion_ids[start : start + 500]
            for row in self.rows(f"SELECT * FROM completions WHERE id IN ({marks(some)})", some):
                found[str(row["id"])] = _completion(row)
        return found

    def first_waiting(self) -> str | None:
        """Id of the oldest group that waits for a label."""
        sql = "SELECT id FROM groups WHERE waiting = 1 ORDER BY rowid LIMIT 1"
        return next((str(row["id"]) for row in self.rows(sql)), None)

    def first_waiting_from(self, adapter_id: str | None) -> str | None:
        """Id of the oldest group of this adapter that waits for a label; None is the base."""
        sql = f"SELECT id {_WAITING_FROM} ORDER BY rowid LIMIT 1"
        return next((str(row["id"]) for row in self.rows(sql, [adapter_id])), None)

    def waiting_from(self, adapter_id: str | None, most: int) -> int:
        """How many groups of this adapter wait for a label, counted up to ``most``."""
        return int(self.value(f"SELECT count(*) FROM (SELECT 1 {_WAITING_FROM} LIMIT ?)", [adapter_id, most]))

    def waiting(self) -> int:
        """How many groups wait for a label."""
        return int(self.value("SELECT count(*) FROM groups WHERE waiting = 1"))


def _completion(row: dict[str, Any]) -> Completion:
    return Completion(
        id=row["id"],
        prompt_id=row["prompt_id"],
        group_id=row["group_id"],
        adapter_id=row["adapter_id"],
        text=row["text"],
        completion_ids=tuple(json.loads(row["completion_ids"])),
        ended=bool(row["ended"]),
        sampler=Sampler(**json.loads(row["sampler"])),
        seed=row["seed"],
        created_at=row["created_at"],
    )
