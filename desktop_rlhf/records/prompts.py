"""Prompts, as conversations that end where the model is to speak."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Split(StrEnum):
    """What a prompt may be used for. Held-out prompts are never trained on."""

    TRAIN = "train"
    HELD_OUT = "held_out"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked. ``id`` is a UUID hex; ``source`` names the file or set it came from."""

    id: str
    messages: tuple[Message, ...]
    tags: tuple[str, ...] = ()
    split: Split = Split.TRAIN
    source: str = ""

    @property
    def text(self) -> str:
        """The last user turn, for lists and search."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")
