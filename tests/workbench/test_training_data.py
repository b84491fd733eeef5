from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace

import pytest

from desktop_rlhf.adapters.training import fitting, ids_of
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.events import StepTaken
from desktop_rlhf.runs.learned import Learned, Reason
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.messages import JobEnded, ResumeRun, RunSaid, StartRun
from desktop_rlhf.workbench.training_data import training_groups


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


def test_that_a_run_tells_by_a_hash_which_judgements_or_prompts_it_learned_from(
    labelled, work, sampling, tmp_path
) -> None:
    def hashed(algorithm: str) -> str:
        # It fails for want of a reward model, and what it would have learned from is in its row.
        work(StartRun(algorithm, algorithm, SMALL if algorithm == "dpo" else {}))
        return str(labelled.runs()[0].provenance["data_sha256"])

    def sha256(ids) -> str:
        return hashlib.sha256("\n".join(ids).encode()).hexdigest()

    before, judged = labelled.prompts(Split.TRAIN), hashed("dpo")
    assert judged == sha256(labelled.learned_from(labelled.runs()[0].id))
    assert {hashed(name) for name in ("ppo", "rloo", "grpo")} == {sha256(prompt.id for prompt in before)}
    more = [{"prompt": "one more?"}, {"prompt": "not this", "tags": ["refuse"]}]
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, more)))
    labelled.import_file(tmp_path / "more.jsonl")
    assert hashed("dpo") == judged
    asked = [prompt for prompt in labelled.prompts(Split.TRAIN) if not prompt.tags]
    assert len(asked) == len(before) + 1
    assert hashed("ppo") == sha256(prompt.id for prompt in asked)


LONGEST = 120
SMALL = {"lora_rank": 2, "lora_alpha": 4, "max_length": LONGEST}
PREFERENCES = {
    Reason.TOO_LONG: ("long?", "x" * LONGEST, "y", "train"),
    Reason.PROMPT_TOO_LONG: ("x" * LONGEST, "yes", "no", "train"),
    Reason.HELD_OUT_PROMPT: ("apart?", "yes", "no", "held_out"),
}


@pytest.fixture
def judge_equal(project, work, sampling):
    """Has one of two equal completions chosen."""

    def judge() -> None:
        greedy = Sampler(temperature=0, max_new_tokens=6)
        prompt_ids = (project.prompts(Split.TRAIN)[0].id,)
        work(replace(sampling(2, "equal"), prompt_ids=prompt_ids, sampler=greedy, repeats=True))
        project.save_comparison(project.next_showing(), Outcome.RANKED, (1, 2))

    return judge


@pytest.fixture
def mixed(project, work, sampling, judge_equal, tmp_path):
    """A project with every outcome and every cause to leave a judgement out."""
    work(sampling(2), sampling(2, "more", seed=2))
    said = [Outcome.RANKED, Outcome.RANKED, Outcome.TIE, Outcome.BOTH_BAD, Outcome.RANKED, Outcome.SKIPPED]
    made = 0
    while (showing := project.next_showing()) is not None:
        outcome = said[made % len(said)]
        project.save_comparison(showing, outcome, (1, 2) if outcome is Outcome.RANKED else ())
        made += 1
    for reason, (prompt, chosen, rejected, split) in PREFERENCES.items():
        row = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "split": split}
        (tmp_path / f"{reason}.jsonl").write_text(json.dumps(row))
        project.import_file(tmp_path / f"{reason}.jsonl")
    judge_equal()
    (tmp_path / "shown.jsonl").write_text('{"prompt": "show?", "completion": "like this"}')
    project.import_file(tmp_path / "shown.jsonl")
    (tmp_path / "refuse.jsonl").write_text('{"prompt": "how to harm", "tags": ["refuse"]}')
    project.import_file(tmp_path / "refuse.jsonl")
    return project


def of_equal_texts(project) -> int:
    """How many rankings there are of equal texts: the one that was asked for, and those that chance sampled."""
    store = Store.open(project.path / STORE_FILE)
    ranked = [c.completion_ids for c in project.comparisons() if c.outcome is Outcome.RANKED and len(c.ranks) == 2]
    texts = [{completion.text for completion in store.completions.get_all(ids).values()} for ids in ranked]
    store.close()
    return sum(len(different) == 1 for different in texts)


def counted(project, run_id: str) -> Learned:
    """What a run's report counts, after a look that its note says the same."""
    learned = Learned.read(project.run(run_id).report)
    assert project.notes(run_id)[0] == learned.sentence
    return learned


