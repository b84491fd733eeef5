"""A project as the window and the command line use it: everything but the engine."""

from __future__ import annotations

from pathlib import Path
from typing import cast
from uuid import uuid4

from desktop_rlhf.adapters.base_models import base_model_folder
from desktop_rlhf.adapters.download import downloaded
from desktop_rlhf.adapters.folders import check_model_folder, hash_model_folder, holds_checkpoint
from desktop_rlhf.adapters.starter import starter_model_ready
from desktop_rlhf.comparisons.modes import check_judgement, mode_for
from desktop_rlhf.prompts import starter
from desktop_rlhf.prompts.files import read_file
from desktop_rlhf.prompts.keys import prompt_key
from desktop_rlhf.records.adapters import Adapter, AdapterKind, name_beside
from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.records.errors import ModelFolderError, ProjectBusyError, ProjectError
from desktop_rlhf.records.project import ProjectInfo
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.records.runs import Run, RunStatus
from desktop_rlhf.records.verdicts import Match, SideBySide, Verdict, WinRate
from desktop_rlhf.runs.common import SHAPE
from desktop_rlhf.runs.events import SampleShown
from desktop_rlhf.runs.spec import Value
from desktop_rlhf.settings import STARTER_MODEL_NAME
from desktop_rlhf.side_by_side.blind import shuffled, winner_of
from desktop_rlhf.store.clock import now
from desktop_rlhf.store.connection import translated
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.exported import EXPORTS, copy_adapter, writing
from desktop_rlhf.workbench.folder import CHECKPOINTS_FOLDER, STORE_FILE, begin_folder, clear_folder
from desktop_rlhf.workbench.imported import Watch, take_in, unwatched
from desktop_rlhf.workbench.lock import ProjectLock
from desktop_rlhf.workbench.views import ImportReport, LabelCounts, MatchShowing, Showing, Sources


