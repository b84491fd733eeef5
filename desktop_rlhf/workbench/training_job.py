"""A training run as a job of the engine: it feeds the algorithm, records what it says and writes its one ending."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import cast
from uuid import uuid4

import torch

from desktop_rlhf.adapters.few_rows import DEFAULT
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.errors import DiskFullError, OutOfMemoryError, WorldError
from desktop_rlhf.records.runs import Run, RunStatus
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.runs.events import AdapterSaved, Halted, Noted, Progressed
from desktop_rlhf.runs.spec import AlgorithmSpec, Value, with_settings
from desktop_rlhf.runs.stop import StoppedError, StopToken
from desktop_rlhf.workbench.algorithms import spec_named
from desktop_rlhf.workbench.jobs import Bench, Ending, Job
from desktop_rlhf.workbench.messages import JobPaused, JobProgressed, JobStarted, ResumeRun, RunSaid, StartRun
from desktop_rlhf.workbench.run_log import RunLog
from desktop_rlhf.workbench.run_plan import begun, changed_since, inputs_of, stored
from desktop_rlhf.workbench.smaller_setting import is_out_of_memory, smaller_setting


def train(bench: Bench, command: StartRun | ResumeRun, stop: StopToken) -> Job:
    """Run an algorithm from its row in the store, or from its checkpoint, to its one ending there."""
    resumes = isinstance(command, ResumeRun)
    run, comparison_ids = stored(bench, command) if isinstance(command, ResumeRun) else begun(bench, command)
    spec = with_settings(spec_named(run.algorithm), cast("Mapping[str, Value]", run.settings))
    inputs = inputs_of(bench, run, spec, comparison_ids)
    bench.store.runs.reopen(run.id) if resumes else bench.store.runs.add(run, comparison_ids)
    yield JobStarted(command.job_id, f"Training: {spec.title}", run.id)

    log = RunLog(bench.store, run.id)
    adapter_id = None
    halted: Halted | None = None
    own_threads, own_way = torch.get_num_threads(), bench.model.few_go_by
    # Sums are rounded by how they are split among threads and made, so a run keeps the ways it began with.
    torch.set_num_threads(int(str(run.provenance["threads"])))
    bench.model.few_go_by = str(run.provenance.get("few_rows", DEFAULT))
    try:
        if resumes and (changed := changed_since(bench, run)):
            log.write(Noted(f"Resumed with other versions ({changed}): from here on not to the last bit as it began."))
        for event in resolve(type(spec))(spec, inputs, stop):
            log.write(event)
            if isinstance(event, Progressed):
                yield JobProgressed(command.job_id, event.stage, event.done / event.total, None)
                continue
            if isinstance(event, AdapterSaved):
                adapter_id = _add_adapter(bench, run, event, AdapterKind(spec.makes))
            halted = event if isinstance(event, Halted) else None
            if halted:
                log.flush()
                yield JobPaused(command.job_id, halted.reason, halted.next_step)
                continue
            yield RunSaid(run.id, event)
        log.flush()
    except StoppedError:
        let_go(bench.model, inputs)
    except BaseException as error:
        let_go(bench.model, inputs)
        if isinstance(error, GeneratorExit):
            log.end(RunStatus.INTERRUPTED, halted.reason if halted else "It was broken off.")
            raise
        # No variable of this frame may hold the error: its traceback holds the frame, and with it all that the run
        # had in memory, until somebody collects the cycle.
        raise _failed(log, spec, inputs, error) from error
    finally:
        torch.set_num_threads(own_threads)
        bench.model.few_go_by = own_way
    log.end(RunStatus.STOPPED if stop.requested else RunStatus.COMPLETED)
    if not stop.requested:
        inputs.checkpoints.clear()
    return Ending(run.id, adapter_id)


def _failed(log: RunLog, spec: AlgorithmSpec, inputs: TrainingInputs, error: BaseException) -> BaseException:
    """Write down that the run failed, and give the error for the person."""
    known = explained(error, spec, inputs)
    log.end(RunStatus.FAILED, _reason(known))
    return known


def explain(error: BaseException) -> BaseException:
    """The error for the person where a library ran out of memory or of disk; otherwise ``error`` itself."""
    text = str(error)
    if is_out_of_memory(error):
        return OutOfMemoryError(
            "This run needs more memory than there is.",
            "Close other programs, or choose a smaller model.",
        )
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left on device" in text:
        return DiskFullError("The disk is full.", "Make some space and train again; what was saved before is safe.")
    return error


def explained(error: BaseException, spec: AlgorithmSpec, inputs: TrainingInputs) -> BaseException:
    """As ``explain``; where memory ran out, with a smaller setting that fits."""
    known = explain(error)
    if isinstance(known, OutOfMemoryError):
        return OutOfMemoryError(known.sentence, smaller_setting(spec, inputs))
    return known


def let_go(model: ResidentModel, inputs: TrainingInputs) -> None:
    """Detach what a run itself attached, and no more: a sampling job may hold adapters of its own."""
    for name in model.attached:
        if name.endswith(inputs.output_path.name):
            model.detach(name)


def _reason(error: BaseException) -> str:
    if isinstance(error, WorldError):
        return error.sentence
    return "It was broken off." if isinstance(error, KeyboardInterrupt) else f"A fault in the program: {error!r}."


def _add_adapter(bench: Bench, run: Run, saved: AdapterSaved, kind: AdapterKind) -> str:
    name = run.adapter_name or _next_name(bench, run.algorithm)
    adapter_id = uuid4().hex
    path = f"adapters/{saved.path.replace(chr(92), '/').rsplit('/', 1)[-1]}"
    bench.store.adapters.add(Adapter(adapter_id, name, kind, run.parent_adapter_id, run.id, path, saved.sha256))
    return adapter_id


def _next_name(bench: Bench, algorithm: str) -> str:
    """``dpo 3`` for the third adapter that DPO made here."""
    taken = {adapter.name for adapter in bench.store.adapters.all()}
    number = 1
    while f"{algorithm} {number}" in taken:
        number += 1
    return f"{algorithm} {number}"