@pytest.mark.parametrize("algorithm", ["reward", "dpo", "orpo", "simpo", "sft", "kto"])
def test_that_what_a_run_learns_from_and_what_it_leaves_out_are_all_judgements(mixed, work, algorithm) -> None:
    (ended,) = [news for news in work(StartRun("a", algorithm, SMALL)) if isinstance(news, JobEnded)]
    learned = counted(mixed, ended.run_id)
    everything = mixed.comparisons()
    assert learned.total == len(everything) == 29
    outcomes = Counter(comparison.outcome for comparison in everything)
    wanted = {Reason.TIE: 4, Reason.BOTH_BAD: 4, Reason.SKIPPED: 4, Reason.EQUAL_TEXTS: of_equal_texts(mixed)}
    wanted |= dict.fromkeys(PREFERENCES, 1)
    assert wanted[Reason.EQUAL_TEXTS] >= 1
    assert all(outcomes[outcome] == 4 for outcome in Outcome if outcome is not Outcome.RANKED)
    if algorithm not in ("kto", "sft"):
        wanted[Reason.SINGLE] = 1  # the demonstration
    if algorithm == "kto":
        del wanted[Reason.BOTH_BAD]  # two that are to become less likely
        del wanted[Reason.TOO_LONG]  # the other one of the two is short
    if algorithm == "reward":
        held_out = mixed.run(ended.run_id).report["n"]
        assert held_out > 0
        wanted[Reason.HELD_OUT] = held_out
    assert dict(learned.left_out) == wanted


def test_that_what_sft_was_not_asked_to_learn_from_is_counted(mixed, work) -> None:
    (ended,) = [
        n for n in work(StartRun("a", "sft", SMALL | {"learn_from": "demonstrations"})) if isinstance(n, JobEnded)
    ]
    learned = counted(mixed, ended.run_id)
    assert (learned.kept, learned.total, learned.what) == (1, 29, "judgement")
    # All that were ranked but those of equal texts, the held-out one and the demonstration itself.
    ranked = sum(comparison.outcome is Outcome.RANKED for comparison in mixed.comparisons())
    assert learned.left_out[Reason.NOT_ASKED] == ranked - of_equal_texts(mixed) - 2


def test_that_completions_that_were_cut_are_counted_and_get_no_end(mixed, work, llama) -> None:
    (ended,) = [news for news in work(StartRun("a", "dpo", SMALL)) if isinstance(news, JobEnded)]
    store = Store.open(mixed.path / STORE_FILE)
    groups, _ = training_groups(store, store.runs.comparison_ids(ended.run_id))
    store.close()
    kept, _ = fitting(llama, groups, LONGEST)
    spoken = {(g.prompt.id, c.text): c for g in kept for c in g.completions}.values()
    cut = [c for c in spoken if not c.ended]
    assert counted(mixed, ended.run_id).cut == len(cut) > 0
    assert all(ids_of(llama, c) == list(c.completion_ids) for c in cut)
    assert not any(c.completion_ids[-1] in llama.end_ids for c in cut)


def test_that_prompts_to_write_to_are_counted_as_well(mixed, work) -> None:
    (ended,) = [news for news in work(StartRun("a", "reward", SMALL)) if isinstance(news, JobEnded)]
    sizes = {"updates": 1, "prompts_per_update": 2, "completions_per_prompt": 2, "max_new_tokens": 4}
    for algorithm in ("ppo", "rloo", "grpo"):
        command = StartRun(algorithm, algorithm, SMALL | sizes, reward_adapter_id=ended.adapter_id)
        (written,) = [news for news in work(command) if isinstance(news, JobEnded)]
        learned = counted(mixed, written.run_id)
        assert learned.what == "prompt"
        assert dict(learned.left_out) == {Reason.NO_ROOM: 1, Reason.REFUSE: 1}
        assert learned.total == len(mixed.prompts(Split.TRAIN))


def test_that_a_run_that_goes_on_counts_as_it_did_when_it_began(mixed, work) -> None:
    def stop_soon(engine, news) -> None:
        if isinstance(news, RunSaid) and isinstance(news.event, StepTaken) and news.event.step == 1:
            engine.stop("a")

    settings = SMALL | {"epochs": 2}
    (whole,) = [n for n in work(StartRun("whole", "dpo", settings)) if isinstance(n, JobEnded)]
    (ended,) = [n for n in work(StartRun("a", "dpo", settings), meanwhile=stop_soon) if isinstance(n, JobEnded)]
    assert ended.status is RunStatus.STOPPED
    mixed.undo()  # the judgement of equal texts, which was left out
    work(ResumeRun("again", ended.run_id))
    assert counted(mixed, ended.run_id) == counted(mixed, whole.run_id)
    assert mixed.notes(ended.run_id) == mixed.notes(whole.run_id)


def test_that_where_nothing_is_left_the_error_says_what_became_of_it(project, work, judge_equal) -> None:
    judge_equal()
    for algorithm in ("reward", "dpo", "orpo", "simpo", "sft", "kto"):
        (ended,) = [news for news in work(StartRun("a", algorithm)) if isinstance(news, JobEnded)]
        assert ended.status is RunStatus.FAILED
        assert "Left out: 1 of equal texts." in ended.reason
