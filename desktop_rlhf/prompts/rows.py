"""What one row of a file means: a prompt, a completion of one, or two of which one was preferred."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, TypeAlias
from uuid import uuid4

from desktop_rlhf.prompts.dialogues import dialogue_turns, is_dialogue
from desktop_rlhf.prompts.keys import plain_words
from desktop_rlhf.records.prompts import Message, Prompt, Split
from desktop_rlhf.records.verdicts import Match, Verdict

Row: TypeAlias = dict[str, Any]
_Turns: TypeAlias = tuple[Message, ...]

_ROLES = ("system", "user", "assistant")
_SIDES = ("chosen", "rejected")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """Two completions of a prompt, of which the first was preferred."""

    prompt: Prompt
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """A completion of a prompt: called good (``label`` True) or bad (False), or a demonstration (None)."""

    prompt: Prompt
    completion: str
    label: bool | None


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What was said of one match of a blind side by side; ``candidate_adapter`` and ``baseline_adapter`` are names."""

    prompt: Prompt
    candidate: str
    baseline: str
    candidate_adapter: str
    baseline_adapter: str
    match: Match
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class UnusableRow:
    """A preference that prefers nothing, or a dialogue that is no prompt with an answer: no reason to refuse its file.

    Attributes:
        why: a sentence.
    """

    line: int
    why: str


Meaning: TypeAlias = Prompt | PreferenceRow | CompletionRow | UnusableRow


class RowError(Exception):
    """What is wrong with one row, as the end of a sentence, and the line it begins on, once that is known."""

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(what)
        self.line = line


class _PrefersNothing(RowError):
    """The row is written as it should be, and no pair for one prompt can be had from it."""


def row_meaning(line: int, row: Row, split: Split, source: str) -> Meaning:
    """The prompt, completion or preference that a row of any format stands for; ``files.read_file`` has the fields.

    Args:
        line:  the row begins on it.
        split: of a prompt that does not name its own.

    Raises:
        RowError: a field is missing or cannot be used; carries ``line``.
    """
    row = {name: value for name, value in row.items() if value is not None or name == "label"}
    dialogues = "prompt" not in row and all(is_dialogue(row.get(side)) for side in _SIDES)
    try:
        return _meant(_with_turns(row) if dialogues else row, split, source)
    except RowError as error:
        # Such dialogues come by the hundred thousand, and nobody can mend what a few of them say.
        if dialogues or isinstance(error, _PrefersNothing):
            return UnusableRow(line, str(error))
        raise RowError(str(error), line) from None


def _with_turns(row: Row) -> Row:
    """A row of two dialogues with their turns in the place of the texts."""
    talks = {side: dialogue_turns(row[side]) for side in _SIDES}
    for side, talk in talks.items():
        if not talk[-1]["content"]:
            raise RowError(f"“{side}” ends with an empty turn.")
    return row | talks


def _meant(row: Row, split: Split, source: str) -> Prompt | PreferenceRow | CompletionRow:
    if ("chosen" in row) != ("rejected" in row):
        raise RowError("“chosen” and “rejected” belong together, and one of them is missing.")
    if isinstance(row.get("prompt"), str):
        turns: _Turns = (Message("user", _text(row["prompt"], "prompt")),)
    elif "prompt" in row:
        turns = _turns(row["prompt"], "prompt")
    elif isinstance(row.get("chosen"), list):
        turns = _shared(_turns(row["chosen"], "chosen"), _turns(row["rejected"], "rejected"))
    elif "messages" in row and not row.keys() & {"chosen", "completion"}:
        turns = _before_the_answer(_turns(row["messages"], "messages"))
    else:
        raise RowError("the field “prompt” is missing.")
    if not turns or turns[-1].role != "user":
        raise RowError("the prompt has to end with a user turn.")
    if not plain_words(turns[-1].content):
        raise RowError("the prompt is blank.")
    prompt = Prompt(uuid4().hex, turns, _tags(row.get("tags", ())), _split(row.get("split", split)), source)
    if "chosen" not in row:
        return _completion_row(prompt, row) if row.keys() & {"completion", "messages"} else prompt
    preference = PreferenceRow(prompt, *(_answer(row[side], turns, side) for side in _SIDES))
    if preference.chosen == preference.rejected:
        raise _PrefersNothing("“chosen” and “rejected” are the same.")
    return preference


