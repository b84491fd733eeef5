"""The prompts that come with the program."""

from __future__ import annotations

import json
from uuid import UUID, uuid5

from desktop_rlhf.records.prompts import Message, Prompt, Split
from desktop_rlhf.settings import resources_path

_NAMESPACE = UUID("8f1d3c0e-6f0b-4c55-9a52-5d1e7b6a4c21")  # fixed: an id has to be the same in each project


def starter_prompts() -> tuple[Prompt, ...]:
    """The starter set in its own order, of mixed tags; ids are made from the names in the file and never change."""
    lines = (resources_path() / "prompts" / "starter.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(
        Prompt(
            id=uuid5(_NAMESPACE, row["id"]).hex,
            messages=(Message("user", row["prompt"]),),
            tags=tuple(row["tags"]),
            split=Split(row["split"]),
            source="starter",
        )
        for row in map(json.loads, lines)
    )
