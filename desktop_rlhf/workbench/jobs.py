"""The jobs of the engine, as generators: each does a piece of work, yields its news and is called again."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from uuid import uuid4

from desktop_rlhf.adapters.resident import ResidentModel, hash_adapter
from desktop_rlhf.completions.distinct import MOST_DRAWN_AGAIN, DistinctGroup, same_text
from desktop_rlhf.completions.sampling import MOST_READ, Drawn, Sampling, sample
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import BadInputError, ModelFolderError
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.records.verdicts import SAME_TEXT, Match, Verdict, Winner
from desktop_rlhf.runs.events import Progressed
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken
from desktop_rlhf.side_by_side.blind import candidate_on_left
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.messages import (
    CompletionsReady,
    JobProgressed,
    MatchReady,
    News,
    PromptPassedOver,
    SampleGroups,
    SampleMatches,
)

PROMPTS_PER_BATCH = 128
FIRST_PROMPTS = 2  # at least, of a small first batch, so that there soon is something to judge
FIRST_COMPLETIONS = 16
"""Of such a batch where each prompt is there to be labelled as soon as its own are written: of several prompts the
first is done sooner than of two, and sixteen rows take less than half as long again as four. All are read before one
is written, so long prompts are fewer."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a job that came to its end leaves behind."""

    run_id: str | None = None
    adapter_id: str | None = None


Job = Generator[News, None, Ending]


@dataclass(frozen=True, slots=True)
class Bench:
    """What every job works with."""

    project_path: Path
    store: Store
    model: ResidentModel

    def adapter_path(self, adapter_id: str) -> Path:
        """The folder of an adapter, after a look that its files are the ones that were saved.

        Raises:
            ModelFolderError: they are gone or were changed.
        """
        adapter = self.store.adapters.get(adapter_id)
        path = self.project_path / adapter.path
        try:
            found = hash_adapter(path)
        except (OSError, ValueError, KeyError) as error:
            raise ModelFolderError(f"The files of the adapter “{adapter.name}” cannot be read: {error}.") from error
        if found != adapter.sha256:
            raise ModelFolderError(
                f"The files of the adapter “{adapter.name}” are not the ones that were saved.", "Train it again."
            )
        return path


def sample_groups(bench: Bench, command: SampleGroups, stop: StopToken) -> Job:
    """Sample and store one group of completions per prompt, to be labelled."""
    count = command.completions_per_prompt
    total = len(command.prompt_ids)
    # Few rows take nearly as long as many, so where something waits a small batch is only dear.
    waits = bench.store.completions.waiting_from(command.adapter_id, most=1)
    first = PROMPTS_PER_BATCH if waits else _soon_written(bench, command)
    with _Speaker(bench, command.adapter_id) as name:
        for start, end in _batches(total, first):
            groups = [_group(bench, command, prompt_id) for prompt_id in command.prompt_ids[start:end]]
            seeds = [seed for group in groups for seed in group.next_seeds()]
            for part in _draw(bench, name, [group.prompt for group in groups], seeds, command.sampler, stop):
                if isinstance(part, Progressed):
                    done = start + len(groups) * part.done / part.total
                    yield JobProgressed(command.job_id, part.stage, done / total, None)
                    continue
                group, own = groups[part.place], seeds[part.place * count : (part.place + 1) * count]
                for drawn, seed in zip(part.drawn, own, strict=True):
                    _take(bench, command, group, drawn, seed)
                if not group.missing:
                    yield _stored(bench, command, group)
            wanting = [group for group in groups if group.missing]
            for part in _draw_again(bench, name, command, wanting, stop):
                yield JobProgressed(command.job_id, part.stage, end / total, None)
            if stop.requested:
                break
            for group in wanting:
                yield _stored(bench, command, group) if group.gives_a_choice else _passed_over(bench, command, group)
    return Ending()


def _group(bench: Bench, command: SampleGroups, prompt_id: str) -> DistinctGroup:
    prompt, count = bench.store.prompts.get(prompt_id), command.completions_per_prompt
    return DistinctGroup(uuid4().hex, prompt, count, command.seed, repeats=command.repeats)


def _draw_again(
    bench: Bench, name: str | None, command: SampleGroups, groups: Sequence[DistinctGroup], stop: StopToken
) -> Iterator[Progressed]:
    """Draw anew what repeated something of its group, a few times; without chance it would be the same each time."""
    for _ in range(MOST_DRAWN_AGAIN if command.sampler.temperature else 0):
        rows = [group for group in groups for _ in range(group.missing)]
        if not rows or stop.requested:
            return
        seeds = [seed for group in groups for seed in group.next_seeds()]
        found: dict[int, Drawn] = {}
        for part in _draw(bench, name, [group.prompt for group in rows], seeds, command.sampler, stop):
            if isinstance(part, Progressed):
                yield part
            else:
                (found[part.place],) = part.drawn
        for place, drawn in sorted(found.items()):  # in their order, not in that in which they ended
            _take(bench, command, rows[place], drawn, seeds[place])


def _take(bench: Bench, command: SampleGroups, group: DistinctGroup, drawn: Drawn, seed: int) -> None:
    group.take(_completion(bench, group.prompt, group.id, command.adapter_id, drawn, command.sampler, seed))


