"""Adapters: what training leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, count

from desktop_rlhf.records.errors import BadInputError

LONGEST_NAME = 60  # characters
RESERVED = ("base", "the base", "the base model")
"""What the base model is called where an adapter could be named, in small letters."""


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


def name_beside(others: Sequence[str], name: str) -> str:
    """What is written as an adapter's name, without blanks around it.

    Raises:
        BadInputError: it is empty, too long, the base model's, or one of the others'.
    """
    name = name.strip()
    if not 0 < len(name) <= LONGEST_NAME:
        raise BadInputError(f"An adapter's name has 1 to {LONGEST_NAME} characters.", "Write another one.")
    if name.casefold() in RESERVED:
        raise BadInputError(f"“{name}” is what the base model is called.", "Choose another name.")
    if name in others:
        raise BadInputError(f"Another adapter is called “{name}” already.", "Choose another name.")
    return name


def told_apart(adapters: Sequence[Adapter]) -> list[Adapter]:
    """Adapters of a project, oldest first, under names of which no two are the same.

    Of those that were given one name the newest has it. The others are told from it by a word: ``stopped`` where their
    run went on and made a later one, ``earlier`` where another run took the name.

    Args:
        adapters: all of them. For the name of one, those will do whose names begin with its own, which are all that a
            made-up name could meet, and those of every run that gave this name, which say which was a run's last.
    """
    newest = {adapter.name: adapter.id for adapter in adapters}
    last_of_run = {adapter.run_id: adapter.id for adapter in adapters}
    taken = set(newest)
    told = []
    for adapter in adapters:
        name = adapter.name
        if newest[name] != adapter.id:
            name += ", earlier" if last_of_run[adapter.run_id] == adapter.id else ", stopped"
            numbered = chain([name], (f"{name} {number}" for number in count(2)))
            name = next(free for free in numbered if free not in taken)
            taken.add(name)
        told.append(replace(adapter, name=name))
    return told
