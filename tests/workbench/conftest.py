from __future__ import annotations

import pytest

from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.messages import SampleGroups
from desktop_rlhf.workbench.project import Project


@pytest.fixture
def project(tmp_path, tiny_model_path):
    """An empty project on the tiny model, with a dozen and a half prompts."""
    lines = [f'{{"prompt": "question {i}", "split": "{"held_out" if i % 3 == 2 else "train"}"}}' for i in range(18)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    made = Project.create(tmp_path / "project", base_model=str(tiny_model_path), starter_prompts=False)
    made.import_file(tmp_path / "prompts.jsonl")
    yield made
    made.close()


@pytest.fixture
def work(project):
    """Carry out commands on this thread and give all news."""

    def carry_out(*commands, meanwhile=None):
        said = []

        def say(news):
            said.append(news)
            if meanwhile:
                meanwhile(engine, news)

        engine = Engine(project.path, say)
        for command in commands:
            engine.submit(command)
        engine.run_until_idle()
        engine.close()
        return said

    return carry_out


@pytest.fixture
def sampling(project):
    def command(count: int = 2, job_id: str = "sampling", seed: int = 1) -> SampleGroups:
        ids = tuple(prompt.id for prompt in project.prompts_to_sample(12))
        return SampleGroups(job_id, ids, count, None, Sampler(max_new_tokens=6), seed)

    return command


@pytest.fixture
def labelled(project, work, sampling):
    """The project with every training prompt sampled and ranked by length of text."""
    work(sampling(3))
    while (showing := project.next_showing()) is not None:
        lengths = [(len(completion.text), place) for place, completion in enumerate(showing.completions)]
        project.save_comparison(showing, Outcome.RANKED, tuple(sorted(lengths).index(length) + 1 for length in lengths))
    return project
