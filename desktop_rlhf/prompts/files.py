"""Files -> prompts, preferences and single completions, and back.

A file is read a row at a time, so that a long one takes no more memory than a short one. Each format is read here into
rows with their line numbers; what a row means is decided in ``rows``, so that TXT, CSV and JSONL cannot come to differ.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import uuid4

from desktop_rlhf.prompts.keys import plain_words
from desktop_rlhf.prompts.rows import (
    CompletionRow,
    Meaning,
    PreferenceRow,
    Row,
    RowError,
    UnusableRow,
    VerdictRow,
    row_meaning,
)
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.records.prompts import Message, Prompt, Split

LARGEST_BYTES = 2**30
_CSV_HEADER = ["prompt", "tags", "split"]
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and their full-width forms


# Reading


def read_file(path: Path, split: Split = Split.TRAIN) -> Iterator[Meaning]:
    """Read prompts and what was said of their completions, a row at a time and in the file's order.

    The text is UTF-8, with or without a byte-order mark, with any line ends.

    - ``.txt``:   one prompt on each line that is not blank.
    - ``.csv``:   a header with ``prompt`` and, if wanted, ``tags`` (parted by ``;``), ``split``, ``chosen`` and
      ``rejected``, ``completion`` and ``label``.
    - ``.jsonl``: an object on each line. ``prompt`` is a text or a list of ``{"role", "content"}`` that ends with a
      user turn; ``tags`` and ``split`` may stand beside it.

    With ``chosen`` and ``rejected`` a row is a preference: both are texts or conversations, and where there is no
    ``prompt`` it is what the two conversations share. Such conversations may be texts too, with ``Human:`` and
    ``Assistant:`` before the turns, as HH-RLHF has them. With ``completion``, a text or an assistant turn, a row is a
    demonstration, and with ``label`` (true or false) beside that a judgement of this completion. ``messages``, a
    conversation that ends with an assistant turn, holds the prompt and the completion in one.

    Every prompt gets a new id; ``source`` is the file's name.

    Args:
        split: of the prompts whose row does not name one.

    Raises:
        BadInputError: the file or one of its rows cannot be used, or none of its rows says anything; names the file and
            the line. What came before it was no part of a good file.
    """
    _check_file(path)
    some = False
    unusable: UnusableRow | None = None
    try:
        for line, row in _READERS[path.suffix.lower()](_lines(path)):
            meaning = row_meaning(line, row, split, path.name)
            if isinstance(meaning, UnusableRow):
                unusable = unusable or meaning
            else:
                some = True
            yield meaning
        if not some and unusable:
            raise RowError(unusable.why, unusable.line)
    except RowError as error:
        raise BadInputError(
            f"“{path.name}”, line {error.line}: {error}", "Mend that line and import again; nothing was taken."
        ) from None
    if not some:
        raise BadInputError(f"“{path.name}” holds no prompts.", "Choose a file with at least one prompt.")


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise BadInputError(f"“{path}” is a folder.", "Choose a file inside it.")
    if not path.exists():
        raise BadInputError(f"There is no file “{path}”.", "Check the name, or choose the file again.")
    if path.suffix.lower() not in _READERS:
        raise BadInputError(f"“{path.name}” is not of a kind that can be read.", "Use a .txt, .csv or .jsonl file.")
    if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
        raise BadInputError(
            f"“{path.name}” is larger than {LARGEST_BYTES // 2**20} MiB, or not a plain file.",
            "Import it in smaller files.",
        )


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends. Not ``splitlines``: U+2028 may stand inside a JSON string."""
    try:
        with path.open("rb") as file:
            start = 0
            for number, line in enumerate(file, start=1):
                text = _decoded(line, f"“{path.name}”, line {number}", start)
                yield from io.StringIO(text if start else text.removeprefix("\ufeff"), newline="")  # parted at "\r" too
                start += len(line)
    except OSError as error:
        raise BadInputError(
            f"“{path.name}” cannot be read: {error.strerror}.", "Check that you may read it, then import again."
        ) from error


