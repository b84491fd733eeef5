"""Whose turn it is when a run and the labeller both want the model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.completions.sampling import Drawn, Written
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.runs.events import Progressed
from desktop_rlhf.workbench import jobs
from desktop_rlhf.workbench.engine import FEWEST_WAITING, MOST_PIECES, Engine
from desktop_rlhf.workbench.messages import CompletionsReady, JobEnded, StartRun

TRAINING = StartRun("run", "dpo", {"lora_rank": 4, "lora_alpha": 8, "epochs": 8})


def test_that_sampling_goes_first_while_no_pair_is_ahead_and_takes_turns_afterwards(
    labelled, work, sampling, monkeypatch
) -> None:
    turns: list[tuple[bool, int]] = []  # whether it was the run's, and how many groups waited before
    real = Engine._advance

    def advance(engine, task) -> None:
        turns.append((task.is_training, engine._bench.store.completions.waiting()))
        real(engine, task)

    monkeypatch.setattr(Engine, "_advance", advance)
    long = replace(sampling(2), sampler=Sampler(max_new_tokens=100))
    said = work(long, TRAINING)
    assert sum(isinstance(news, JobEnded) for news in said) == 2

    sampled_last = max(place for place, (is_training, _) in enumerate(turns) if not is_training)
    in_a_row: list[int] = []
    pieces: list[int] = []  # waiting before each piece since the run's last turn
    for is_training, waiting in turns[: sampled_last + 1]:
        if not is_training:
            pieces.append(waiting)
            continue
        in_a_row.append(len(pieces))
        # Only a piece after which a pair was ahead, or the last that may be, gives the turn away.
        assert len(pieces) == 1 or len(pieces) == MOST_PIECES or max(pieces) < FEWEST_WAITING
        if pieces[0] >= FEWEST_WAITING:
            assert len(pieces) == 1
        pieces = []
    assert MOST_PIECES in in_a_row
    assert 1 in in_a_row


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """Of how many prompts each batch was."""
    found: list[int] = []
    real = jobs.sample

    def watched(model, adapter, prompts, *arguments):
        found.append(len(prompts))
        return real(model, adapter, prompts, *arguments)

    monkeypatch.setattr(jobs, "sample", watched)
    return found


@pytest.mark.parametrize(("count", "batches"), [(2, [8, 4]), (3, [5, 7]), (6, [2, 10]), (20, [2, 10])])
def test_that_the_first_batch_is_small_only_where_nothing_waits(project, work, sampling, sizes, count, batches) -> None:
    work(sampling(count))
    assert sizes == batches
    assert project.label_counts().waiting == 12
    sizes.clear()
    work(sampling(count))
    assert sizes == [12]


def test_that_what_waits_of_another_adapter_is_nothing_to_judge_meanwhile(
    labelled, work, sampling, sizes, monkeypatch
) -> None:
    """The labeller asked for this one, and is shown it first."""
    (ending,) = (n for n in work(replace(TRAINING, settings={"epochs": 1})) if isinstance(n, JobEnded))
    work(sampling(2))
    assert labelled.label_counts().waiting == 12
    sizes.clear()
    urgent: list[bool] = []
    real = Engine._urgent

    def watched(engine, task) -> bool:
        urgent.append(real(engine, task))
        return urgent[-1]

    monkeypatch.setattr(Engine, "_urgent", watched)
    work(replace(sampling(2), adapter_id=ending.adapter_id, seed=2))
    assert sizes == [8, 4]
    assert urgent == sorted(urgent, reverse=True)
    assert set(urgent) == {True, False}


@pytest.mark.parametrize(("most_read", "batches"), [(99, [2, 10]), (350, [3, 9]), (800, [8, 4])])
def test_that_long_prompts_are_fewer_in_the_first_batch_as_all_are_read_before_one_is_written(
    work, sampling, sizes, monkeypatch, most_read, batches
) -> None:
    monkeypatch.setattr(ResidentModel, "prompt_ids", lambda *_: list(range(5, 105)))
    monkeypatch.setattr(jobs, "MOST_READ", most_read)
    work(sampling(2))
    assert sizes == batches


def test_that_what_is_written_first_is_there_before_the_rest_of_its_batch(project, work, sampling, monkeypatch) -> None:
    def one_after_another(model, adapter, prompts, *arguments):
        for place in range(len(prompts)):
            yield Written(place, (Drawn((40,), True), Drawn((41,), True)))
            yield Progressed("sampling", place + 1, len(prompts))

    monkeypatch.setattr(jobs, "sample", one_after_another)
    waiting: list[int] = []

    def count(_, news) -> None:
        if isinstance(news, CompletionsReady):
            waiting.append(project.label_counts().waiting)

    work(sampling(2), meanwhile=count)
    assert waiting == list(range(1, 13))
