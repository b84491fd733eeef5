from __future__ import annotations

import mmap
import sys
import tempfile

import pytest
import torch

from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.reward.spec import RewardSpec
from desktop_rlhf.runs.events import AdapterSaved, Planned, Progressed, StepTaken
from desktop_rlhf.runs.stop import StopToken
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench import estimate_job, memory, training_job
from desktop_rlhf.workbench.algorithms import TRAINABLE
from desktop_rlhf.workbench.estimate_job import estimate
from desktop_rlhf.workbench.estimated import Estimate
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.jobs import Bench
from desktop_rlhf.workbench.messages import (
    CompletionsReady,
    EstimateRun,
    JobEnded,
    JobProgressed,
    JobStarted,
    RunEstimated,
    RunSaid,
    StartRun,
)
from desktop_rlhf.workbench.progress import Pace
from desktop_rlhf.workbench.training_data import training_groups

SMALL = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2}
ROLLOUT = {"updates": 3, "prompts_per_update": 2, "completions_per_prompt": 2, "max_new_tokens": 5}
STORED = {"epochs": 2}


@pytest.fixture
def asked(labelled, work):
    """From an algorithm's spec to the fields of a small run of it."""

    def fields(spec) -> dict:
        if not spec.needs_reward_model:
            return {"algorithm": spec.name, "settings": SMALL | STORED}
        judges = labelled.adapters("reward")
        if not judges:
            work(StartRun("judge", "reward", SMALL))
            judges = labelled.adapters("reward")
        return {"algorithm": spec.name, "settings": SMALL | ROLLOUT, "reward_adapter_id": judges[0].id}

    return fields


@pytest.fixture
def bench(labelled, fresh_llama):
    store = Store.open(labelled.path / STORE_FILE)
    yield Bench(labelled.path, store, fresh_llama())
    store.close()


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    path = tmp_path / "scratch"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def estimate_in(said) -> Estimate:
    (found,) = (news.estimate for news in said if isinstance(news, RunEstimated))
    return found


def ending_of(said, job_id: str) -> JobEnded:
    (found,) = (news for news in said if isinstance(news, JobEnded) and news.job_id == job_id)
    return found


@pytest.mark.parametrize("spec", TRAINABLE, ids=lambda spec: spec.name)
def test_that_an_estimate_has_every_stage_that_the_run_goes_through(asked, work, monkeypatch, spec) -> None:
    monkeypatch.setattr(Pace, "due", lambda self, share: True)
    fields = asked(spec)
    said = work(EstimateRun("estimate", **fields), StartRun("run", **fields))
    assert ending_of(said, "run").status is RunStatus.COMPLETED
    stages = dict.fromkeys(n.stage for n in said if isinstance(n, JobProgressed) and n.job_id == "run")
    found = estimate_in(said)
    assert list(found.stages_s) == list(stages)
    assert all(seconds > 0 for seconds in found.stages_s.values())


@pytest.mark.parametrize("spec", TRAINABLE, ids=lambda spec: spec.name)
def test_that_what_a_run_plans_is_what_it_does(asked, work, monkeypatch, spec) -> None:
    """The work of a stage, as it is planned, is what the stage's progress comes to."""
    monkeypatch.setattr(Pace, "due", lambda self, share: True)
    said = work(StartRun("run", **asked(spec)))
    (plan,) = (n.event.work for n in said if isinstance(n, RunSaid) and isinstance(n.event, Planned))
    done: dict[str, float] = {}
    before = 0.0
    for news in said:
        if isinstance(news, JobProgressed) and news.job_id == "run":
            now = news.share * sum(plan.values())
            done[news.stage] = done.get(news.stage, 0.0) + now - before
            before = now
    assert done == pytest.approx({stage: work for stage, work in plan.items() if work})


class Clock:
    """Seconds that pass where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """An algorithm of which every piece of work takes a known time; what it does first of all takes much longer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.cold = True

    def train(self, spec, inputs, stop):
        groups, clock = inputs.groups, self.clock
        count = len(groups)
        total = count * (spec.epochs + 1)
        clock.now += 0.125 * 12  # looks through the data: all twelve, whichever part is asked for
        yield Planned({"training": count * spec.epochs, "looking back": count})
        if self.cold:
            clock.now, self.cold = clock.now + 1000, False
        for epoch in range(spec.epochs):
            for place, group in enumerate(groups):
                tokens = len(inputs.model.prompt_ids(group.prompt.messages))
                tokens += sum(len(completion.completion_ids) for completion in group.completions)
                if epoch == 0:
                    clock.now += 2 * tokens
                    yield Progressed("training", place, total)
                clock.now += 3 * tokens
                yield Progressed("training", epoch * count + place + 1, total)
                clock.now += 0.5 * tokens
                yield StepTaken(1, 1, {})
        for place in range(count):
            clock.now += 1
            yield Progressed("looking back", count * spec.epochs + place + 1, total)
        clock.now += 64
        yield AdapterSaved("", "")


