"""What each verb does: open the project, do it, give back text for a person and data for a program."""

from __future__ import annotations

import argparse
import dataclasses
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from desktop_rlhf.cli.engine_access import work
from desktop_rlhf.cli.judge import Judge
from desktop_rlhf.comparisons.modes import mode_for, winner_ranks
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.errors import BadInputError, NotEnoughDataError
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.runs.spec import AlgorithmSpec, Value, with_settings
from desktop_rlhf.side_by_side.blind import LEFT, RIGHT, TIE
from desktop_rlhf.workbench.algorithms import spec_named
from desktop_rlhf.workbench.estimated import Estimate
from desktop_rlhf.workbench.messages import (
    EstimateRun,
    JobEnded,
    News,
    PromptPassedOver,
    ResumeRun,
    RunEstimated,
    SampleGroups,
    SampleMatches,
    StartRun,
)
from desktop_rlhf.workbench.project import Project


@dataclass(frozen=True, slots=True)
class Result:
    """What a verb says: to a person, and as JSON."""

    text: str
    data: Mapping[str, object]


@contextmanager
def _opened(path: Path, *, to_read: bool = False) -> Iterator[Project]:
    """``to_read``: beside whoever has the project open."""
    project = Project.open_to_read(path) if to_read else Project.open(path)
    try:
        yield project
    finally:
        project.close()


def new(arguments: argparse.Namespace) -> Result:
    project = Project.create(
        arguments.project,
        name=arguments.name,
        base_model=arguments.base_model,
        labeller=arguments.labeller,
        starter_prompts=not arguments.no_starter_prompts,
    )
    try:
        count = len(project.prompts())
        info = dataclasses.asdict(project.info)
    finally:
        project.close()
    return Result(f"Made “{info['name']}” with {count} prompts.", {"project": info, "prompts": count})


def import_file(arguments: argparse.Namespace) -> Result:
    with _opened(arguments.project) as project:
        report = project.import_file(arguments.file, Split.HELD_OUT if arguments.held_out else Split.TRAIN)
    text = (
        f"{report.rows} rows taken: {report.prompts} new prompts, {report.duplicates} known already, "
        f"{report.comparisons} comparisons, {report.demonstrations} demonstrations, "
        f"{report.judgements} judgements of single completions."
    )
    return Result(f"{text} {report.omission}".rstrip(), dataclasses.asdict(report) | {"rows": report.rows})


def sample(arguments: argparse.Namespace) -> Result:
    mode_for(arguments.per_prompt)
    with _opened(arguments.project) as project:
        adapter = _adapter(project, arguments.adapter, AdapterKind.POLICY)
        prompts = project.prompts_to_sample(arguments.prompts)
        if not prompts:
            raise NotEnoughDataError("The project has no prompts to sample for.", "Import some first.")
        before = project.label_counts().waiting
        seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
        said: list[News] = []
        ending = work(
            project,
            SampleGroups(
                job_id=uuid4().hex,
                prompt_ids=tuple(prompt.id for prompt in prompts),
                completions_per_prompt=arguments.per_prompt,
                adapter_id=adapter.id if adapter else None,
                sampler=_sampler(arguments),
                seed=seed,
            ),
            said.append,
        )
        waiting = project.label_counts().waiting
    passed_over = sum(isinstance(news, PromptPassedOver) for news in said)
    data = {"status": ending.status, "groups": waiting - before, "waiting": waiting, "seed": seed}
    text = f"{waiting - before} groups sampled; {waiting} wait to be labelled."
    if passed_over:
        text += f" Prompts passed over, whose completions read the same each time they were drawn: {passed_over}."
    return Result(text, data | {"passed_over": passed_over})


def label(arguments: argparse.Namespace) -> Result:
    """Every answer is stored before the next question is sent."""
    judged = 0
    with _opened(arguments.project) as project, Judge(arguments.judge_command) as judge:
        while arguments.limit is None or judged < arguments.limit:
            showing = project.next_showing()
            if showing is None:
                break
            choice = judge.ask(showing.prompt, showing.completions)
            if choice is None:
                project.save_comparison(showing, Outcome.TIE, labeller=judge.command)
            else:
                ranks = winner_ranks(len(showing.completions), choice)
                project.save_comparison(showing, Outcome.RANKED, ranks, labeller=judge.command)
            judged += 1
        counts = project.label_counts()
    return Result(f"{judged} judged; {counts.waiting} wait.", {"judged": judged} | dataclasses.asdict(counts))


