"""Demonstrations and judgements of single completions, from a file to training and to a file again."""

from __future__ import annotations

import json

import pytest

from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.messages import JobEnded, StartRun
from desktop_rlhf.workbench.project import Project

TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
DEMONSTRATIONS = [
    {"prompt": f"question {i}", "completion": f"answer {i}", "split": "held_out" if i % 3 == 2 else "train"}
    for i in range(6)
]
DEMONSTRATIONS.append({"prompt": TALK, "completion": [{"role": "assistant", "content": "Hello."}], "tags": ["short"]})
TAKEN_BACK = ("prompts", "comparisons", "demonstrations", "judgements")
JUDGEMENTS = [{"prompt": f"question {i}", "completion": f"take {i % 5}", "label": i % 2 == 0} for i in range(10)]


@pytest.fixture
def take(tmp_path):
    """Import rows into a project."""

    def take_in(project: Project, rows, split: Split = Split.TRAIN):
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return project.import_file(tmp_path / "rows.jsonl", split)

    return take_in


def test_that_what_is_imported_is_counted_once_and_apart_from_what_was_compared(project, take) -> None:
    report = take(project, [*DEMONSTRATIONS, *JUDGEMENTS, DEMONSTRATIONS[0], JUDGEMENTS[1]])
    assert (report.prompts, report.comparisons, report.demonstrations, report.judgements) == (1, 0, 7, 10)
    again = take(project, [*DEMONSTRATIONS, *JUDGEMENTS])
    assert (again.prompts, again.demonstrations, again.judgements) == (0, 0, 0)
    counts = project.label_counts()
    assert (counts.demonstrations, counts.good, counts.bad) == (7, 5, 5)
    assert counts.ranked == counts.ties == counts.both_bad == counts.waiting == 0
    assert (counts.with_good, counts.with_bad) == (12, 5)


def test_that_a_single_completion_waits_for_no_label_and_is_not_what_undo_takes_back(labelled, take) -> None:
    mine, counts = labelled.comparisons(), labelled.label_counts()
    take(labelled, [*DEMONSTRATIONS, *JUDGEMENTS])
    assert labelled.next_showing() is None
    assert labelled.label_counts().ranked == counts.ranked
    assert [c.id for c in labelled.undo().completions] == list(mine[-1].completion_ids)
    assert len(labelled.comparisons()) == len(mine) - 1 + len(DEMONSTRATIONS) + len(JUDGEMENTS)


def test_that_import_undoes_export_and_loses_nothing(project, take, tmp_path, tiny_model_path) -> None:
    pair = {"prompt": "question 1", "chosen": "yes", "rejected": "no", "tags": ["a"]}
    take(project, [*DEMONSTRATIONS, *JUDGEMENTS, pair])
    other = Project.create(tmp_path / "other", base_model=str(tiny_model_path), starter_prompts=False)
    counts = {what: project.export(what, tmp_path / f"{what}.jsonl") for what in TAKEN_BACK}
    assert counts == {"prompts": 19, "comparisons": 1, "demonstrations": 7, "judgements": 10}
    for what in TAKEN_BACK:
        other.import_file(tmp_path / f"{what}.jsonl")
    for what in TAKEN_BACK:
        assert other.export(what, tmp_path / "again.jsonl") == counts[what]
        assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / f"{what}.jsonl").read_bytes()
    assert other.label_counts() == project.label_counts()
    assert [(c.mode, c.outcome, c.ranks) for c in sorted(other.comparisons(), key=lambda c: c.mode)] == [
        (c.mode, c.outcome, c.ranks) for c in sorted(project.comparisons(), key=lambda c: c.mode)
    ]
    other.close()


def test_that_sft_learns_from_demonstrations_alone_and_never_from_held_out_prompts(project, take, work) -> None:
    take(project, DEMONSTRATIONS)
    take(project, [{"prompt": "kept apart", "completion": "x"}], Split.HELD_OUT)
    work(StartRun("a", "sft"))
    (run,) = project.runs()
    assert run.status is RunStatus.COMPLETED
    assert run.report["completions"] == 5  # of 8: three answer held-out prompts
    by_id = {prompt.id: prompt for prompt in project.prompts()}
    learned = [c for c in project.comparisons() if c.id in project.learned_from(run.id)]
    assert len(learned) == 5
    assert {by_id[c.prompt_id].split for c in learned} == {Split.TRAIN}
    assert project.sources(run).demonstrations == 5


def test_that_sft_learns_from_the_kind_that_was_asked_for(labelled, take, work) -> None:
    compared = len(labelled.comparisons())
    take(labelled, [*DEMONSTRATIONS, *JUDGEMENTS])
    work(*(StartRun(kind, "sft", {"learn_from": kind}) for kind in ("all", "demonstrations", "chosen")))
    sources = {str(run.settings["learn_from"]): labelled.sources(run) for run in labelled.runs()}
    found = {kind: (s.comparisons, s.demonstrations, s.judgements) for kind, s in sources.items()}
    good = sum(bool(row["label"]) for i, row in enumerate(JUDGEMENTS) if i % 3 != 2)
    assert found == {"all": (compared, 5, good), "demonstrations": (0, 5, 0), "chosen": (compared, 0, good)}


def test_that_sft_says_when_there_is_nothing_of_the_kind_that_was_asked_for(labelled, work) -> None:
    (ended,) = [
        said for said in work(StartRun("a", "sft", {"learn_from": "demonstrations"})) if isinstance(said, JobEnded)
    ]
    assert ended.status is RunStatus.FAILED
    assert "“demonstrations”" in ended.reason


def test_that_kto_learns_from_judgements_alone_while_dpo_does_not(project, take, work) -> None:
    take(project, [*JUDGEMENTS, *DEMONSTRATIONS])
    work(StartRun("a", "kto"), StartRun("b", "dpo"))
    runs = {run.algorithm: run for run in project.runs()}
    bad = sum(not row["label"] for i, row in enumerate(JUDGEMENTS) if i % 3 != 2)
    good = sum(bool(row["label"]) for i, row in enumerate(JUDGEMENTS) if i % 3 != 2)
    assert (runs["kto"].report["desirable"], runs["kto"].report["undesirable"]) == (good + 5, bad)
    assert runs["dpo"].status is RunStatus.FAILED


def test_that_kto_takes_ties_flags_and_both_bad_as_they_are(project, work, sampling) -> None:
    work(sampling(2))
    said = [(Outcome.BOTH_BAD, ()), (Outcome.TIE, ()), (Outcome.RANKED, (1, 2))] * 3
    made = [
        project.save_comparison(project.next_showing(), outcome, ranks, flagged=i < 3)
        for i, (outcome, ranks) in enumerate(said)
    ]
    work(StartRun("a", "kto"))
    (run,) = project.runs()
    assert (run.report["desirable"], run.report["undesirable"]) == (3, 9)
    assert project.learned_from(run.id) == tuple(c.id for c in made if c.outcome is not Outcome.TIE)
