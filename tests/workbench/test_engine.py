from __future__ import annotations

import errno
import json
import threading
from dataclasses import replace

import pytest

from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.records.verdicts import Winner
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.workbench import training_job
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.messages import (
    CompletionsReady,
    EngineFailed,
    JobEnded,
    JobPaused,
    JobProgressed,
    JobResumed,
    JobStarted,
    ModelLoaded,
    RunSaid,
    SampleMatches,
    StartRun,
)

SMALL = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2}
PPO = SMALL | {"updates": 3, "prompts_per_update": 2, "completions_per_prompt": 2, "max_new_tokens": 5}


def endings(said) -> list[JobEnded]:
    return [news for news in said if isinstance(news, JobEnded)]


def test_that_groups_are_sampled_stored_and_told_of(project, work, sampling) -> None:
    said = work(sampling(2))
    assert any(isinstance(news, ModelLoaded) for news in said)
    assert sum(isinstance(news, CompletionsReady) for news in said) == 12
    assert [ending.status for ending in endings(said)] == [RunStatus.COMPLETED]
    shares = [news.share for news in said if isinstance(news, JobProgressed)]
    assert shares == sorted(shares)
    assert project.label_counts().waiting == 12


def test_that_the_whole_road_runs_and_leaves_adapters_with_their_history(labelled, work) -> None:
    said = work(StartRun("a", "reward", SMALL))
    (reward,) = labelled.adapters(AdapterKind.REWARD)
    assert labelled.run(reward.run_id).report["n"] >= 0
    said = work(
        StartRun("b", "dpo", SMALL, name="first"),
        StartRun("c", "ppo", PPO, reward_adapter_id=reward.id),
    )
    assert [ending.status for ending in endings(said)] == [RunStatus.COMPLETED] * 2
    ppo, dpo = labelled.adapters(AdapterKind.POLICY)
    assert (dpo.name, dpo.parent_id) == ("first", None)
    run = labelled.run(dpo.run_id)
    assert run.comparison_ids == tuple(c.id for c in labelled.comparisons() if c.outcome == "ranked")
    assert run.provenance["base_sha256"] == labelled.info.base_sha256
    assert labelled.run(ppo.run_id).reward_adapter_id == reward.id
    assert set(labelled.metrics(ppo.run_id)) >= {"objective/scores", "objective/kl", "objective/entropy"}
    assert len(labelled.samples(ppo.run_id)) == 3

    said = work(StartRun("d", "dpo", SMALL, parent_adapter_id=ppo.id))
    assert labelled.adapters()[0].parent_id == ppo.id

    pair = labelled.side_by_side(ppo.id, None, 6)
    ids = tuple(prompt.id for prompt in labelled.prompts(Split.HELD_OUT))
    work(SampleMatches("e", pair.id, ids, Sampler(max_new_tokens=5), seed=3))
    assert labelled.matches(pair.id) == 6
    sides = []
    while (showing := labelled.next_match(pair.id)) is not None:
        sides.append(showing.match.candidate_on_left)
        verdict = labelled.save_verdict(showing, "left")
        assert (verdict.winner is Winner.CANDIDATE) is showing.match.candidate_on_left
    rate = labelled.win_rate(pair.id)
    assert (rate.wins, rate.losses) == (sum(sides), 6 - sum(sides))
    back = labelled.undo_verdict(pair.id)
    assert back is not None
    assert labelled.win_rate(pair.id).interval.n == 5


def test_that_a_side_by_side_that_was_broken_off_goes_on_where_it_was(project, work) -> None:
    pair = project.side_by_side(None, None, 6)
    ids = tuple(prompt.id for prompt in project.prompts(Split.HELD_OUT))
    work(SampleMatches("a", pair.id, ids[:2], Sampler(max_new_tokens=4), seed=3))
    work(SampleMatches("b", pair.id, ids, Sampler(max_new_tokens=4), seed=3))
    assert project.matches(pair.id) == 6


def test_that_the_same_seed_on_both_sides_gives_the_same_text_where_the_models_are_the_same(project, work) -> None:
    pair = project.side_by_side(None, None, 6)
    ids = tuple(prompt.id for prompt in project.prompts(Split.HELD_OUT))
    work(SampleMatches("e", pair.id, ids, Sampler(max_new_tokens=8), seed=3))
    showing = project.next_match(pair.id)
    assert showing is not None
    assert showing.left.completion_ids == showing.right.completion_ids