def _completion_row(prompt: Prompt, row: Row) -> CompletionRow:
    field = "completion" if "completion" in row else "messages"
    completion = _answer(row[field], prompt.messages, field)
    if "label" in row:
        return CompletionRow(prompt, completion, _label(row["label"]))
    if not plain_words(completion):
        raise RowError(f"the completion in “{field}” is blank.")
    return CompletionRow(prompt, completion, None)


def _label(value: object) -> bool:
    """True for a good completion. None is an error too: nobody said whether this one is good."""
    word = value.strip().lower() if isinstance(value, str) else value
    if word in ("true", "false"):
        return word == "true"
    if not isinstance(value, bool):
        raise RowError("“label” has to be true or false.")
    return value


def _turns(value: object, field: str) -> _Turns:
    """A conversation from a list of ``{"role", "content"}``."""
    if not isinstance(value, list) or not value:
        raise RowError(f"“{field}” has to be a list of turns, each with “role” and “content”.")
    turns = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
            raise RowError(f"turn {number} of “{field}” needs “role” and “content”.")
        role, content = (_text(turn[name], f"{field}, turn {number}, {name}") for name in ("role", "content"))
        if role not in _ROLES:
            raise RowError(f"turn {number} of “{field}” has the role “{role:.40}”; use {', '.join(_ROLES)}.")
        turns.append(Message(role, content))
    return tuple(turns)


def _shared(chosen: _Turns, rejected: _Turns) -> _Turns:
    """The turns with which both conversations begin: their prompt."""
    if chosen == rejected:
        raise _PrefersNothing("“chosen” and “rejected” are the same.")
    both = takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
    shared = tuple(turn for turn, _ in both)
    if not len(chosen) == len(rejected) == len(shared) + 1:
        raise _PrefersNothing("“chosen” and “rejected” differ in more than their last turn.")
    return shared


def _before_the_answer(turns: _Turns) -> _Turns:
    """A conversation without its last turn: the prompt that this turn answers."""
    if turns[-1].role != "assistant":
        raise RowError("“messages” has to end with an assistant turn.")
    return turns[:-1]


def _answer(value: object, prompt: _Turns, field: str) -> str:
    """The one assistant turn after the prompt. It may be empty: a model can choose to say nothing."""
    if isinstance(value, str) and field != "messages":
        return _text(value, field)
    turns = _turns(value, field)
    if turns[: len(prompt)] == prompt:
        turns = turns[len(prompt) :]
    if len(turns) != 1 or turns[0].role != "assistant":
        raise RowError(f"“{field}” has to be exactly one assistant turn after the prompt.")
    return turns[0].content


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"“{field}” has to be a text.")
    if _NO_TEXT.search(value):
        raise RowError(f"“{field}” holds a NUL or half a character (a lone surrogate).")
    return value


def _tags(value: object) -> tuple[str, ...]:
    """Tags from a text or a list of texts, parted by ``;``; each once."""
    parts = value if isinstance(value, list | tuple) else [value]
    tags = (tag.strip() for part in parts for tag in _text(part, "tags").split(";"))
    return tuple(dict.fromkeys(tag for tag in tags if plain_words(tag)))


def _split(value: object) -> Split:
    written = _text(value, "split").strip().lower().replace("-", "_").replace(" ", "_")
    try:
        return Split(written)
    except ValueError:
        raise RowError(f"the split is “{written:.40}”; use train or held_out.") from None