def train(arguments: argparse.Namespace) -> Result:
    spec, settings = _asked(arguments)
    with _opened(arguments.project) as project:
        command = StartRun(uuid4().hex, spec.name, settings, *_adapters(project, spec, arguments), arguments.name)
        return _trained(project, work(project, command))


def estimate(arguments: argparse.Namespace) -> Result:
    """It trains a small part and keeps nothing of it."""
    spec, settings = _asked(arguments)
    found: list[Estimate] = []

    def listen(news: News) -> None:
        if isinstance(news, RunEstimated):
            found.append(news.estimate)

    with _opened(arguments.project) as project:
        work(
            project,
            EstimateRun(uuid4().hex, spec.name, settings, *_adapters(project, spec, arguments), arguments.name),
            listen,
        )
    if not found:
        raise NotEnoughDataError("The estimate was stopped before it was there.")
    return Result(found[0].sentence, {"algorithm": spec.name} | found[0].as_json())


def _asked(arguments: argparse.Namespace) -> tuple[type[AlgorithmSpec], dict[str, Value]]:
    """The algorithm and the settings that differ from its defaults."""
    if arguments.project.name in _trainable() and arguments.algorithm not in _trainable():
        # ``train dpo FOLDER`` is as clear as ``train FOLDER dpo``.
        arguments.project, arguments.algorithm = Path(arguments.algorithm), str(arguments.project)
    spec = spec_named(arguments.algorithm)
    settings: dict[str, Value] = {}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInputError(f"“{text}” is not a setting.", "Write --set name=value.")
        settings[name.strip()] = value.strip()
    with_settings(spec, settings)  # a wrong setting is said before the model is loaded
    return spec, settings


def _adapters(
    project: Project, spec: type[AlgorithmSpec], arguments: argparse.Namespace
) -> tuple[str | None, str | None]:
    """Ids of the adapter to start from and of the reward model."""
    start = _adapter(project, arguments.start, AdapterKind.POLICY)
    reward = _adapter(project, arguments.reward_model, AdapterKind.REWARD)
    if spec.needs_reward_model and reward is None:
        reward = next(iter(project.adapters(AdapterKind.REWARD)), None)
    return start.id if start else None, reward.id if reward else None


def resume(arguments: argparse.Namespace) -> Result:
    with _opened(arguments.project) as project:
        resumable = [run for run in project.runs() if project.resumable(run.id)]
        wanted = [run for run in resumable if run.id.startswith(arguments.run or "")]
        if not wanted:
            known = ", ".join(f"{run.id[:8]} ({run.algorithm}, {run.status})" for run in resumable) or "none"
            raise NotEnoughDataError("There is no such run that could go on.", f"Runs that can: {known}.")
        return _trained(project, work(project, ResumeRun(uuid4().hex, wanted[0].id)))


def _trained(project: Project, ending: JobEnded) -> Result:
    """What a run left behind."""
    if ending.run_id is None:
        raise NotEnoughDataError("The run was stopped before it began.")
    run = project.run(ending.run_id)
    made = next((adapter for adapter in project.adapters() if adapter.id == ending.adapter_id), None)
    data = {
        "run_id": run.id,
        "status": run.status,
        "resumable": project.resumable(run.id),
        "adapter_id": made.id if made else None,
        "adapter": made.name if made else None,
        "report": dict(run.report),
        "notes": project.notes(run.id),
    }
    figures = ", ".join(f"{k} {v:.3g}" for k, v in run.report.items() if isinstance(v, int | float))
    title = spec_named(run.algorithm).title
    told = "".join(f"\n{note}" for note in project.notes(run.id))
    return Result(f"{title} {run.status}: adapter “{made.name if made else 'none'}”. {figures}{told}", data)