@pytest.mark.parametrize("algorithm", ["reward", "dpo", "ppo"])
def test_that_sampling_served_between_steps_leaves_the_adapter_as_it_would_be(
    labelled, work, sampling, algorithm
) -> None:
    assert endings(work(StartRun("r", "reward", SMALL)))[0].reason == ""
    reward = labelled.adapters(AdapterKind.REWARD)[0].id
    settings = PPO if algorithm == "ppo" else SMALL | {"epochs": 3}
    command = StartRun("alone", algorithm, settings, reward_adapter_id=reward if algorithm == "ppo" else None)
    work(command)
    policy = labelled.adapters()[0]
    served = []

    def ask(engine, news):
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken) and len(served) < 4:
            served.append(news)
            engine.submit(sampling(2, job_id=f"between {len(served)}", seed=len(served)))

    said = work(StartRun("busy", *[algorithm, settings], reward_adapter_id=command.reward_adapter_id), meanwhile=ask)
    told = [type(news).__name__ for news in said]
    assert sum(isinstance(news, CompletionsReady) for news in said) >= 12
    first_step, last_step = told.index("RunSaid"), len(told) - 1 - told[::-1].index("RunSaid")
    assert "CompletionsReady" in told[first_step:last_step]
    assert labelled.adapters()[0].sha256 == policy.sha256


def test_that_a_run_pauses_while_sampling_goes_on_and_resumes_to_its_end(labelled, work, sampling) -> None:
    steps_when = {}

    def act(engine, news):
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken) and news.event.step == 1:
            engine.pause("run")
            engine.submit(sampling(2, job_id="meanwhile"))
        if isinstance(news, JobPaused):
            steps_when["paused"] = len(said)
        if isinstance(news, JobEnded) and news.job_id == "meanwhile":
            engine.resume("run")
        said.append(news)

    said: list[object] = []
    work(StartRun("run", "dpo", SMALL | {"epochs": 3, "batch_size": 2}), meanwhile=act)
    paused = next(i for i, news in enumerate(said) if isinstance(news, JobPaused))
    resumed = next(i for i, news in enumerate(said) if isinstance(news, JobResumed))
    between = said[paused:resumed]
    assert not any(isinstance(news, RunSaid) for news in between)
    assert any(isinstance(news, CompletionsReady) for news in between)
    assert [ending.status for ending in endings(said)] == [RunStatus.COMPLETED] * 2


def test_that_a_stopped_run_keeps_its_adapter_and_says_stopped(labelled, work) -> None:
    def stop(engine, news):
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken):
            engine.stop("run")

    (ending,) = endings(work(StartRun("run", "dpo", SMALL | {"epochs": 50}), meanwhile=stop))
    assert ending.status is RunStatus.STOPPED
    assert labelled.adapters()[0].id == ending.adapter_id
    assert labelled.runs()[0].status is RunStatus.STOPPED


def test_that_a_job_stopped_before_its_turn_ends_without_starting(labelled, work) -> None:
    def stop(engine, news):
        if isinstance(news, JobStarted) and news.job_id == "first":
            engine.stop("second")

    said = work(StartRun("first", "dpo", SMALL), StartRun("second", "dpo", SMALL), meanwhile=stop)
    assert {e.job_id: e.status for e in endings(said)} == {"first": RunStatus.COMPLETED, "second": RunStatus.STOPPED}
    assert len(labelled.runs()) == 1


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (StartRun("x", "reward", SMALL), "at least 8 comparisons"),
        (StartRun("x", "dpo", SMALL), "learns from comparisons"),
        (StartRun("x", "ppo", PPO), "needs a reward model"),
        (StartRun("x", "dpo", {"betta": 1}), "no setting named"),
        (StartRun("x", "dpo", {"beta": -1}), "cannot be -1"),
        (StartRun("x", "magic"), "no algorithm named"),
    ],
)
def test_that_a_run_that_cannot_be_is_one_sentence_and_the_engine_goes_on(
    project, work, sampling, command, sentence
) -> None:
    said = work(command, sampling(2))
    failed = next(ending for ending in endings(said) if ending.job_id == "x")
    assert failed.status is RunStatus.FAILED
    assert sentence in failed.reason
    assert not failed.traceback
    assert all(run.status is RunStatus.FAILED for run in project.runs())
    assert project.label_counts().waiting == 12


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), "more memory"),
        (MemoryError(), "more memory"),
        (ZeroDivisionError("oops"), "fault in the program"),
    ],
)
def test_that_a_run_that_breaks_ends_once_and_leaves_no_adapter_behind(
    labelled, work, monkeypatch, error, sentence
) -> None:
    real = training_job.resolve

    def breaking(spec):
        train = real(spec)

        def run(*arguments):
            for count, event in enumerate(train(*arguments)):
                if count == 3:
                    raise error
                yield event

        return run

    monkeypatch.setattr(training_job, "resolve", breaking)
    (ending,) = endings(work(StartRun("run", "dpo", SMALL)))
    assert ending.status is RunStatus.FAILED
    assert sentence in ending.reason
    assert bool(ending.traceback) is isinstance(error, ZeroDivisionError)
    assert labelled.runs()[0].status is RunStatus.FAILED
    assert labelled.adapters() == []
    monkeypatch.undo()
    assert endings(work(StartRun("run", "dpo", SMALL)))[0].status is RunStatus.COMPLETED


