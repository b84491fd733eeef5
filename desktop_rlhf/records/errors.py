"""Errors of the world: things a person can mend. Each carries a sentence and a next step.

Everything else that is raised is a bug of ours and is shown with its traceback.
"""

from __future__ import annotations


class WorldError(Exception):
    """Something outside the program is not as it should be.

    Args:
        sentence:  what is wrong, one sentence for the person.
        next_step: what they can do about it, one sentence.
    """

    def __init__(self, sentence: str, next_step: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.sentence} {self.next_step}".strip()


class BadInputError(WorldError):
    """A file or a value that was handed in cannot be used; nothing of it was taken."""


class SpecError(WorldError):
    """A setting of a training spec is unknown or out of range."""


class ProjectError(WorldError):
    """A folder is not a project, or cannot be opened as one."""


class ProjectNewerError(ProjectError):
    """The project was written by a newer version; it is left untouched."""


class ProjectBusyError(ProjectError):
    """Another process has the project open for writing."""


class ModelFolderError(WorldError):
    """A model folder is missing, incomplete, pickled or carries code."""


class NotEnoughDataError(WorldError):
    """There is less than what was asked for can use: comparisons to learn from, prompts, or rows to export."""


class DiskFullError(WorldError):
    """A write failed for want of space; what was stored before it is intact."""


class OutOfMemoryError(WorldError):
    """A run needed more memory than there is."""


class NotFiniteError(WorldError):
    """A loss, gradient or reward became NaN or infinite; the step was not taken."""


class JudgeError(WorldError):
    """The judge command broke its protocol or ended with an error; earlier answers are kept."""


class EmptyCompletionError(ValueError):
    """A completion keeps no token, so a mean over it would be 0/0."""