def compare(arguments: argparse.Namespace) -> Result:
    with _opened(arguments.project) as project:
        candidate = _adapter(project, arguments.candidate, AdapterKind.POLICY)
        if candidate is None:
            candidate = next(iter(project.adapters(AdapterKind.POLICY)), None)
        if candidate is None:
            raise NotEnoughDataError("There is no policy adapter to compare yet.", "Train one by DPO or PPO first.")
        baseline = _adapter(project, arguments.baseline, AdapterKind.POLICY)
        prompts = [p for p in project.prompts(Split.HELD_OUT) if "refuse" not in p.tags][: arguments.prompts]
        if not prompts:
            raise NotEnoughDataError("There are no held-out prompts.", "Import some with --held-out.")
        pair = project.side_by_side(candidate.id, baseline.id if baseline else None, len(prompts))
        ids = tuple(prompt.id for prompt in prompts)
        with Judge(arguments.judge_command) as judge:
            ending = work(project, SampleMatches(uuid4().hex, pair.id, ids, _sampler(arguments), arguments.seed))
            while (showing := project.next_match(pair.id)) is not None:
                choice = judge.ask(showing.prompt, (showing.left, showing.right))
                side = TIE if choice is None else (LEFT, RIGHT)[choice]
                project.save_verdict(showing, side, labeller=judge.command)
        rate = project.win_rate(pair.id)
    found = rate.interval
    data = {"candidate": candidate.name, "baseline": baseline.name if baseline else "base", "win_rate": found.value}
    data |= {"low": found.low, "high": found.high, "n": found.n}
    data |= {
        "wins": rate.wins,
        "losses": rate.losses,
        "ties": rate.ties,
        "same": rate.same,
        "side_by_side_id": pair.id,
        "status": ending.status,
    }
    text = f"{candidate.name} wins {found.value:.0%} of {found.n} ({found.low:.0%} to {found.high:.0%})."
    return Result(text, data)


def export(arguments: argparse.Namespace) -> Result:
    with _opened(arguments.project, to_read=True) as project:
        count = project.export(arguments.what, arguments.file)
    return Result(f"{count} {arguments.what} written to {arguments.file}.", {"written": count})


def runs(arguments: argparse.Namespace) -> Result:
    with _opened(arguments.project, to_read=True) as project:
        found = project.runs()
        # Of a run that went on the newest.
        adapters = {adapter.run_id: adapter for adapter in reversed(project.adapters())}
        resumable = {run.id for run in found if project.resumable(run.id)}
        notes = {run.id: project.notes(run.id) for run in found}
    lines = []
    for run in found:
        status = f"{run.status}, can be resumed" if run.id in resumable else run.status
        lines.append(_line(run.id, run.algorithm, status, adapters.get(run.id), run.created_at))
    data = [
        dataclasses.asdict(run)
        | {"adapter": dataclasses.asdict(adapters[run.id]) if run.id in adapters else None}
        | {"resumable": run.id in resumable, "notes": notes[run.id]}
        for run in found
    ]
    return Result("\n".join(lines) or "Nothing was trained yet.", {"runs": data})


def demo(arguments: argparse.Namespace) -> Result:
    from desktop_rlhf.workbench.demo import run_demo

    figures = run_demo(arguments.json, arguments.project, print)
    return Result(f"Figures written to {arguments.json}." if arguments.json else "Done.", figures)


def _line(run_id: str, algorithm: str, status: str, adapter: Adapter | None, created_at: str) -> str:
    made = adapter.name if adapter else "-"
    return f"{created_at[:19]}  {algorithm:8} {status:12} {made:20} {run_id}"


def _trainable() -> Sequence[str]:
    from desktop_rlhf.workbench.algorithms import TRAINABLE

    return [spec.name for spec in TRAINABLE]


def _sampler(arguments: argparse.Namespace) -> Sampler:
    if not 0 <= arguments.temperature < math.inf or not 0 < arguments.top_p <= 1 or arguments.top_k < 0:
        raise BadInputError("The sampler cannot be used.", "Take a temperature >= 0, 0 < top-p <= 1 and top-k >= 0.")
    return Sampler(arguments.temperature, arguments.top_p, arguments.top_k, arguments.max_new_tokens)


def _adapter(project: Project, wanted: str | None, kind: AdapterKind) -> Adapter | None:
    """The newest adapter of this name or id; None when none was asked for or the base was."""
    if wanted is None or (wanted == "base" and kind is AdapterKind.POLICY):
        return None
    for adapter in project.adapters(kind):
        if wanted in (adapter.id, adapter.name):
            return adapter
    known = ", ".join(adapter.name for adapter in project.adapters(kind)) or "none yet"
    raise BadInputError(f"There is no {kind} adapter “{wanted}”.", f"There are: {known}.")
