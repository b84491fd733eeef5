"""What runs keep in memory, counted in objects: nothing that grows while one goes on, nothing once it ended."""

from __future__ import annotations

import gc
import weakref
from collections import Counter

import pytest
import torch

from desktop_rlhf.completions import sampling as sampling_module
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.workbench import run_log, training_job
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.messages import JobEnded, JobProgressed, RunSaid, StartRun

SMALL = {"lora_rank": 4, "lora_alpha": 8}
PPO = SMALL | {"updates": 12, "prompts_per_update": 2, "completions_per_prompt": 2, "max_new_tokens": 5}


@pytest.fixture(autouse=True)
def _no_collector():
    """As in the window, where the engine frees by reference count and what stands already is left out of every look."""
    gc.collect()
    gc.disable()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def engine(labelled):
    """An engine that calls ``engine.hear`` with its news and keeps none, and that has trained a reward model."""
    made = Engine(labelled.path, lambda news: made.hear(news))
    made.hear = lambda news: None
    carry_out(made, StartRun("reward", "reward", SMALL))
    yield made
    made.close()


def carry_out(engine, command, hear=lambda news: None) -> RunStatus:
    statuses = []

    def listen(news) -> None:
        if isinstance(news, JobEnded):
            statuses.append(news.status)
        hear(news)

    engine.hear = listen
    engine.submit(command)
    engine.run_until_idle()
    engine.hear = lambda news: None
    return statuses[0]


def start(labelled, algorithm: str) -> StartRun:
    reward = labelled.adapters(AdapterKind.REWARD)[0]
    if algorithm == "ppo":
        return StartRun("run", "ppo", PPO, reward_adapter_id=reward.id)
    return StartRun("run", algorithm, SMALL | {"epochs": 3})


def tensors() -> list[torch.Tensor]:
    """Those that were made since ``gc.freeze``."""
    return [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]


def alive() -> Counter[str]:
    """How many of them there are, and objects of each of our classes."""
    kinds = (type(one) for one in gc.get_objects())
    ours = (kind for kind in kinds if issubclass(kind, torch.Tensor) or str(kind.__module__).startswith("desktop_rlhf"))
    return Counter("tensor" if issubclass(kind, torch.Tensor) else kind.__qualname__ for kind in ours)


@pytest.mark.parametrize("algorithm", ["ppo", "dpo"])
def test_that_as_much_is_alive_after_twice_as_many_steps(labelled, engine, monkeypatch, algorithm) -> None:
    monkeypatch.setattr(run_log, "SECONDS_BETWEEN_COMMITS", -1.0)  # nothing waits for being written
    counts: list[Counter[str]] = []

    def hear(news) -> None:
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken):
            counts.append(alive())

    assert carry_out(engine, start(labelled, algorithm), hear) is RunStatus.COMPLETED
    steps = len(counts) // 2
    assert steps >= 3
    assert counts[steps - 1]["tensor"] > 0
    assert counts[steps - 1] == counts[2 * steps - 1]


@pytest.mark.parametrize("ends", [RunStatus.COMPLETED, RunStatus.STOPPED, RunStatus.FAILED])
@pytest.mark.parametrize("algorithm", ["ppo", "dpo", "reward"])
def test_that_no_tensor_of_a_run_outlives_it(labelled, engine, monkeypatch, algorithm, ends) -> None:
    carry_out(engine, start(labelled, algorithm))  # what a first run leaves is the model's own, and of use to the next
    gc.freeze()
    born: list[weakref.ref[torch.Tensor]] = []
    heard = 0

    def hear(news) -> None:
        nonlocal heard
        if isinstance(news, JobProgressed | RunSaid):
            heard += 1
            born.extend(map(weakref.ref, tensors()))
            if heard == 4 and ends is RunStatus.STOPPED:
                engine.stop("run")

    if ends is RunStatus.FAILED:
        monkeypatch.setattr(training_job, "resolve", breaking(training_job.resolve))
    assert carry_out(engine, start(labelled, algorithm), hear) is ends
    assert born
    assert not [one for one in born if one() is not None]


def breaking(resolve):
    """Algorithms that run out of memory after some events."""

    def broken(spec):
        def train(*arguments):
            events = resolve(spec)(*arguments)
            for count, event in enumerate(events):
                if count == 5:
                    events.throw(MemoryError())  # from where the algorithm stands, with all that it holds
                yield event

        return train

    return broken


def test_that_what_was_read_and_written_is_let_go_of_when_sampling_ends(engine, sampling, monkeypatch) -> None:
    made: list[weakref.ref[object]] = []
    real = sampling_module.decoder

    def watched(*arguments):
        decoder = real(*arguments)
        made.extend(weakref.ref(one) for one in (decoder, decoder._keys, decoder._values))
        return decoder

    monkeypatch.setattr(sampling_module, "decoder", watched)
    assert carry_out(engine, sampling(2)) is RunStatus.COMPLETED
    assert carry_out(engine, sampling(2), lambda news: engine.stop("sampling")) is RunStatus.STOPPED
    assert made
    assert not [one for one in made if one() is not None]
