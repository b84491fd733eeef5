"""What happens where a model writes the same twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from desktop_rlhf.completions.distinct import MOST_DRAWN_AGAIN
from desktop_rlhf.completions.sampling import Drawn, Written
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.events import Progressed
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.workbench import jobs
from desktop_rlhf.workbench.messages import CompletionsReady, JobEnded, JobProgressed, PromptPassedOver

FEW_WORDS = Sampler(temperature=0.3, top_k=3, max_new_tokens=1)


@pytest.fixture
def groups(project):
    """The groups that wait, by prompt."""

    def read() -> dict[str, list[Completion]]:
        rows = project._store.db.execute("SELECT id FROM groups WHERE waiting = 1 ORDER BY rowid").fetchall()
        found = [project._store.completions.group(group_id) for (group_id,) in rows]
        return {group[0].prompt_id: group for group in found}

    return read


def of(kind, said) -> list:
    return [news for news in said if isinstance(news, kind)]


def said_by(groups) -> dict[str, list[tuple[str, int]]]:
    return {prompt_id: [(c.text, c.seed) for c in group] for prompt_id, group in groups.items()}


@pytest.mark.parametrize("count", [2, 3])
def test_that_no_two_of_a_group_read_the_same_and_the_same_command_gives_the_same(
    project, work, sampling, groups, count
) -> None:
    command = replace(sampling(count), sampler=FEW_WORDS)
    said = work(command)
    first = groups()
    assert len(of(CompletionsReady, said)) + len(of(PromptPassedOver, said)) == 12
    assert set(first) == {news.prompt_id for news in of(CompletionsReady, said)}
    drawn_again = 0
    for prompt_id, group in first.items():
        assert 2 <= len({completion.text.strip() for completion in group}) == len(group)
        draws = [derive_seed(command.seed, prompt_id, draw) for draw in range(count * (1 + MOST_DRAWN_AGAIN))]
        assert {completion.seed for completion in group} <= set(draws)
        drawn_again += sum(completion.seed in draws[count:] for completion in group)
    assert drawn_again
    shares = [news.share for news in of(JobProgressed, said)]
    assert shares == sorted(shares)

    project._store.db.execute("UPDATE groups SET waiting = 0")
    alone = replace(command, prompt_ids=command.prompt_ids[3:5])  # in a batch of others
    work(alone)
    assert said_by(groups()) == {p: c for p, c in said_by(first).items() if p in alone.prompt_ids}


@pytest.fixture
def always(monkeypatch):
    """Has the model write the same token whatever the seed; gives how many rows were asked for each time."""
    asked: list[int] = []

    def write(model, adapter, prompts, seeds, *arguments):
        asked.append(len(seeds))
        copies = len(seeds) // len(prompts)
        for place in range(len(prompts)):
            yield Written(place, (Drawn((40,), True),) * copies)
        yield Progressed("sampling", 1, 1)

    monkeypatch.setattr(jobs, "sample", write)
    return asked


def test_that_a_prompt_whose_completions_stay_the_same_is_passed_over_and_comes_last_from_then_on(
    project, work, sampling, always
) -> None:
    command = replace(sampling(2), prompt_ids=sampling(2).prompt_ids[:3])
    said = work(command)
    assert [news.prompt_id for news in of(PromptPassedOver, said)] == list(command.prompt_ids)
    assert of(CompletionsReady, said) == []
    assert project.label_counts().waiting == 0
    assert always == [6] + [3] * MOST_DRAWN_AGAIN
    assert not {prompt.id for prompt in project.prompts_to_sample(9)} & set(command.prompt_ids)


def test_that_without_chance_nothing_is_drawn_again(work, sampling, always) -> None:
    work(replace(sampling(2), prompt_ids=sampling(2).prompt_ids[:3], sampler=Sampler(temperature=0)))
    assert always == [6]


def test_that_what_is_measured_keeps_its_repeats(project, work, sampling, groups, always) -> None:
    work(replace(sampling(4), repeats=True))
    assert [len(group) for group in groups().values()] == [4] * 12
    assert sum(always) == 48


def test_that_a_stop_while_something_is_drawn_again_passes_no_prompt_over(
    project, work, sampling, always, monkeypatch
) -> None:
    real = jobs.sample

    def stopped_at_the_second(*arguments):
        if always:
            arguments[-1].request()
        return real(*arguments)

    monkeypatch.setattr(jobs, "sample", stopped_at_the_second)
    said = work(sampling(2))
    assert always == [16, 8]
    assert of(PromptPassedOver, said) == []
    assert [news.status for news in of(JobEnded, said)] == [RunStatus.STOPPED]
