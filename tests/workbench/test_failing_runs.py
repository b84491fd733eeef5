"""What cannot be, or breaks on its way, ends in one sentence; the engine goes on."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import pytest

from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench import training_job
from desktop_rlhf.workbench.messages import (
    EngineFailed,
    JobStarted,
    StartRun,
)

from .test_engine import PPO, SMALL, endings


@pytest.fixture
def break_runs(monkeypatch):
    """Have every run raise something in the place of its event of a number."""

    def break_at(number: int, error: BaseException | type[BaseException]) -> None:
        real = training_job.resolve

        def breaking(spec):
            train = real(spec)

            def run(*arguments):
                for count, event in enumerate(train(*arguments)):
                    if count == number:
                        raise error
                    yield event

            return run

        monkeypatch.setattr(training_job, "resolve", breaking)

    return break_at


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
        (OSError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk is full"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), "more memory"),
        (MemoryError(), "more memory"),
        (ZeroDivisionError("oops"), "fault in the program"),
    ],
)
def test_that_a_run_that_breaks_ends_once_and_leaves_no_adapter_behind(
    labelled, work, break_runs, monkeypatch, error, sentence
) -> None:
    break_runs(3, error)
    (ending,) = endings(work(StartRun("run", "dpo", SMALL)))
    assert ending.status is RunStatus.FAILED
    assert sentence in ending.reason
    assert bool(ending.traceback) is isinstance(error, ZeroDivisionError)
    assert labelled.runs()[0].status is RunStatus.FAILED
    assert labelled.adapters() == []
    monkeypatch.undo()
    assert endings(work(StartRun("run", "dpo", SMALL)))[0].status is RunStatus.COMPLETED


def test_that_a_run_that_breaks_leaves_the_adapter_that_others_sample_from_alone(
    labelled, work, sampling, break_runs
) -> None:
    work(StartRun("first", "dpo", SMALL | {"epochs": 5}))
    speaker = labelled.adapters()[0].id
    alone = replace(sampling(2, job_id="alone"), adapter_id=speaker)
    work(alone)
    spoken = {c.text for c in labelled._store.completions.get_all(_newest(labelled, 24)).values()}
    break_runs(4, ZeroDivisionError)
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
    monkeypatch.setattr("desktop_rlhf.workbench.engine.hash_model_folder", lambda _: "another")
    (failed,) = (news for news in work() if isinstance(news, EngineFailed))
    assert "not the one that this project was made with" in failed.reason


def test_that_a_base_whose_files_cannot_be_read_to_the_end_ends_the_engine(project, work, monkeypatch) -> None:
    def unreadable(_):
        raise OSError("the disk is gone")

    monkeypatch.setattr("desktop_rlhf.workbench.engine.hash_model_folder", unreadable)
    (failed,) = (news for news in work() if isinstance(news, EngineFailed))
    assert "the disk is gone" in failed.reason


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
    monkeypatch.setattr("desktop_rlhf.workbench.engine.base_model_folder", lambda _: project.path / "gone")
    said = work()
    assert isinstance(said[-1], EngineFailed)
    assert "gone" in said[-1].reason
