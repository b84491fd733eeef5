"""Prompts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from desktop_rlhf.records.prompts import Message, Prompt, Split
from desktop_rlhf.store import clock
from desktop_rlhf.store.table import Table, dumps


class PromptTable(Table):
    """Each conversation once, whatever it was imported from."""

    def add(self, prompts: Iterable[tuple[Prompt, str]]) -> int:
        """Add (prompt, key) pairs and say how many were new; a key that is there already is passed over."""
        with self.store.transaction():
            return sum(self._add_one(prompt, key) for prompt, key in prompts)

    def _add_one(self, prompt: Prompt, key: str) -> bool:
        if self.id_of(key) is not None:
            return False
        self.insert(
            "prompts",
            {
                "id": prompt.id,
                "key": key,
                "messages": dumps([[m.role, m.content] for m in prompt.messages]),
                "tags": dumps(prompt.tags),
                "split": prompt.split,
                "source": prompt.source,
                "created_at": clock.now(),
            },
        )
        return True

    def count(self) -> int:
        return int(self.value("SELECT count(*) FROM prompts"))

    def all(self, split: Split | None = None, until: str = "") -> list[Prompt]:
        """In the order they were added; with ``until``, those that were there at that moment."""
        sql = "SELECT * FROM prompts WHERE ? IN ('', split) AND (? = '' OR created_at <= ?) ORDER BY rowid"
        return [_prompt(row) for row in self.rows(sql, [split or "", until, until])]

    def get(self, prompt_id: str) -> Prompt:
        """KeyError when there is none."""
        for row in self.rows("SELECT * FROM prompts WHERE id = ?", [prompt_id]):
            return _prompt(row)
        raise KeyError(prompt_id)

    def id_of(self, key: str) -> str | None:
        """The id of the prompt with this key."""
        return next((str(row["id"]) for row in self.rows("SELECT id FROM prompts WHERE key = ?", [key])), None)

    def pass_over(self, prompt_id: str) -> None:
        """Count it as sampled once more without a group, so that others come first."""
        with self.store.transaction():
            self.store.db.execute("UPDATE prompts SET sampled = sampled + 1 WHERE id = ?", [prompt_id])

    def least_sampled(self, count: int) -> list[Prompt]:
        """Training prompts that were sampled the fewest times to be labelled, in the order they were added."""
        sql = "SELECT * FROM prompts WHERE split = 'train' ORDER BY sampled, rowid LIMIT ?"
        return [_prompt(row) for row in self.rows(sql, [count])]


def _prompt(row: dict[str, Any]) -> Prompt:
    messages = tuple(Message(role, content) for role, content in json.loads(row["messages"]))
    return Prompt(row["id"], messages, tuple(json.loads(row["tags"])), Split(row["split"]), row["source"])
