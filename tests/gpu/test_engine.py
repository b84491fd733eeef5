"""The engine from reading the model to a run that moves from the CPU to another device."""

from __future__ import annotations

import pytest
import torch

from desktop_rlhf.adapters import devices
from desktop_rlhf.adapters.devices import Place, in_words
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.messages import JobEnded, ResumeRun, RunSaid, SampleGroups, StartRun
from desktop_rlhf.workbench.project import Project

pytestmark = pytest.mark.gpu


@pytest.fixture
def carry_out(tmp_path, tiny_model_path, monkeypatch):
    """Makes a project with eight prompts, and carries out commands on a device; gives how they ended."""
    (tmp_path / "prompts.jsonl").write_text("\n".join(f'{{"prompt": "question {i}"}}' for i in range(8)))
    project = Project.create(tmp_path / "project", base_model=str(tiny_model_path), starter_prompts=False)
    project.import_file(tmp_path / "prompts.jsonl")

    def on(device: torch.device, *commands, stop_at: int | None = None) -> JobEnded:
        monkeypatch.setattr(devices, "place_for", lambda folder: Place(device, torch.float32))
        ends = []

        def say(news) -> None:
            if isinstance(news, JobEnded):
                ends.append(news)
            if isinstance(news, RunSaid) and isinstance(news.event, StepTaken) and news.event.step == stop_at:
                engine.stop("job")

        engine = Engine(project.path, say)
        for command in commands:
            engine.submit(command)
        engine.run_until_idle()
        engine.close()
        assert not [end.traceback for end in ends if end.traceback]
        return ends[-1]

    on.project = project
    yield on
    project.close()


def test_that_a_run_says_where_it_was_made_and_that_it_moved(device, carry_out) -> None:
    project = carry_out.project
    ids = tuple(prompt.id for prompt in project.prompts_to_sample(8))
    ended = carry_out(device, SampleGroups("s", ids, 2, None, Sampler(max_new_tokens=5), 1))
    assert ended.status is RunStatus.COMPLETED
    while (showing := project.next_showing()) is not None:
        project.save_comparison(showing, Outcome.RANKED, (1, 2))
    start = StartRun("job", "dpo", {"lora_rank": 4, "batch_size": 2, "epochs": 1})
    made_there = project.run(carry_out(device, start).run_id)
    assert made_there.status is RunStatus.COMPLETED
    assert made_there.provenance["device"] == in_words(device) != "cpu"
    stopped = carry_out(torch.device("cpu"), start, stop_at=2)
    assert project.run(stopped.run_id).provenance["device"] == "cpu"
    ended = carry_out(device, ResumeRun("job", stopped.run_id))
    assert ended.status is RunStatus.COMPLETED
    assert any(f"device cpu to {in_words(device)}" in note for note in project.notes(stopped.run_id))