def _stored(bench: Bench, command: SampleGroups, group: DistinctGroup) -> CompletionsReady:
    bench.store.completions.add_group(group.completions, to_label=True)
    return CompletionsReady(command.job_id, group.prompt.id, group.id)


def _passed_over(bench: Bench, command: SampleGroups, group: DistinctGroup) -> PromptPassedOver:
    bench.store.prompts.pass_over(group.prompt.id)
    return PromptPassedOver(command.job_id, group.prompt.id)


def sample_matches(bench: Bench, command: SampleMatches, stop: StopToken) -> Job:
    """Sample and store both sides of each match, the same seed on both sides; matches that stand already are kept.

    Sides that read the same are a tie, and nobody is asked. To draw them again, as for labelling, would leave out where
    the two are alike, and make every difference look larger than it is.
    """
    pair = bench.store.side_by_sides.get(command.side_by_side_id)
    sides = (pair.candidate_id, pair.baseline_id)
    standing = {match.prompt_id for match in bench.store.side_by_sides.matches(pair.id)}
    prompt_ids = [prompt_id for prompt_id in command.prompt_ids if prompt_id not in standing]
    total = len(prompt_ids)
    for start, end in _batches(total):
        prompts = [bench.store.prompts.get(prompt_id) for prompt_id in prompt_ids[start:end]]
        seeds = [derive_seed(command.seed, prompt.id) for prompt in prompts]
        both: list[dict[int, Drawn]] = []
        for i, side in enumerate(sides):
            drawn: dict[int, Drawn] = {}
            with _Speaker(bench, side) as name:
                for part in _draw(bench, name, prompts, seeds, command.sampler, stop):
                    if isinstance(part, Progressed):
                        done = start + (end - start) * (i + part.done / part.total) / 2
                        yield JobProgressed(command.job_id, part.stage, done / total, None)
                    else:
                        (drawn[part.place],) = part.drawn
            if stop.requested:
                return Ending()
            both.append(drawn)
        for i, prompt in enumerate(prompts):
            match_id = uuid4().hex
            made = [
                _completion(bench, prompt, f"{match_id}-{k}", side, both[k][i], command.sampler, seeds[i])
                for k, side in enumerate(sides)
            ]
            with bench.store.transaction():
                for completion in made:
                    bench.store.completions.add_group([completion], to_label=False)
                bench.store.side_by_sides.add_match(
                    Match(match_id, pair.id, prompt.id, made[0].id, made[1].id, candidate_on_left(match_id))
                )
                if same_text(*made):
                    tie = Verdict(uuid4().hex, match_id, Winner.TIE, labeller=SAME_TEXT)
                    bench.store.side_by_sides.add_verdict(tie)
            yield MatchReady(command.job_id, pair.id, match_id)
    return Ending()


class _Speaker:
    """An adapter attached under a name of its own for as long as a job samples from it; None is the base."""

    def __init__(self, bench: Bench, adapter_id: str | None) -> None:
        self._bench = bench
        self._adapter_id = adapter_id
        self._name = f"speaker-{uuid4().hex}" if adapter_id else None

    def __enter__(self) -> str | None:
        if self._name and self._adapter_id:
            self._bench.model.attach(self._name, self._bench.adapter_path(self._adapter_id))
        return self._name

    def __exit__(self, *_: object) -> None:
        if self._name:
            self._bench.model.detach(self._name)


def _soon_written(bench: Bench, command: SampleGroups) -> int:
    """How many prompts a first batch has: several, of which one is soon done, and fewer where reading takes long."""
    most = max(FIRST_PROMPTS, FIRST_COMPLETIONS // command.completions_per_prompt)
    prompts = map(bench.store.prompts.get, command.prompt_ids[:most])
    read = accumulate(len(bench.model.prompt_ids(prompt.messages)) for prompt in prompts)
    return max(FIRST_PROMPTS, sum(tokens <= MOST_READ for tokens in read))


def _batches(total: int, first: int = FIRST_PROMPTS) -> Iterator[tuple[int, int]]:
    """(start, end) of consecutive batches, the first one of ``first``."""
    start = 0
    while start < total:
        end = min(total, start + (first if start == 0 else PROMPTS_PER_BATCH))
        yield start, end
        start = end


def _draw(
    bench: Bench, name: str | None, prompts: Sequence[Prompt], seeds: Sequence[int], sampler: Sampler, stop: StopToken
) -> Sampling:
    """Sample one batch.

    Raises:
        BadInputError: a prompt leaves no room for a whole completion.
    """
    ids = [bench.model.prompt_ids(prompt.messages) for prompt in prompts]
    for prompt, own in zip(prompts, ids, strict=True):
        if len(own) + sampler.max_new_tokens > bench.model.longest:
            raise BadInputError(
                f"The prompt “{prompt.text[:40]}…” is too long for this model: {len(own)} tokens and "
                f"{sampler.max_new_tokens} to write do not fit into {bench.model.longest}.",
                "Write fewer tokens, or shorten the prompt.",
            )
    return sample(bench.model, name, ids, seeds, sampler, stop)


def _completion(
    bench: Bench, prompt: Prompt, group_id: str, adapter_id: str | None, drawn: Drawn, sampler: Sampler, seed: int
) -> Completion:
    text = bench.model.completion_text(drawn.completion_ids)
    return Completion(
        uuid4().hex, prompt.id, group_id, adapter_id, text, drawn.completion_ids, drawn.ended, sampler, seed
    )
