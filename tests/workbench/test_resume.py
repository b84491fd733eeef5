"""Runs that were stopped, broken off or halted, and what becomes of them."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from desktop_rlhf.adapters.checkpoint import Checkpoints
from desktop_rlhf.adapters.fused import FusedTrunk
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.policy.dpo import train as dpo
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.workbench import run_plan, smaller_setting
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.messages import JobEnded, JobPaused, ResumeRun, RunSaid, StartRun

SMALL = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2}
DPO = SMALL | {"batch_size": 4, "epochs": 2}
PPO = SMALL | {"updates": 3, "prompts_per_update": 2, "completions_per_prompt": 2, "max_new_tokens": 5}


def ending(said) -> JobEnded:
    (ended,) = [news for news in said if isinstance(news, JobEnded)]
    return ended


def stop_at(step: int):
    def meanwhile(engine: Engine, news) -> None:
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken) and news.event.step == step:
            engine.stop("job")

    return meanwhile


@pytest.fixture
def command(labelled, work):
    """Makes the command that starts a run of an algorithm, with a reward model where it needs one."""

    def make(algorithm: str, job_id: str = "job") -> StartRun:
        if algorithm == "ppo":
            work(StartRun("reward", "reward", SMALL))
            (scorer,) = labelled.adapters(AdapterKind.REWARD)
            return StartRun(job_id, "ppo", PPO, reward_adapter_id=scorer.id, name="mine")
        return StartRun(job_id, algorithm, DPO, name="mine")

    return make


@pytest.mark.parametrize("algorithm", ["dpo", "ppo"])
def test_that_a_stopped_run_goes_on_with_the_data_it_began_with(labelled, work, command, algorithm, tmp_path) -> None:
    start = command(algorithm)
    whole = labelled.run(ending(work(start)).run_id)
    stopped = ending(work(start, meanwhile=stop_at(2)))
    assert stopped.status is RunStatus.STOPPED
    assert len([a for a in labelled.adapters() if a.run_id == stopped.run_id]) == 1

    labelled.undo()  # a judgement that the run learned from is taken back, and another one comes
    showing = labelled.next_showing()
    labelled.save_comparison(showing, Outcome.RANKED, tuple(range(1, len(showing.completions) + 1)))
    (tmp_path / "more.txt").write_text("one more question\n")
    labelled.import_file(tmp_path / "more.txt")

    resumed = ending(work(ResumeRun("again", stopped.run_id)))
    assert resumed.status is RunStatus.COMPLETED
    assert resumed.run_id == stopped.run_id
    assert labelled.run(stopped.run_id).status is RunStatus.COMPLETED
    made = {adapter.id: adapter for adapter in labelled.adapters()}
    assert made[resumed.adapter_id].sha256 == next(a.sha256 for a in made.values() if a.run_id == whole.id)
    named = {adapter.name for adapter in made.values() if adapter.kind is AdapterKind.POLICY}
    assert named == {"mine, earlier", "mine, stopped", "mine"}
    assert made[resumed.adapter_id].name == "mine"
    assert made[stopped.adapter_id].name == "mine, stopped"
    assert labelled.metrics(stopped.run_id) == labelled.metrics(whole.id)
    assert labelled.samples(stopped.run_id) == labelled.samples(whole.id)
    assert labelled.notes(stopped.run_id) == labelled.notes(whole.id)
    assert not (labelled.path / "checkpoints" / stopped.run_id).exists()


def test_that_a_run_broken_off_is_interrupted_and_can_go_on(labelled, command, work) -> None:
    whole = ending(work(command("dpo")))
    said: list[object] = []
    engine = Engine(labelled.path, said.append)

    def say(news) -> None:
        said.append(news)
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken) and news.event.step == 2:
            raise KeyboardInterrupt

    engine = Engine(labelled.path, say)
    engine.submit(command("dpo", "broken"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "due", property(lambda _: True))
        with pytest.raises(KeyboardInterrupt):
            engine.run_until_idle()
        engine.close()
    broken = ending(said)
    assert broken.status is RunStatus.INTERRUPTED
    assert labelled.run(broken.run_id).status is RunStatus.INTERRUPTED
    assert [run.id for run in labelled.runs() if labelled.resumable(run.id)] == [broken.run_id]
    resumed = ending(work(ResumeRun("again", broken.run_id)))
    by_id = {adapter.id: adapter.sha256 for adapter in labelled.adapters()}
    assert by_id[resumed.adapter_id] == by_id[whole.adapter_id]
    assert not any(labelled.resumable(run.id) for run in labelled.runs())


def poisoned(monkeypatch, at: int) -> None:
    """From the ``at``-th loss on, one of them is not a number."""
    honest, calls = dpo._losses, []

    def losses(spec, pairs):
        calls.append(1)
        return honest(spec, pairs) * (math.nan if len(calls) == at else 1.0)

    monkeypatch.setattr(dpo, "_losses", losses)


def test_that_a_loss_that_is_no_number_pauses_the_run_and_resuming_leaves_that_batch_out(
    labelled, work, command, monkeypatch
) -> None:
    poisoned(monkeypatch, at=6)
    paused = []

    def meanwhile(engine, news) -> None:
        if isinstance(news, JobPaused):
            paused.append(news)
            engine.resume(news.job_id)

    said = work(command("dpo"), meanwhile=meanwhile)
    (one,) = paused
    assert "not a number" in one.reason
    assert "learning rate" in one.next_step
    run = labelled.run(ending(said).run_id)
    assert run.status is RunStatus.COMPLETED
    steps = [step for step, _ in labelled.metrics(run.id)["loss"]]
    assert steps == list(range(1, len(steps) + 1))
    assert run.report["steps"] == len(steps) == 2 * 3 - 1  # twelve comparisons in batches of four, twice, less one
    assert all(math.isfinite(value) for curve in labelled.metrics(run.id).values() for _, value in curve)
    assert any("not a number" in note for note in labelled.notes(run.id))


def test_that_a_halted_run_that_is_stopped_keeps_what_was_learned_before(labelled, work, command, monkeypatch) -> None:
    stopped = ending(work(command("dpo"), meanwhile=stop_at(1)))
    poisoned(monkeypatch, at=2)

    def meanwhile(engine, news) -> None:
        if isinstance(news, JobPaused):
            engine.stop(news.job_id)

    halted = ending(work(command("dpo"), meanwhile=meanwhile))
    assert halted.status is RunStatus.STOPPED
    by_id = {adapter.id: adapter.sha256 for adapter in labelled.adapters()}
    assert by_id[halted.adapter_id] == by_id[stopped.adapter_id]


def test_that_a_halted_run_nobody_attends_to_ends_interrupted_with_its_reason(
    labelled, work, command, monkeypatch
) -> None:
    poisoned(monkeypatch, at=6)
    left = ending(work(command("dpo")))
    assert left.status is RunStatus.INTERRUPTED
    assert "not a number" in left.reason
    assert "not a number" in labelled.run(left.run_id).reason
    assert ending(work(ResumeRun("again", left.run_id))).status is RunStatus.COMPLETED
    assert labelled.run(left.run_id).report["steps"] == 5


def test_that_scores_that_are_no_numbers_pause_ppo_before_it_learns_from_them(
    labelled, work, command, monkeypatch
) -> None:
    start = command("ppo")
    from desktop_rlhf.reward.model import RewardModel

    honest, calls = RewardModel.score, []

    def score(self, packed):
        calls.append(1)
        return honest(self, packed) * (math.nan if len(calls) == 2 else 1.0)  # once an update

    monkeypatch.setattr(RewardModel, "score", score)

    def meanwhile(engine, news) -> None:
        if isinstance(news, JobPaused):
            engine.resume(news.job_id)

    said = work(start, meanwhile=meanwhile)
    assert sum(isinstance(news, JobPaused) for news in said) == 1
    run = labelled.run(ending(said).run_id)
    assert run.status is RunStatus.COMPLETED
    assert [step for step, _ in labelled.metrics(run.id)["objective/kl"]] == [1, 3]


def test_that_a_run_whose_every_update_was_left_leaves_no_adapter(labelled, work, command, monkeypatch) -> None:
    start = command("ppo")
    from desktop_rlhf.reward.model import RewardModel

    honest = RewardModel.score
    monkeypatch.setattr(RewardModel, "score", lambda self, packed: honest(self, packed) * math.nan)
    said = work(start, meanwhile=lambda engine, news: isinstance(news, JobPaused) and engine.stop(news.job_id))
    assert ending(said).status is RunStatus.STOPPED
    assert ending(said).adapter_id is None


def test_that_what_cannot_go_on_is_said(labelled, work, command) -> None:
    done = ending(work(command("dpo")))
    said = ending(work(ResumeRun("again", done.run_id)))
    assert said.status is RunStatus.FAILED
    assert "completed" in said.reason
    stopped = ending(work(command("dpo"), meanwhile=stop_at(1)))
    for manifest in (labelled.path / "checkpoints").rglob("manifest.json"):
        manifest.write_text("{}")
    said = ending(work(ResumeRun("again", stopped.run_id)))
    assert "no checkpoint" in said.reason
    assert labelled.run(stopped.run_id).status is RunStatus.STOPPED


def test_that_a_run_goes_on_with_the_threads_it_began_with_and_leaves_the_engines(labelled, work, command) -> None:
    before = torch.get_num_threads()
    seen = []
    try:
        torch.set_num_threads(3)
        stopped = ending(work(command("dpo"), meanwhile=stop_at(1)))
        torch.set_num_threads(2)
        work(
            ResumeRun("again", stopped.run_id),
            meanwhile=lambda _, news: seen.append(torch.get_num_threads()) if isinstance(news, RunSaid) else None,
        )
        assert set(seen) == {3}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_that_a_run_goes_on_the_way_that_it_began_and_leaves_the_engines(labelled, work, command, monkeypatch) -> None:
    """Rows and columns round their sums differently, and which of them a start takes is found by trial."""
    stopped = ending(work(command("dpo"), meanwhile=stop_at(1)))
    run = labelled.run(stopped.run_id)
    assert run.provenance["few_rows"] == "columns"
    ways, seen = ["rows"], []
    monkeypatch.setattr(ResidentModel, "few_go_by", property(lambda _: ways[-1], lambda _, way: ways.append(way)))
    work(
        ResumeRun("again", stopped.run_id),
        meanwhile=lambda _, news: seen.append(ways[-1]) if isinstance(news, RunSaid) else None,
    )
    assert set(seen) == {"columns"}
    assert ways[-1] == "rows"


def test_that_a_resumed_run_tells_of_other_versions(labelled, work, command, monkeypatch) -> None:
    stopped = ending(work(command("dpo"), meanwhile=stop_at(1)))
    monkeypatch.setattr("desktop_rlhf.workbench.provenance.__version__", "99.0")
    work(ResumeRun("again", stopped.run_id))
    (note,) = [note for note in labelled.notes(stopped.run_id) if "99.0" in note]
    assert "desktop_rlhf" in note


def test_that_a_resumed_run_tells_of_another_processor(labelled, work, command, monkeypatch) -> None:
    stopped = ending(work(command("dpo"), meanwhile=stop_at(1)))
    here = labelled.run(stopped.run_id).provenance["processor"]
    assert here
    monkeypatch.setattr("desktop_rlhf.workbench.provenance.processor", lambda: "another one")
    work(ResumeRun("again", stopped.run_id))
    assert any(f"processor {here} to another one" in note for note in labelled.notes(stopped.run_id))


def test_that_a_run_whose_processor_is_not_known_goes_on_without_a_note(labelled, work, command, monkeypatch) -> None:
    """Runs of earlier versions did not tell theirs."""
    with monkeypatch.context() as patch:
        told = run_plan.provenance
        patch.setattr(
            run_plan,
            "provenance",
            lambda *about: {name: value for name, value in told(*about).items() if name != "processor"},
        )
        stopped = ending(work(command("dpo"), meanwhile=stop_at(1)))
    assert "processor" not in labelled.run(stopped.run_id).provenance
    assert ending(work(ResumeRun("again", stopped.run_id))).status is RunStatus.COMPLETED
    assert not any("other versions" in note for note in labelled.notes(stopped.run_id))


@pytest.mark.parametrize("shares", [False, True], ids=["each prompt by itself", "what prompts begin with once"])
def test_that_no_example_of_a_smaller_setting_that_is_tried_is_longer_than_it_allows(shares, monkeypatch) -> None:
    """However many tokens share a forward: beyond the positions that a model has learned there are none."""
    sizes = [(20, length, 2) for length in range(30, 500, 10)]
    monkeypatch.setattr(smaller_setting, "_sizes", lambda inputs: iter(sizes))
    monkeypatch.setattr(smaller_setting, "tokens_at_once", lambda model, value: 1536)
    model = SimpleNamespace(fused=object() if shares else None, device=torch.device("cpu"))
    found = list(smaller_setting._candidates(DpoSpec(batch_size=4), SimpleNamespace(model=model)))
    assert len(found) > 3
    for name, value, largest in found:
        assert name == "max_length"
        for (prompt, completion, _), _ in largest:
            assert prompt + completion <= value
        # No fewer than go together at most, and no more than the completions of a step.
        assert largest[-1][1] == min(math.ceil(1536 / value) if shares else 1536 // value, 8)


@pytest.mark.parametrize(
    ("algorithm", "name", "widest"),
    [("dpo", "max_length", 47), ("kto", "max_length", 35), ("ppo", "max_new_tokens", 140)],
)
def test_that_running_out_of_memory_names_a_setting_that_then_fits(
    labelled, work, command, monkeypatch, algorithm, name, widest
) -> None:
    start = command(algorithm) if algorithm != "kto" else StartRun("job", "kto", SMALL)
    if algorithm == "ppo":
        start = replace(start, settings=PPO | {"max_new_tokens": 40})
    honest = FusedTrunk.__call__

    def limited(self, ids, *rest):
        if len(ids) > widest and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("tried to allocate more than there is")
        return honest(self, ids, *rest)

    monkeypatch.setattr(FusedTrunk, "__call__", limited)
    failed = ending(work(start))
    assert failed.status is RunStatus.FAILED
    assert "memory" in failed.reason
    assert failed.next_step.startswith(f"Set {name} to ")
    value = int(failed.next_step.removeprefix(f"Set {name} to ").split(":")[0])
    again = replace(start, settings={**start.settings, name: value})
    assert ending(work(again)).status is RunStatus.COMPLETED
