"""Human preference pairs in the form of Anthropic's HH-RLHF: held-out accuracy of the program's reward model, and of
TRL's on the same split.

Nothing of the file is kept but counts and shares; the texts stay in the study's own folder.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from desktop_rlhf.adapters.base_models import base_model_folder
from desktop_rlhf.adapters.training import fitting
from desktop_rlhf.comparisons.pairs import split_by_prompt
from desktop_rlhf.prompts.files import write_preferences
from desktop_rlhf.prompts.rows import PreferenceRow, RowError, row_meaning
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.errors import BadInputError, WorldError
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.records.verdicts import wilson
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.runs.spec import Value
from desktop_rlhf.workbench.training_data import training_groups
from study.bench import Bench

TRL_SCRIPT = Path(__file__).with_name("trl_reward.py")
LONGEST = 512
"""Tokens of a dialogue with its longer answer; what is longer is left out on both sides, for time."""
SETTINGS: Mapping[str, Value] = {"max_length": LONGEST}
SPEC = RewardSpec(max_length=LONGEST)
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def turns(dialogue: str) -> list[dict[str, str]]:
    """A dialogue of ``\\n\\nHuman:`` and ``\\n\\nAssistant:`` turns as a conversation."""
    parts = _TURN.split(dialogue)[1:]
    return [{"role": _ROLES[role], "content": text.strip()} for role, text in zip(parts[::2], parts[1::2], strict=True)]


def preferences(lines: Iterable[str], most: int | None) -> tuple[list[PreferenceRow], int]:
    """The preferences of the first ``most`` rows, and how many of these rows cannot be used.

    A row is used when its two dialogues differ in the last turn alone and the assistant has it.
    """
    rows: list[PreferenceRow] = []
    unusable = 0
    for number, line in enumerate(lines):
        if number == most:
            break
        chosen, rejected = (turns(json.loads(line)[side]) for side in ("chosen", "rejected"))
        row = {"prompt": chosen[:-1], "chosen": chosen, "rejected": rejected}
        try:
            taken = row_meaning(number, row, Split.TRAIN, "human pairs")
        except RowError:
            unusable += 1
            continue
        if isinstance(taken, PreferenceRow):
            rows.append(taken)
    return rows, unusable


def read(path: Path, most: int | None) -> tuple[list[PreferenceRow], int]:
    """See ``preferences``; the file is JSON Lines, gzipped or not.

    Raises:
        BadInputError: the file is not there or is not of this form.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            return preferences(file, most)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"“{path}” could not be read as pairs of dialogues: {error!r}.") from error


def imported(bench: Bench, path: Path, most: int | None) -> dict[str, int]:
    """Bring the file into the project by way of the program's own import."""

    def make() -> dict[str, int]:
        rows, unusable = read(path, most)
        file = bench.project.path / "human pairs.jsonl"
        write_preferences(file, rows)
        report = bench.project.import_file(file)
        return {"rows": len(rows) + unusable, "unusable": unusable, "comparisons": report.comparisons}

    found: dict[str, int] = bench.remembered("human pairs", make)
    return found


def ours(bench: Bench, pooling: str) -> dict[str, Any]:
    """Train the program's reward model with its other defaults and its split, and give what it reports."""
    _, report = bench.trained(f"reward model, human pairs, {pooling}", "reward", {**SETTINGS, "pooling": pooling})
    names = ("held_out_accuracy", "low", "high", "n", "train_comparisons", "longer_wins")
    return {name: report[name] for name in names}


def theirs(bench: Bench, python: Path) -> dict[str, Any]:
    """Train TRL's reward model on the same pairs and count on the same held-out ones.

    Args:
        python: of an environment in which TRL is installed.

    Raises:
        WorldError: the environment is not there or the training failed.
    """

    def make() -> dict[str, Any]:
        if not python.exists():
            raise WorldError(f"There is no {python}.", "Make it first: python3 packaging/dev.py parity")
        folder = bench.project.path / "for TRL"
        folder.mkdir(exist_ok=True)
        judged, _ = training_groups(bench.store)
        groups, _ = fitting(bench.model, judged, LONGEST)
        sides = split_by_prompt(groups, SPEC.held_out_share, SPEC.seed)
        for name, side in zip(("train", "held_out"), sides, strict=True):
            write_preferences(folder / f"{name}.jsonl", _rows(side))
        settings = SPEC.as_settings() | {"model": str(base_model_folder(bench.project.info.base_model))}
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        if subprocess.run([str(python), str(TRL_SCRIPT), str(folder)]).returncode:
            raise WorldError("Training with TRL failed; it says why above.")
        right: list[bool] = json.loads((folder / "right.json").read_text(encoding="utf-8"))
        found = wilson(sum(right), len(right))
        return asdict(found) | {"train_comparisons": len(sides[0])}

    found: dict[str, Any] = bench.remembered("TRL's reward model, human pairs", make)
    return found


def _rows(groups: Sequence[PreferenceGroup]) -> list[PreferenceRow]:
    return [
        PreferenceRow(group.prompt, group.completions[better].text, group.completions[worse].text)
        for group in groups
        for better, worse in group.pairs
    ]
