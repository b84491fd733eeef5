"""Human preference pairs in the form of Anthropic's HH-RLHF: held-out accuracy of the program's reward model, and of
TRL's on the same split.

Nothing of the file is kept but counts and shares; the texts stay in the study's own folder.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from desktop_rlhf.adapters.base_models import base_model_folder
from desktop_rlhf.adapters.training import fitting
from desktop_rlhf.comparisons.pairs import split_by_prompt
from desktop_rlhf.prompts.files import write_preferences
from desktop_rlhf.prompts.rows import PreferenceRow
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.errors import BadInputError, WorldError
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


def imported(bench: Bench, path: Path, most: int | None) -> dict[str, int]:
    """Bring the first ``most`` rows of a file into the project by way of the program's own import.

    Args:
        path: JSON Lines, gzipped or not.

    Raises:
        BadInputError: the file is not there or is not of this form.
    """

    def make() -> dict[str, int]:
        file = bench.project.path / "human pairs.jsonl"
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as rows, file.open("wb") as copy:
                copy.writelines(islice(rows, most))
        except (OSError, EOFError) as error:
            raise BadInputError(f"“{path}” could not be read: {error}.") from error
        report = bench.project.import_file(file)
        unusable = sum(reason.rows for reason in report.left_out)
        return {"rows": report.rows + unusable, "unusable": unusable, "comparisons": report.comparisons}

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