@pytest.mark.parametrize("epochs", [1, 7])
@pytest.mark.parametrize("few", [3, 12])
def test_that_a_part_tells_of_the_whole(bench, monkeypatch, epochs, few) -> None:
    """First costs, what is saved at the end and other jobs' time are not taken for work that is repeated."""
    clock = Clock()
    machine = Machine(clock)
    monkeypatch.setattr(estimate_job, "resolve", lambda spec: machine.train)
    monkeypatch.setattr("desktop_rlhf.workbench.sample_of_data.FEW", few)
    command = EstimateRun("e", "dpo", {"epochs": epochs, "batch_size": 1})
    said = []
    for news in estimate(bench, command, StopToken(), clock):
        clock.now += 10_000  # another job is served
        said.append(news)
    found = estimate_in(said)

    tokens = 0
    groups, _ = training_groups(bench.store)
    for group in groups:
        tokens += len(bench.model.prompt_ids(group.prompt.messages))
        tokens += sum(len(completion.completion_ids) for completion in group.completions)
    training = 1.5 + 2 * tokens + 3.5 * tokens * epochs
    assert len(groups) == 12
    assert found.stages_s["training"] == pytest.approx(training)
    # It does not hang on tokens here, so that what the lengths are scaled by is seen.
    assert found.stages_s["looking back"] == pytest.approx(12 + 64, rel=0.1)


@pytest.mark.parametrize("algorithm", ["reward", "dpo", "ppo"])
def test_that_an_estimate_leaves_everything_as_it_was(asked, bench, scratch, algorithm) -> None:
    fields = asked(next(spec for spec in TRAINABLE if spec.name == algorithm))
    model = bench.model
    model.new_adapter("speaker", rank=2, alpha=4, seed=1)
    model.take_role(Role("speaker"))

    def state():
        files = {path: path.stat().st_size for path in bench.project_path.rglob("*") if "sqlite" not in path.name}
        stored = [bench.store.runs.all(), bench.store.adapters.all(), bench.store.comparisons.all()]
        of_torch = [torch.get_rng_state().tolist(), torch.get_num_threads(), torch.is_grad_enabled()]
        return files, stored, of_torch, model.role, model.attached, model.base_sha256(), list(scratch.iterdir())

    before = state()
    assert estimate_in(list(estimate(bench, EstimateRun("e", **fields), StopToken()))).total_s > 0
    assert state() == before


@pytest.mark.parametrize("algorithm", ["reward", "dpo", "ppo"])
def test_that_a_run_after_an_estimate_leaves_the_adapter_that_it_leaves_without_one(
    labelled, asked, work, algorithm
) -> None:
    fields = asked(next(spec for spec in TRAINABLE if spec.name == algorithm))
    assert ending_of(work(StartRun("alone", **fields)), "alone").status is RunStatus.COMPLETED
    alone = labelled.adapters()[0]
    said = work(EstimateRun("estimate", **fields), StartRun("after", **fields))
    assert ending_of(said, "after").status is RunStatus.COMPLETED
    after = labelled.adapters()[0]
    assert after.id != alone.id
    assert after.sha256 == alone.sha256


def test_that_an_estimate_is_made_in_turn_with_runs(labelled, work) -> None:
    fields = {"algorithm": "dpo", "settings": SMALL}
    said = work(StartRun("run", **fields), EstimateRun("estimate", **fields))
    started = next(place for place, n in enumerate(said) if isinstance(n, JobStarted) and n.job_id == "estimate")
    assert started > said.index(ending_of(said, "run"))


def test_that_completions_are_sampled_while_an_estimate_is_made(labelled, work, sampling) -> None:
    def ask(engine, news) -> None:
        if isinstance(news, JobStarted) and news.job_id == "estimate":
            engine.submit(sampling(2, job_id="between"))

    said = work(EstimateRun("estimate", "dpo", SMALL | {"epochs": 5}), meanwhile=ask)
    sampled = [place for place, news in enumerate(said) if isinstance(news, CompletionsReady)]
    assert sampled[0] < said.index(ending_of(said, "estimate"))
    assert estimate_in(said).total_s > 0


def test_that_an_estimate_that_is_stopped_leaves_nothing_and_says_nothing(labelled, work, scratch) -> None:
    def stop(engine, news) -> None:
        if isinstance(news, JobProgressed):
            engine.stop("estimate")

    said = work(EstimateRun("estimate", "dpo", SMALL), meanwhile=stop)
    assert ending_of(said, "estimate").status is RunStatus.STOPPED
    assert not [news for news in said if isinstance(news, RunEstimated)]
    assert (labelled.runs(), labelled.adapters(), list(scratch.iterdir())) == ([], [], [])


def test_that_an_estimate_of_a_run_that_cannot_begin_says_why(project, work) -> None:
    ending = ending_of(work(EstimateRun("estimate", "dpo", SMALL)), "estimate")
    assert ending.status is RunStatus.FAILED
    assert "learns from comparisons" in ending.reason
    assert project.runs() == []