class Project:
    """An open project. For one thread; the engine opens the store a second time on its own."""

    def __init__(self, path: Path, store: Store, lock: ProjectLock | None) -> None:
        self.path = path
        self._store = store
        self._lock = lock
        self.info = store.info()

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        name: str | None = None,
        base_model: str | None = None,
        labeller: str = "me",
        starter_prompts: bool = True,
    ) -> Project:
        """Make a project in a folder that is empty or does not exist.

        Args:
            base_model: a local safetensors folder, or a Hugging Face id, which is downloaded once and is a local folder
                from then on; None is the starter model.

        Raises:
            ProjectError: the folder holds something already or cannot be made.
            ModelFolderError: the base model cannot be used.
        """
        base = downloaded(base_model) if base_model else STARTER_MODEL_NAME
        folder = base_model_folder(base)
        if base == STARTER_MODEL_NAME and not starter_model_ready():
            raise ModelFolderError(
                "The starter model is not on this machine yet.",
                "Set the program up once with a network, or choose a model folder of your own.",
            )
        check_model_folder(folder)
        info = ProjectInfo(
            id=uuid4().hex,
            name=name or path.name,
            base_model=base if base == STARTER_MODEL_NAME else str(folder.resolve()),
            base_sha256=hash_model_folder(folder),
            labeller=labeller,
            created_at=now(),
        )
        begin_folder(path)
        lock = ProjectLock(path)
        try:
            store = Store.create(path / STORE_FILE, info)
            project = cls(path, store, lock)
            if starter_prompts:
                store.prompts.add([(prompt, prompt_key(prompt)) for prompt in starter.starter_prompts()])
        except BaseException:
            lock.release()
            clear_folder(path)
            raise
        return project

    @classmethod
    def open(cls, path: Path) -> Project:
        """Open a project and close what a sudden end left open.

        Raises:
            ProjectError: there is none.
            ProjectNewerError: a newer version made it.
            ProjectBusyError: it is open elsewhere.
        """
        if not (path / STORE_FILE).is_file():
            raise ProjectError(f"“{path}” holds no project.", "Choose the folder of a project, or make a new one.")
        lock = ProjectLock(path)
        try:
            with translated(path / STORE_FILE):
                store = Store.open(path / STORE_FILE)
                store.runs.interrupt_running()
                return cls(path, store, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open_to_read(cls, path: Path) -> Project:
        """Open a project of which nothing is to be changed, beside a window or command that has it open.

        Where none has, it is opened as ever: that also closes what a sudden end left open.

        Raises:
            ProjectError: there is none, or it cannot be read.
        """
        try:
            return cls.open(path)
        except ProjectBusyError:
            with translated(path / STORE_FILE):
                return cls(path, Store.open_to_read(path / STORE_FILE), None)

    def close(self) -> None:
        """Close the file and let go of the lock."""
        self._store.close()
        if self._lock is not None:
            self._lock.release()

    # Prompts

    def prompts(self, split: Split | None = None) -> list[Prompt]:
        """In the order they came."""
        return self._store.prompts.all(split)

    @property
    def prompt_count(self) -> int:
        """How many there are, of whatever split; none is ever changed or taken away."""
        return self._store.prompts.count()

    def import_file(self, path: Path, split: Split = Split.TRAIN, watch: Watch = unwatched) -> ImportReport:
        """Take in prompts, and what was said of their completions, from a TXT, CSV or JSONL file, in one transaction.

        Preferences that prefer nothing are left out and told of; a row that is wrong has the whole file refused. It is
        for any thread, having a connection of its own; whoever writes to the project meanwhile waits for its end.

        Raises:
            BadInputError: the file cannot be read; the project is as it was, as when ``watch`` raises something.
        """
        store = Store.open(self.path / STORE_FILE)
        try:
            return take_in(store, read_file(path, split), watch)
        finally:
            store.close()

    def export(self, what: str, path: Path) -> int:
        """Write all of one kind, as it stands at one moment, to a file; gives how many. On any thread, as an import.

        - ``prompts``:        TXT, CSV or JSONL by the file's ending.
        - ``comparisons``:    every pair that they imply, as TRL's conversational preference JSONL.
        - ``demonstrations``: as TRL's conversational prompt-completion JSONL.
        - ``judgements``:     of single completions, as TRL's conversational unpaired preference JSONL.
        - ``verdicts``:       of blind side by sides, ties too, as JSONL with both completions and who won.

        Raises:
            NotEnoughDataError: there is nothing of this kind; no file is written.
            BadInputError: the file's ending does not suit.
            DiskFullError: it could not be written.
        """
        store = Store.open_to_read(self.path / STORE_FILE)
        try:
            with writing(path):
                return EXPORTS[what](store, path)
        finally:
            store.close()

    def export_adapter(self, adapter_id: str, path: Path) -> None:
        """Copy an adapter's folder, which PEFT loads onto the base model, to a new folder.

        Raises:
            KeyError: there is no such adapter.
            BadInputError: something is at ``path`` already; it stays as it is.
            ModelFolderError: the adapter's files are gone.
            DiskFullError: it could not be written; there is no folder then.
        """
        with writing(path):
            copy_adapter(self.path / self.adapter(adapter_id).path, path)

    # Labelling

    def prompts_to_sample(self, count: int) -> list[Prompt]:
        """The training prompts that were sampled least, in the order they came."""
        return self._store.prompts.least_sampled(count)

    def next_showing(self) -> Showing | None:
        """The oldest group that waits for a judgement."""
        group_id = self._store.completions.first_waiting()
        return self._showing(group_id) if group_id else None

    def next_showing_from(self, adapter_id: str | None) -> Showing | None:
        """The oldest group of this adapter that waits for a judgement; None is the base."""
        group_id = self._store.completions.first_waiting_from(adapter_id)
        return self._showing(group_id) if group_id else None

    def waiting_from(self, adapter_id: str | None, most: int) -> int:
        """How many groups of this adapter wait for a judgement, counted up to ``most``; None is the base."""
        return self._store.completions.waiting_from(adapter_id, most)

    def _showing(self, group_id: str) -> Showing:
        completions = self._store.completions.group(group_id)
        prompt = self._store.prompts.get(completions[0].prompt_id)
        return Showing(group_id, mode_for(len(completions)), prompt, shuffled(completions, group_id))

    def save_comparison(
        self,
        showing: Showing,
        outcome: Outcome,
        ranks: tuple[int, ...] = (),
        *,
        strength: int | None = None,
        flagged: bool = False,
        duration_s: float = 0.0,
        labeller: str | None = None,
    ) -> Comparison:
        """Store a judgement for good: when this returns it is on the disk.

        Args:
            ranks: one per completion in the order shown, 1 is best, equal numbers tie; only with ``Outcome.RANKED``.

        Raises:
            BadInputError: the judgement contradicts itself.
            DiskFullError: it could not be written.
        """
        check_judgement(len(showing.completions), outcome, ranks, strength)
        comparison = Comparison(
            id=uuid4().hex,
            prompt_id=showing.prompt.id,
            mode=showing.mode,
            completion_ids=tuple(completion.id for completion in showing.completions),
            outcome=outcome,
            ranks=ranks,
            strength=strength,
            flagged=flagged,
            labeller=self.info.labeller if labeller is None else labeller,
            duration_s=duration_s,
            created_at=now(),
        )
        self._store.comparisons.add(comparison)
        return comparison

    def undo(self) -> Showing | None:
        """Retract the newest judgement and show its completions again; None when there is none."""
        last = self._store.comparisons.last()
        if last is None:
            return None
        self._store.comparisons.retract(last.id)
        group_id = self._store.completions.get_all(last.completion_ids)[last.completion_ids[0]].group_id
        return self._showing(group_id)

    def comparisons(self) -> list[Comparison]:
        """Those that stand, oldest first."""
        return self._store.comparisons.all()

    def label_counts(self) -> LabelCounts:
        return LabelCounts.of(
            self._store.comparisons.counts(), self._store.comparisons.flagged(), self._store.completions.waiting()
        )

    # Training

    def adapters(self, kind: AdapterKind | None = None) -> list[Adapter]:
        """Newest first."""
        return self._store.adapters.all(kind)

    def adapter(self, adapter_id: str) -> Adapter:
        """KeyError when there is none."""
        return self._store.adapters.get(adapter_id)

    def rename_adapter(self, adapter_id: str, name: str) -> None:
        """Call an adapter something else.

        Raises:
            BadInputError: the name is empty, too long, or another adapter's.
        """
        others = [adapter.name for adapter in self.adapters() if adapter.id != adapter_id]
        self._store.adapters.rename(adapter_id, name_beside(others, name))

    @property
    def has_reward_model(self) -> bool:
        """Whether one was trained."""
        return self._store.adapters.holds(AdapterKind.REWARD)

    def runs(self) -> list[Run]:
        """Newest first."""
        return self._store.runs.all()

    def resumable(self, run_id: str) -> bool:
        """Whether a run ended early and left a checkpoint to go on from."""
        if not holds_checkpoint(self.path / CHECKPOINTS_FOLDER / run_id):
            return False
        return self.run(run_id).status in (RunStatus.STOPPED, RunStatus.FAILED, RunStatus.INTERRUPTED)

    def kept(self, run_id: str) -> bool:
        """Whether a run left an adapter, or a checkpoint to go on from."""
        return self.resumable(run_id) or any(adapter.run_id == run_id for adapter in self.adapters())

    def run(self, run_id: str) -> Run:
        """KeyError when there is none."""
        return self._store.runs.get(run_id)

    def last_settings(self, algorithm: str) -> dict[str, Value]:
        """What the newest run of an algorithm was started with, but for an adapter's shape; empty when there is none.

        Whoever goes on from an adapter has that one's shape, and may not ask for another.
        """
        run = self._store.runs.newest(algorithm)
        settings = cast("dict[str, Value]", dict(run.settings)) if run else {}
        return {name: settings[name] for name in settings if name not in SHAPE}

    def learned_from(self, run_id: str) -> tuple[str, ...]:
        """The ids of the judgements that a run learned from, in order."""
        return self._store.runs.comparison_ids(run_id)

    def sources(self, run: Run) -> Sources:
        """What the run learned from, by kind."""
        return Sources.of(run.judgements)

    def metrics(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """Every curve of a run: (step, value) by step."""
        return self._store.runs.metrics(run_id)

    def points(self, run_id: str, name: str, *, after: int = -1, most: int) -> list[tuple[int, float]]:
        """A piece of one curve: (step, value) by step, at most so many of those that come after a step."""
        return self._store.runs.points(run_id, name, after, most)

    def samples(self, run_id: str) -> list[SampleShown]:
        return self._store.runs.samples(run_id)

    def notes(self, run_id: str) -> list[str]:
        return self._store.runs.notes(run_id)

    # Comparing

    def side_by_side(self, candidate_id: str | None, baseline_id: str | None, planned: int) -> SideBySide:
        """Begin a new side by side of ``planned`` matches, which the engine samples; None is the base."""
        made = SideBySide(uuid4().hex, candidate_id, baseline_id, planned, now())
        self._store.side_by_sides.add(made)
        return made

    def plan_more(self, side_by_side_id: str, more: int) -> SideBySide:
        """Decide on so many matches on top of those that are sampled; what was judged of these keeps counting."""
        self._store.side_by_sides.plan(side_by_side_id, self.matches(side_by_side_id) + more)
        return self._store.side_by_sides.get(side_by_side_id)

    def side_by_sides(self) -> list[SideBySide]:
        """Newest first."""
        return self._store.side_by_sides.all()

    def matches(self, side_by_side_id: str) -> int:
        """How many matches are sampled."""
        return len(self._store.side_by_sides.matches(side_by_side_id))

    def next_match(self, side_by_side_id: str) -> MatchShowing | None:
        """The oldest match without a verdict."""
        match = self._store.side_by_sides.first_open(side_by_side_id)
        return self._match_showing(match) if match else None

    def _match_showing(self, match: Match) -> MatchShowing:
        ids = (match.candidate_completion_id, match.baseline_completion_id)
        found = self._store.completions.get_all(ids)
        left, right = ids if match.candidate_on_left else ids[::-1]
        return MatchShowing(match, self._store.prompts.get(match.prompt_id), found[left], found[right])

    def save_verdict(
        self, showing: MatchShowing, choice: str, *, duration_s: float = 0.0, labeller: str | None = None
    ) -> Verdict:
        """Store a verdict for good; ``choice`` is ``left``, ``right`` or ``tie``."""
        who = self.info.labeller if labeller is None else labeller
        winner = winner_of(showing.match, choice)
        verdict = Verdict(uuid4().hex, showing.match.id, winner, who, duration_s, now())
        self._store.side_by_sides.add_verdict(verdict)
        return verdict

    def undo_verdict(self, side_by_side_id: str) -> MatchShowing | None:
        """Retract the newest verdict and show its match again; None when there is none."""
        match = self._store.side_by_sides.retract_last(side_by_side_id)
        return self._match_showing(match) if match else None

    def win_rate(self, side_by_side_id: str) -> WinRate:
        return self._store.side_by_sides.win_rate(side_by_side_id)
