"""A run, and an estimate of one, that are asked to end while they still read what there is to learn from."""

from __future__ import annotations

import pytest

from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.stop import StopToken
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.estimate_job import estimate
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.jobs import Bench
from desktop_rlhf.workbench.messages import EstimateRun, RunEstimated, StartRun
from desktop_rlhf.workbench.training_job import train

READ = 3  # prompts before it is stopped


@pytest.fixture
def bench(labelled, fresh_llama):
    store = Store.open(labelled.path / STORE_FILE)
    yield Bench(labelled.path, store, fresh_llama())
    store.close()


@pytest.fixture
def stop(bench, monkeypatch):
    """Requested when a few prompts were read into tokens; ``read`` has those."""
    token = StopToken()
    token.read = []
    own = bench.model.prompt_ids

    def prompt_ids(messages):
        token.read.append(messages)
        if len(token.read) == READ:
            token.request()
        return own(messages)

    monkeypatch.setattr(bench.model, "prompt_ids", prompt_ids)
    return token


@pytest.mark.parametrize("algorithm", ["reward", "dpo", "sft", "orpo", "simpo"])
def test_that_a_run_ends_at_once_and_says_stopped(bench, stop, algorithm) -> None:
    said = list(train(bench, StartRun("run", algorithm, {"lora_rank": 4}), stop))
    assert len(stop.read) == READ
    assert len(said) == 1  # that it began
    (run,) = bench.store.runs.all()
    assert run.status is RunStatus.STOPPED
    assert bench.store.adapters.all() == []
    assert bench.model.attached == frozenset()


def test_that_an_estimate_ends_at_once_and_says_nothing(bench, stop) -> None:
    said = list(estimate(bench, EstimateRun("estimate", "dpo", {"lora_rank": 4}), stop))
    assert len(stop.read) == READ
    assert not any(isinstance(news, RunEstimated) for news in said)
    assert bench.model.attached == frozenset()