def test_that_an_estimate_of_a_run_too_large_for_the_memory_names_a_setting_that_fits(
    bench, monkeypatch, scratch
) -> None:
    def train(spec, inputs, stop):
        inputs.model.new_adapter(f"policy-{inputs.output_path.name}", rank=2, alpha=2, seed=0)
        yield Planned({"training": 1})
        raise MemoryError

    monkeypatch.setattr(estimate_job, "resolve", lambda spec: train)
    monkeypatch.setattr(training_job, "smaller_setting", lambda spec, inputs: "Set max_length to 8.")
    with pytest.raises(Exception, match="Set max_length to 8"):
        list(estimate(bench, EstimateRun("e", "dpo", SMALL), StopToken()))
    assert not bench.model.attached
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("share", "tried"), [(0.0, 0.0), (0.1, 0.3), (0.5, 0.5)])
def test_that_a_trial_holds_enough_out_to_measure_on_and_nothing_where_the_run_holds_nothing_out(share, tried) -> None:
    assert estimate_job._tried(RewardSpec(held_out_share=share)).held_out_share == tried


def test_that_a_part_too_small_to_begin_with_is_made_larger(bench, monkeypatch) -> None:
    sizes = []

    def train(spec, inputs, stop):
        sizes.append(len(inputs.groups))
        if len(inputs.groups) < 10:
            raise NotEnoughDataError("Too few.")
        yield Planned({"training": 1.0})
        yield Progressed("training", 1.0, 1.0)

    monkeypatch.setattr(estimate_job, "resolve", lambda spec: train)
    monkeypatch.setattr("desktop_rlhf.workbench.sample_of_data.FEW", 3)
    said = list(estimate(bench, EstimateRun("e", "dpo", {"batch_size": 1}), StopToken()))
    assert estimate_in(said)
    assert sizes[:4] == [12, 3, 6, 12]


@pytest.mark.parametrize(("batch", "tried"), [(1, [1, 3, 3]), (3, [3, 3])])
def test_that_a_part_is_gone_through_twice_where_the_largest_step_is_less(bench, monkeypatch, batch, tried) -> None:
    sizes = []

    def train(spec, inputs, stop):
        yield Planned({"training": 1.0})
        sizes.append(len(inputs.groups))
        yield Progressed("training", 1.0, 1.0)

    monkeypatch.setattr(estimate_job, "resolve", lambda spec: train)
    monkeypatch.setattr("desktop_rlhf.workbench.sample_of_data.FEW", 3)
    said = list(estimate(bench, EstimateRun("e", "dpo", {"batch_size": batch}), StopToken()))
    assert estimate_in(said)
    assert sizes == tried


def test_that_memory_is_told_in_megabytes_where_the_system_tells() -> None:
    told = sys.platform == "linux"
    piece = b"x" * 1_000_000
    before = memory.held_mb()
    with mmap.mmap(-1, 64 * len(piece)) as kept:  # of the system's own; Python's could lie in what was free before
        for _ in range(64):
            kept.write(piece)
        assert memory.held_mb() - before == pytest.approx(64 if told else 0, abs=8)
    assert (memory.free_mb() > 64) is told


def test_that_on_a_card_its_own_memory_is_told(monkeypatch) -> None:
    card, asked = torch.device("cuda"), []
    for name, value in (("max_memory_allocated", 7e9), ("memory_allocated", 3e9), ("memory_reserved", 4e9)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10e9, 24e9))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked.append)
    memory.reset_peak(card)
    assert asked == [card]
    # What the allocator keeps though nothing lies in it may be taken as well.
    assert (memory.peak_mb(card), memory.held_mb(card), memory.free_mb(card)) == (7000, 3000, 11_000)
    assert memory.has_its_own(card)
    assert not memory.has_its_own(torch.device("mps"))
    found = Estimate({"training": 60.0}, 7000, 3000, 11_000, on_gpu=True)
    assert found.sentence == "About 60 s. GPU memory 7.0 GB at most; 11 GB are free."
    assert found.as_json()["on_gpu"] is True


def test_that_an_estimate_is_a_sentence() -> None:
    stages = {"training": 660.0, "measuring on held-out prompts": 41.2, "putting scores on a common scale": 0.2}
    found = Estimate(stages, peak_mb=1900, held_mb=700, free_mb=14_200)
    assert found.fits
    assert found.sentence == (
        "About 12 min: training 11 min, measuring on held-out prompts 41 s. Memory 1.9 GB at most; 14 GB are free."
    )
    assert Estimate({"training": 7500.0}, 0, 0, 0).sentence == "About 2 h 05 min."
    assert Estimate({"training": 0.1}, 1000, 900, 0).sentence == "About 1 s. Memory 1.0 GB at most."


def test_that_an_estimate_warns_when_the_run_will_not_fit() -> None:
    found = Estimate({"training": 60.0}, peak_mb=9000, held_mb=1000, free_mb=7000)
    assert not found.fits
    assert found.sentence.startswith("It will not fit.")
    assert "only 7.0 GB more are free" in found.sentence
    assert Estimate({"training": 60.0}, peak_mb=8000, held_mb=1000, free_mb=7000).fits