def test_that_a_run_that_breaks_leaves_the_adapter_that_others_sample_from_alone(
    labelled, work, sampling, monkeypatch
) -> None:
    work(StartRun("first", "dpo", SMALL | {"epochs": 5}))
    speaker = labelled.adapters()[0].id
    alone = replace(sampling(2, job_id="alone"), adapter_id=speaker)
    work(alone)
    spoken = {c.text for c in labelled._store.completions.get_all(_newest(labelled, 24)).values()}
    real = training_job.resolve

    def breaking(spec):
        train = real(spec)

        def run(*arguments):
            for count, event in enumerate(train(*arguments)):
                if count == 4:
                    raise ZeroDivisionError
                yield event

        return run

    monkeypatch.setattr(training_job, "resolve", breaking)
    begun = []

    def ask(engine, news):
        if isinstance(news, JobStarted) and news.run_id and not begun:
            begun.append(news)
            engine.submit(replace(alone, job_id="beside"))

    said = work(StartRun("breaks", "dpo", SMALL), meanwhile=ask)
    assert {e.job_id: e.status for e in endings(said)} == {"breaks": RunStatus.FAILED, "beside": RunStatus.COMPLETED}
    assert {c.text for c in labelled._store.completions.get_all(_newest(labelled, 24)).values()} == spoken


def _newest(project, count: int) -> list[str]:
    rows = project._store.db.query("SELECT id FROM completions ORDER BY rowid DESC LIMIT ?", [count])
    return [row["id"] for row in rows]


def test_that_a_run_behind_a_paused_one_can_be_stopped(labelled, work) -> None:
    def act(engine, news):
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken) and news.event.step == 1:
            engine.pause("first")
        if isinstance(news, JobPaused):
            engine.stop("second")
        if isinstance(news, JobEnded) and news.job_id == "second":
            engine.resume("first")

    said = work(StartRun("first", "dpo", SMALL), StartRun("second", "dpo", SMALL), meanwhile=act)
    assert {e.job_id: e.status for e in endings(said)} == {"first": RunStatus.COMPLETED, "second": RunStatus.STOPPED}


def test_that_an_engine_whose_runs_all_wait_takes_no_time(labelled, work, monkeypatch) -> None:
    turns = []
    real = Engine._turn
    monkeypatch.setattr(Engine, "_turn", lambda self: (turns.append(1), real(self))[1])

    def act(engine, news):
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken) and news.event.step == 1:
            engine.pause("first")

    said = work(StartRun("first", "dpo", SMALL), StartRun("second", "dpo", SMALL), meanwhile=act)
    assert {ending.status for ending in endings(said)} == {RunStatus.INTERRUPTED}  # the engine was closed meanwhile
    assert len(turns) < 200


def test_that_ppo_stops_between_its_micro_batches(labelled, work) -> None:
    work(StartRun("r", "reward", SMALL))
    after = []

    def act(engine, news):
        if isinstance(news, JobProgressed) and news.stage == "learning":
            engine.stop("run")
            after.append(news)

    settings = PPO | {"updates": 1, "ppo_epochs": 30, "prompts_per_update": 4}
    command = StartRun("run", "ppo", settings, reward_adapter_id=labelled.adapters()[0].id)
    (ending,) = endings(work(command, meanwhile=act))
    assert ending.status is RunStatus.STOPPED
    assert ending.adapter_id is None
    assert 0 < len(after) < 60


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"lora_rank": 8}, "has lora_rank 4"), ({"lora_alpha": "16"}, "has lora_alpha 8")],
)
def test_that_a_run_that_goes_on_has_the_shape_of_its_parent(labelled, work, change, sentence) -> None:
    work(StartRun("a", "dpo", SMALL))
    parent = labelled.adapters()[0].id
    (ending,) = endings(work(StartRun("b", "dpo", {"epochs": 1}, parent_adapter_id=parent)))
    assert ending.status is RunStatus.COMPLETED
    assert (labelled.runs()[0].settings["lora_rank"], labelled.runs()[0].settings["lora_alpha"]) == (4, 8)
    (ending,) = endings(work(StartRun("c", "dpo", change, parent_adapter_id=parent)))
    assert sentence in ending.reason


