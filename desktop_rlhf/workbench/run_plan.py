"""What a run is and learns from: its record when it begins, and the same again when it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast
from uuid import uuid4

from desktop_rlhf.adapters.checkpoint import Checkpoints
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.errors import SpecError
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.records.runs import Run, RunStatus
from desktop_rlhf.runs.common import SHAPE
from desktop_rlhf.runs.learned import Reason
from desktop_rlhf.runs.spec import AlgorithmSpec, Value, with_settings
from desktop_rlhf.store.clock import now
from desktop_rlhf.workbench.algorithms import spec_named
from desktop_rlhf.workbench.folder import ADAPTERS_FOLDER, CHECKPOINTS_FOLDER
from desktop_rlhf.workbench.jobs import Bench
from desktop_rlhf.workbench.messages import EstimateRun, ResumeRun, StartRun
from desktop_rlhf.workbench.provenance import provenance
from desktop_rlhf.workbench.training_data import LeftOut, training_groups, training_judgements

REFUSAL_TAG = "refuse"


def begun(bench: Bench, command: StartRun | EstimateRun) -> tuple[Run, tuple[str, ...]]:
    """A new run's record, not yet stored, and the judgements that it is to learn from.

    Raises:
        SpecError: the settings, or what it is to start from, do not go together.
    """
    spec = with_settings(spec_named(command.algorithm), command.settings)
    if command.parent_adapter_id and spec.makes != AdapterKind.POLICY:
        raise SpecError(f"{spec.title} always starts from the base.", "Leave the adapter to start from out.")
    if command.reward_adapter_id and not spec.needs_reward_model:
        raise SpecError(f"{spec.title} uses no reward model.", "Leave it out.")
    if command.parent_adapter_id:
        spec = _in_shape_of(bench, command.parent_adapter_id, spec, command.settings)
    groups, judged, left_out = _data(bench, spec)
    comparison_ids = tuple(dict.fromkeys(learned.comparison_id for learned in judged or groups))
    created_at = now()
    prompt_ids = [prompt.id for prompt in _prompts(bench, created_at)[0]] if _learns_from_prompts(spec) else []
    run = Run(
        id=uuid4().hex,
        algorithm=spec.name,
        settings=spec.as_settings(),
        parent_adapter_id=command.parent_adapter_id,
        reward_adapter_id=command.reward_adapter_id,
        judgements=bench.store.comparisons.modes_of(comparison_ids),
        provenance=provenance(bench.store.info(), [*comparison_ids, *prompt_ids], bench.model)
        | ({"data_left_out": left_out} if left_out else {}),
        created_at=created_at,
        adapter_name=command.name,
    )
    return run, comparison_ids


def stored(bench: Bench, command: ResumeRun) -> tuple[Run, tuple[str, ...]]:
    """The record of a run that can go on, and the judgements that it learns from.

    Raises:
        SpecError: it completed, or it has no checkpoint.
    """
    run = bench.store.runs.get(command.run_id)
    if run.status is RunStatus.COMPLETED:
        raise SpecError("This run completed; there is nothing left to do.", "Start a new one from its adapter.")
    if not checkpoints_of(bench.project_path, run.id).found:
        raise SpecError("This run left no checkpoint to go on from.", "Start a new one with the same settings.")
    return run, bench.store.runs.comparison_ids(run.id)


def checkpoints_of(project_path: Path, run_id: str) -> Checkpoints:
    """Those of one run."""
    return Checkpoints(project_path / CHECKPOINTS_FOLDER / run_id)


def inputs_of(bench: Bench, run: Run, spec: AlgorithmSpec, comparison_ids: Sequence[str]) -> TrainingInputs:
    """What the run learns from: these judgements, and the prompts that there were when it began."""
    groups, judged, _ = _data(bench, spec, comparison_ids)
    start, reward = run.parent_adapter_id, run.reward_adapter_id
    prompts, refused = _prompts(bench, run.created_at)
    left_out = {Reason.REFUSE: refused} if refused and _learns_from_prompts(spec) else _left_out_of(run)
    folder = bench.project_path / ADAPTERS_FOLDER
    name = f"{spec.name}-{run.id[:12]}"
    taken = sum(1 for _ in folder.glob(f"{name}*"))  # by itself when it was stopped before
    return TrainingInputs(
        model=bench.model,
        start_path=bench.adapter_path(start) if start else None,
        groups=groups,
        prompts=prompts,
        reward_path=bench.adapter_path(reward) if reward else None,
        output_path=folder / (f"{name}-{taken + 1}" if taken else name),
        judged=judged,
        left_out=left_out,
        checkpoints=checkpoints_of(bench.project_path, run.id),
    )


def _learns_from_prompts(spec: AlgorithmSpec) -> bool:
    """Whether it learns from what it writes to prompts, and from no judgement."""
    return not (spec.needs_comparisons or spec.needs_good or spec.needs_bad)


def _prompts(bench: Bench, until: str) -> tuple[tuple[Prompt, ...], int]:
    """The prompts to train on that there were at that moment, and how many more are there to be refused."""
    prompts = bench.store.prompts.all(Split.TRAIN, until=until)
    usable = tuple(prompt for prompt in prompts if REFUSAL_TAG not in prompt.tags)
    return usable, len(prompts) - len(usable)


def _data(
    bench: Bench, spec: AlgorithmSpec, comparison_ids: Sequence[str] | None = None
) -> tuple[tuple[PreferenceGroup, ...], tuple[JudgedCompletion, ...], LeftOut]:
    """Comparisons and judged completions, as far as the algorithm learns from them, and what else there is."""
    if spec.needs_good or spec.needs_bad:
        judged, left_out = training_judgements(bench.store, spec.takes, comparison_ids)
        return (), judged, left_out
    if spec.needs_comparisons:
        groups, left_out = training_groups(bench.store, comparison_ids)
        return groups, (), left_out
    return (), (), {}


def _left_out_of(run: Run) -> LeftOut:
    """What was not learned from when the run began; it may have become more or less since."""
    stored = cast("Mapping[str, int]", run.provenance.get("data_left_out", {}))
    return {Reason(name): count for name, count in stored.items()}


def changed_since(bench: Bench, run: Run) -> str:
    """What is not as it was when the run began and may round otherwise, in words; empty when all is."""
    today = provenance(bench.store.info(), (), bench.model)
    began = {"processor": today["processor"]} | dict(run.provenance)  # of earlier runs it is not known
    names = ("desktop_rlhf", "torch", "transformers", "peft", "processor", "device", "dtype")
    return ", ".join(f"{name} {began.get(name)} to {today[name]}" for name in names if began.get(name) != today[name])


def _in_shape_of(bench: Bench, parent_id: str, spec: AlgorithmSpec, asked: Mapping[str, Value]) -> AlgorithmSpec:
    """The spec with the rank and alpha of the adapter that is trained on; other ones cannot be asked for."""
    made = bench.store.runs.get(bench.store.adapters.get(parent_id).run_id).settings
    shape = {name: made[name] for name in SHAPE}
    for name, value in shape.items():
        if name in asked and str(asked[name]) != str(value):
            raise SpecError(
                f"The adapter to go on from has {name} {value}.", f"Leave {name} out, or start from the base."
            )
    return with_settings(type(spec), spec.as_settings() | cast("dict[str, Value]", shape))