def _decoded(line: bytes, name: str, start: int) -> str:
    """The text of a line that begins at the byte ``start`` of its file."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{name}: not UTF-8 text (byte {start + error.start} of the file, counted from 0).",
            "Save it as UTF-8 and import again; nothing was taken.",
        ) from None
    if "\0" in text:
        raise BadInputError(f"{name}: a NUL character.", "Save it as plain UTF-8 text.")
    return text


def _numbered(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, without their ends, numbered from 1."""
    for number, line in enumerate(lines, start=1):
        if plain_words(line):
            yield number, line.rstrip("\r\n")


def _txt_rows(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    for number, line in _numbered(lines):
        yield number, {"prompt": line.strip()}


def _csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(LARGEST_BYTES)  # the default refuses a cell of 128 KiB
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            if any(plain_words(cell) for cell in cells):
                if header is None:
                    header = [cell.strip().lower() for cell in cells]
                    _check_header(header, start)
                else:
                    yield start, _csv_row(header, cells, start)
            start = reader.line_num + 1  # a quoted cell may span lines, so a row is named by its first
    except csv.Error as error:
        raise RowError(f"not a CSV row ({error}).", start) from None


def _check_header(header: list[str], line: int) -> None:
    if header.count("prompt") != 1:
        raise RowError(f"the header needs one column named “prompt”; it has: {', '.join(header):.200}.", line)


def _csv_row(header: list[str], cells: list[str], line: int) -> Row:
    if len(cells) > len(header):
        raise RowError(
            f"{len(cells)} cells under a header of {len(header)}; a cell with a comma in it stands in double quotes.",
            line,
        )
    if header == _CSV_HEADER:
        cells = [_unguarded(cell) for cell in cells]
    return {name: cell if plain_words(cell) else None for name, cell in zip_longest(header, cells, fillvalue="")}


def _jsonl_rows(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    for number, line in _numbered(lines):
        try:
            row = json.loads(line, object_pairs_hook=_without_twins)
        except json.JSONDecodeError as error:
            raise RowError(f"not JSON ({error.msg}, column {error.colno}).", number) from None
        except RecursionError:
            raise RowError("JSON that is nested too deep.", number) from None
        except ValueError as error:  # a number of thousands of digits, among others
            raise RowError(f"JSON that cannot be read ({error}).", number) from None
        if not isinstance(row, dict):
            raise RowError("not a JSON object in braces.", number)
        yield number, row


def _without_twins(items: list[tuple[str, Any]]) -> Row:
    """A JSON object; where a name stands twice, which one is meant cannot be known."""
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("a field stands twice in one object")
    return found


_READERS: dict[str, Callable[[Iterable[str]], Iterator[tuple[int, Row]]]] = {
    ".txt": _txt_rows,
    ".csv": _csv_rows,
    ".jsonl": _jsonl_rows,
}


# Writing


def write_prompts(path: Path, prompts: Iterable[Prompt]) -> None:
    """Write prompts as TXT, CSV or JSONL by the file's ending; the file appears whole or not at all.

    JSONL keeps everything but ids and sources. CSV does so for prompts of one turn, and marks a cell that a spreadsheet
    would take for a formula with ``'``, which ``read_file`` takes off again. TXT keeps the words, a prompt a line.

    Raises:
        BadInputError: the ending is another one, or a prompt of several turns was to go into TXT or CSV.
        OSError: the file cannot be written; what was there before is untouched.
    """
    writers = {".txt": _as_txt, ".csv": _as_csv, ".jsonl": _as_jsonl}
    if path.suffix.lower() not in writers:
        raise BadInputError(f"“{path.name}” does not say in which format to write.", "End it in .txt, .csv or .jsonl.")
    _write(path, writers[path.suffix.lower()](prompts))


def write_preferences(path: Path, rows: Iterable[PreferenceRow]) -> None:
    """Write preferences as JSONL in the conversational form that TRL reads, with tags and split beside it.

    Raises:
        BadInputError: the file's ending is not ``.jsonl``.
        OSError: the file cannot be written; what was there before is untouched.
    """
    if path.suffix.lower() != ".jsonl":
        raise BadInputError(f"“{path.name}” cannot hold comparisons.", "End it in .jsonl.")
    written = (
        {
            "prompt": _as_turns(row.prompt.messages),
            "chosen": _as_turns([Message("assistant", row.chosen)]),
            "rejected": _as_turns([Message("assistant", row.rejected)]),
            "tags": list(row.prompt.tags),
            "split": row.prompt.split,
        }
        for row in rows
    )
    _write(path, _json_lines(written))


def write_completions(path: Path, rows: Iterable[CompletionRow]) -> None:
    """Write demonstrations as JSONL in TRL's conversational prompt-completion form, with tags and split beside it.

    Judgements have their ``label`` as well, which makes them TRL's unpaired preferences.

    Raises:
        BadInputError: the file's ending is not ``.jsonl``.
        OSError: the file cannot be written; what was there before is untouched.
    """
    if path.suffix.lower() != ".jsonl":
        raise BadInputError(f"“{path.name}” cannot hold completions.", "End it in .jsonl.")
    written = (
        {
            "prompt": _as_turns(row.prompt.messages),
            "completion": _as_turns([Message("assistant", row.completion)]),
            **({} if row.label is None else {"label": row.label}),
            "tags": list(row.prompt.tags),
            "split": row.prompt.split,
        }
        for row in rows
    )
    _write(path, _json_lines(written))


def write_verdicts(path: Path, rows: Iterable[VerdictRow]) -> None:
    """Write the verdicts of blind side by sides as JSONL, to be counted elsewhere.

    ``winner`` is ``candidate``, ``baseline`` or ``tie``; those two are the names of the fields with the completions.

    Raises:
        BadInputError: the file's ending is not ``.jsonl``.
        OSError: the file cannot be written; what was there before is untouched.
    """
    if path.suffix.lower() != ".jsonl":
        raise BadInputError(f"“{path.name}” cannot hold verdicts.", "End it in .jsonl.")
    written = (
        {
            "prompt": _as_turns(row.prompt.messages),
            "candidate": _as_turns([Message("assistant", row.candidate)]),
            "baseline": _as_turns([Message("assistant", row.baseline)]),
            "winner": row.verdict.winner,
            "candidate_adapter": row.candidate_adapter,
            "baseline_adapter": row.baseline_adapter,
            "candidate_on_left": row.match.candidate_on_left,
            "side_by_side_id": row.match.side_by_side_id,
            "labeller": row.verdict.labeller,
            "duration_s": row.verdict.duration_s,
            "created_at": row.verdict.created_at,
            "tags": list(row.prompt.tags),
            "split": row.prompt.split,
        }
        for row in rows
    )
    _write(path, _json_lines(written))


def _as_txt(prompts: Iterable[Prompt]) -> str:
    return "".join(plain_words(_only_turn(prompt)) + "\n" for prompt in prompts)


def _as_csv(prompts: Iterable[Prompt]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_CSV_HEADER)
    for prompt in prompts:
        writer.writerow([_guarded(_only_turn(prompt)), _guarded(";".join(prompt.tags)), prompt.split])
    return "\ufeff" + text.getvalue()  # without the mark a spreadsheet may not take it for UTF-8


def _as_jsonl(prompts: Iterable[Prompt]) -> str:
    return _json_lines(
        {
            "prompt": prompt.text if _is_one_turn(prompt) else _as_turns(prompt.messages),
            "tags": list(prompt.tags),
            "split": prompt.split,
        }
        for prompt in prompts
    )


def _json_lines(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _as_turns(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _is_one_turn(prompt: Prompt) -> bool:
    return [message.role for message in prompt.messages] == ["user"]


def _only_turn(prompt: Prompt) -> str:
    if not _is_one_turn(prompt):
        raise BadInputError(f"“{prompt.text:.60}” is part of a longer conversation.", "Choose a .jsonl file instead.")
    return prompt.text


def _risky(cell: str) -> bool:
    """True when a spreadsheet could run ``cell`` as a formula; leading ``'`` do not count, so a mark can be undone."""
    bare = cell.lstrip("'")
    return bare.startswith(("\t", "\r", "\n")) or bare.lstrip(" \t\r\n'\"").startswith(_FORMULA_STARTS)


def _guarded(cell: str) -> str:
    return f"'{cell}" if _risky(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _risky(cell) else cell


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with aside.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