def test_that_what_an_algorithm_does_not_use_is_refused(labelled, work) -> None:
    work(StartRun("a", "dpo", SMALL), StartRun("b", "reward", SMALL))
    reward, dpo = labelled.adapters()
    (ending,) = endings(work(StartRun("c", "reward", SMALL, parent_adapter_id=dpo.id)))
    assert "always starts from the base" in ending.reason
    (ending,) = endings(work(StartRun("d", "dpo", SMALL, reward_adapter_id=reward.id)))
    assert "uses no reward model" in ending.reason


@pytest.mark.parametrize("spoil", ["changed", "cut", "gone"])
def test_that_an_adapter_whose_files_are_not_as_saved_is_one_sentence(labelled, work, sampling, spoil) -> None:
    work(StartRun("a", "dpo", SMALL))
    adapter = labelled.adapters()[0]
    weights = labelled.path / adapter.path / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    if spoil != "gone":
        weights.write_bytes(content[:50] if spoil == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    (ending,) = endings(work(replace(sampling(2), adapter_id=adapter.id)))
    assert adapter.name in ending.reason
    assert not ending.traceback


def test_that_a_base_that_was_swapped_is_noticed(project, work, monkeypatch) -> None:
    monkeypatch.setattr("desktop_rlhf.adapters.folders.hash_model_folder", lambda _: "another")
    (failed,) = (news for news in work() if isinstance(news, EngineFailed))
    assert "not the one that this project was made with" in failed.reason


def test_that_a_prompt_that_does_not_fit_is_one_sentence_and_training_leaves_it_out(labelled, work, sampling, tmp_path):
    (tmp_path / "long.txt").write_text("long " * 200)
    labelled.import_file(tmp_path / "long.txt")
    ids = tuple(prompt.id for prompt in labelled.prompts()[-1:])
    (ending,) = endings(work(replace(sampling(2), prompt_ids=ids)))
    assert "too long for this model" in ending.reason
    row = {"prompt": [{"role": "user", "content": "q"}]}
    row |= {name: [{"role": "assistant", "content": text}] for name, text in (("chosen", "x" * 600), ("rejected", "y"))}
    (tmp_path / "long.jsonl").write_text(json.dumps(row))
    labelled.import_file(tmp_path / "long.jsonl")
    for algorithm in ("dpo", "reward"):
        (ending,) = endings(work(StartRun(algorithm, algorithm, SMALL)))
        assert ending.status is RunStatus.COMPLETED
        assert any("1 longer than max_length" in note for note in labelled.notes(ending.run_id))
    command = StartRun("ppo", "ppo", PPO, reward_adapter_id=labelled.adapters(AdapterKind.REWARD)[0].id)
    (ending,) = endings(work(command))
    assert labelled.notes(ending.run_id) == [
        "Learns from 13 of 14 prompts. Left out: 1 without room for max_new_tokens."
    ]


def test_that_a_missing_base_model_is_said_by_the_engine(project, work, tiny_model_path, monkeypatch) -> None:
    monkeypatch.setattr("desktop_rlhf.adapters.base_models.base_model_folder", lambda _: project.path / "gone")
    said = work()
    assert isinstance(said[-1], EngineFailed)
    assert "gone" in said[-1].reason


def test_that_shutdown_ends_a_run_on_another_thread_and_keeps_what_it_has(labelled) -> None:
    said = []
    stepped = threading.Event()

    def say(news):
        said.append(news)
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken):
            stepped.set()

    engine = Engine(labelled.path, say)
    thread = threading.Thread(target=engine.run)
    thread.start()
    engine.submit(StartRun("run", "dpo", SMALL | {"epochs": 500}))
    assert stepped.wait(60)
    engine.shutdown()
    thread.join(60)
    assert not thread.is_alive()
    assert endings(said)[0].status is RunStatus.STOPPED
    assert labelled.adapters()[0].run_id == labelled.runs()[0].id
