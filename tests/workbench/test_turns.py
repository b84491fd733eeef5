"""Whose turn it is when a run and the labeller both want the model."""

from __future__ import annotations

from dataclasses import replace

from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.workbench import jobs
from desktop_rlhf.workbench.engine import FEWEST_WAITING, MOST_PIECES, Engine
from desktop_rlhf.workbench.messages import JobEnded, StartRun

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


def test_that_the_first_batch_is_small_only_where_nothing_waits(project, work, sampling, monkeypatch) -> None:
    sizes: list[int] = []
    real = jobs.sample

    def watched(model, adapter, prompts, *arguments):
        sizes.append(len(prompts))
        return real(model, adapter, prompts, *arguments)

    monkeypatch.setattr(jobs, "sample", watched)
    work(sampling(2))
    assert sizes == [2, 10]
    assert project.label_counts().waiting == 12
    sizes.clear()
    work(sampling(2))
    assert sizes == [12]
