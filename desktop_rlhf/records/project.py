"""A project: one base model and what a person teaches it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProjectInfo:
    """What a project is made of.

    Attributes:
        base_model:  a local folder, or a Hugging Face id that has been downloaded.
        base_sha256: one hash over the base's weight files, so that a swapped base is noticed.
        labeller:    the name judgements are stored under.
    """

    id: str
    name: str
    base_model: str
    base_sha256: str
    labeller: str
    created_at: str
