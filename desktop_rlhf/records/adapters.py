"""Adapters: what training leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AdapterKind(StrEnum):
    """A policy adapter speaks; a reward adapter scores."""

    POLICY = "policy"
    REWARD = "reward"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter in a folder of its own, with the chain back to what made it.

    Attributes:
        parent_id: the adapter that training started from; None is the base.
        run_id:    the run that made it, which names its data.
        path:      folder relative to the project folder.
        sha256:    over the adapter's files.
    """

    id: str
    name: str
    kind: AdapterKind
    parent_id: str | None
    run_id: str
    path: str
    sha256: str
    created_at: str = ""
