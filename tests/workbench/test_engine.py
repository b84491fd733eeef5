from __future__ import annotations

import threading

import pytest
import torch

from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.records.verdicts import Winner, WinRate
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.workbench.engine import Engine, usual_threads
from desktop_rlhf.workbench.messages import (
    CompletionsReady,
    JobEnded,
    JobPaused,
    JobProgressed,
    JobResumed,
    JobStarted,
    MatchReady,
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


@pytest.mark.parametrize(("own", "beside_a_window"), [(1, 1), (2, 2), (3, 2), (8, 7)])
def test_that_a_core_is_left_to_the_window_where_there_are_more_than_two(
    project, monkeypatch, own, beside_a_window
) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: own)
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    engine = Engine(project.path, lambda news: None, threads=usual_threads.__wrapped__)  # it is asked once a process
    engine.run_until_idle()
    engine.close()
    assert told == [beside_a_window]


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
    assert labelled.learned_from(run.id) == tuple(c.id for c in labelled.comparisons() if c.outcome == "ranked")
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
    matches = project._store.side_by_sides.matches(pair.id)
    sides = project._store.completions.get_all(
        [i for match in matches for i in (match.candidate_completion_id, match.baseline_completion_id)]
    )
    assert len(sides) == 12
    for match in matches:
        candidate, baseline = sides[match.candidate_completion_id], sides[match.baseline_completion_id]
        assert candidate.completion_ids == baseline.completion_ids


def test_that_sides_that_read_the_same_are_ties_that_nobody_is_asked_about_or_takes_back(project, work) -> None:
    pair = project.side_by_side(None, None, 6)
    ids = tuple(prompt.id for prompt in project.prompts(Split.HELD_OUT))
    said = work(SampleMatches("e", pair.id, ids, Sampler(max_new_tokens=8), seed=3))
    assert sum(isinstance(news, MatchReady) for news in said) == 6
    assert project.next_match(pair.id) is None
    rate = project.win_rate(pair.id)
    assert (rate, rate.asked) == (WinRate(wins=0, losses=0, ties=6, same=6), 0)
    assert project.undo_verdict(pair.id) is None


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
