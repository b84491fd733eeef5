"""The program's side of every paired work: its model as the engine loads it, and its own train functions."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch

from bench.worker import asked
from desktop_rlhf.adapters.devices import place_for
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.stop import StopToken
from desktop_rlhf.workbench.engine import usual_threads

Row: TypeAlias = Mapping[str, Any]
SIDES = ("chosen_ids", "rejected_ids")


def begin(main: Callable[[Row], None]) -> None:
    """Do what this process is asked for, with Python's collector off: in the window it does not run by itself."""
    gc.disable()
    main(asked())


def load(inputs: Row) -> ResidentModel:
    """The base where, in the format and with the threads that the window's engine chooses on this machine."""
    torch.set_num_threads(usual_threads())
    folder = Path(inputs["model"])
    place = place_for(folder)
    return ResidentModel.load(str(folder), place.dtype, place.device)


def prompts(model: ResidentModel, rows: Sequence[Row]) -> tuple[Prompt, ...]:
    """The prompts of the inputs; the peer gets their ids, so the program has to make the same of their words."""
    made = []
    for number, row in enumerate(rows):
        prompt = Prompt(f"prompt {number}", tuple(Message(role, content) for role, content in row["messages"]))
        if model.prompt_ids(prompt.messages) != row["prompt_ids"]:
            raise ValueError(f"prompt {number} has other tokens here than in the inputs")
        made.append(prompt)
    return tuple(made)


def groups(model: ResidentModel, rows: Sequence[Row]) -> tuple[PreferenceGroup, ...]:
    """The pairs of the inputs, with exactly their tokens."""
    made = []
    for number, (prompt, row) in enumerate(zip(prompts(model, rows), rows, strict=True)):
        completions = tuple(
            Completion(f"{side} {number}", prompt.id, f"{number}", None, text, tuple(ids), True, Sampler(), 0)
            for side, ids, text in ((side, row[side], model.completion_text(row[side])) for side in SIDES)
        )
        made.append(PreferenceGroup(f"{number}", prompt, completions, ((0, 1),)))
    return tuple(made)


def settings(inputs: Row) -> dict[str, Any]:
    """What every training run is told."""
    return {
        "lora_rank": inputs["rank"],
        "lora_alpha": inputs["alpha"],
        "learning_rate": inputs["learning_rate"],
        "max_length": inputs["max_length"],
        "seed": inputs["seed"],
    }


def seconds_of(spec: LoraSpec, inputs: TrainingInputs, steps: int) -> float:
    """Seconds from the beginning of a run to the end of its last step.

    Raises:
        ValueError: the run took other than ``steps`` steps, so it learned from more or less than the peer does.
    """
    began = ended = time.perf_counter()
    taken = 0
    for event in resolve(type(spec))(spec, inputs, StopToken()):
        if isinstance(event, StepTaken):
            taken, ended = taken + 1, time.perf_counter()
    if taken != steps:
        raise ValueError(f"the run took {taken} steps in place of {steps}")
    return ended - began
