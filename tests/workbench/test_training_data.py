from __future__ import annotations

from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.messages import StartRun


def test_that_kto_learns_from_both_bad_while_dpo_does_not(project, work, sampling) -> None:
    work(sampling(2))
    said = [Outcome.RANKED, Outcome.BOTH_BAD, Outcome.TIE, Outcome.SKIPPED]
    made = []
    while (showing := project.next_showing()) is not None and len(made) < 8:
        outcome = said[len(made) % 4]
        made.append(project.save_comparison(showing, outcome, (1, 2) if outcome is Outcome.RANKED else ()))
    work(
        StartRun("a", "kto"),
        StartRun("b", "dpo"),
    )
    runs = {run.algorithm: run for run in project.runs()}
    assert {run.status for run in runs.values()} == {RunStatus.COMPLETED}
    usable = [c for c in made if c.outcome in (Outcome.RANKED, Outcome.BOTH_BAD)]
    assert project.learned_from(runs["kto"].id) == tuple(c.id for c in usable)
    assert project.learned_from(runs["dpo"].id) == tuple(c.id for c in usable if c.outcome is Outcome.RANKED)
    assert runs["kto"].report["undesirable"] + runs["kto"].report["desirable"] == 2 * len(usable)
    assert runs["kto"].report["desirable"] == sum(runs["dpo"].judgements.values())
    assert runs["kto"].provenance["data_sha256"] != runs["dpo"].provenance["data_sha256"]
