from __future__ import annotations

import hashlib
import math
import sqlite3
from pathlib import Path

import pytest

from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import DiskFullError, ProjectError, ProjectNewerError
from desktop_rlhf.records.project import ProjectInfo
from desktop_rlhf.records.prompts import Message, Prompt, Split
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.store.schema import SCHEMA_VERSION, migrations
from desktop_rlhf.store.store import Store

INFO = ProjectInfo("id", "name", "base", "hash", "me", "2026-01-01")


@pytest.fixture
def store(tmp_path):
    made = Store.create(tmp_path / "project.sqlite", INFO)
    yield made
    assert not made.db.conn.in_transaction
    made.close()


def add_prompt(store: Store, number: int = 0, split: Split = Split.TRAIN) -> Prompt:
    prompt = Prompt(f"p{number}", (Message("user", f"question {number} – ü"),), ("plain",), split, "here")
    store.prompts.add([(prompt, f"key{number}")])
    return prompt


def add_group(store: Store, prompt: Prompt, group_id: str = "g", count: int = 2) -> list[Completion]:
    sampler = Sampler(temperature=0.7, max_new_tokens=9)
    group = [
        Completion(f"{group_id}-{i}", prompt.id, group_id, None, f"text {i}", (4, 5), True, sampler, 2**62, "t")
        for i in range(count)
    ]
    store.completions.add_group(group, to_label=True)
    return group


def judged(group: list[Completion], id: str = "c") -> Comparison:
    ids = tuple(completion.id for completion in reversed(group))
    return Comparison(id, group[0].prompt_id, "pairwise", ids, Outcome.RANKED, (2, 1), 3, True, "me", 1.5, "t")


def add_run(store: Store) -> Run:
    run = Run("r", "dpo", {"beta": 0.1}, None, None, ("c",), {"torch": "2"}, created_at="t")
    store.runs.add(run)
    return run


def test_that_records_come_out_as_they_went_in(store: Store) -> None:
    prompt = add_prompt(store)
    group = add_group(store, prompt)
    store.comparisons.add(judged(group))
    run = add_run(store)
    assert store.info() == INFO
    assert store.prompts.all() == [prompt]
    assert store.completions.group("g") == group
    assert store.comparisons.all() == [judged(group)]
    assert store.runs.get("r") == run


def test_that_the_file_is_in_wal_with_full_sync_and_foreign_keys(store: Store) -> None:
    asked = {
        name: store.db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    tables = store.db.execute(
        "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
    ).fetchall()
    assert {name for name, strict in tables if not strict} <= {"_sqlite_migrations", "sqlite_schema", "sqlite_sequence"}


def test_that_a_repeated_save_changes_nothing(store: Store) -> None:
    comparison = judged(add_group(store, add_prompt(store)))
    store.comparisons.add(comparison)
    store.comparisons.add(comparison)
    assert store.comparisons.all() == [comparison]


def test_that_judgements_are_never_changed_or_deleted(store: Store) -> None:
    store.comparisons.add(judged(add_group(store, add_prompt(store))))
    for statement in ("UPDATE comparisons SET outcome = 'tie'", "DELETE FROM compared", "UPDATE compared SET rank = 9"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store.db.execute(statement)
        store.db.conn.rollback()


def test_that_a_retracted_judgement_is_out_of_sight_and_its_group_waits_again(store: Store) -> None:
    group = add_group(store, add_prompt(store))
    assert store.completions.first_waiting() == "g"
    store.comparisons.add(judged(group))
    assert store.completions.waiting() == 0
    store.comparisons.retract("c")
    store.comparisons.retract("c")
    assert store.comparisons.all() == []
    assert store.comparisons.last() is None
    assert store.completions.first_waiting() == "g"
    assert store.db["comparisons"].count == 1
    store.comparisons.add(judged(group, id="again"))
    assert store.completions.waiting() == 0


def test_that_a_completion_of_an_unknown_prompt_is_refused_whole(store: Store) -> None:
    stranger = Prompt("nobody", (Message("user", "q"),))
    with pytest.raises(sqlite3.IntegrityError):
        add_group(store, stranger)
    assert store.db["groups"].count == 0


def test_that_values_that_are_not_finite_come_back_as_they_were(store: Store) -> None:
    add_run(store)
    values = [1.5, math.nan, math.inf, -math.inf]
    store.runs.record("r", [MetricPoint(step, "loss", value) for step, value in enumerate(values)])
    back = [value for _, value in store.runs.metrics("r")["loss"]]
    assert back[0] == 1.5
    assert math.isnan(back[1])
    assert back[2:] == [math.inf, -math.inf]


def test_that_a_run_has_one_ending(store: Store) -> None:
    add_run(store)
    store.runs.end("r", RunStatus.STOPPED, "asked", {"n": 3})
    store.runs.end("r", RunStatus.FAILED, "late")
    assert store.runs.interrupt_running() == 0
    run = store.runs.get("r")
    assert (run.status, run.reason, run.report) == (RunStatus.STOPPED, "asked", {"n": 3})


def test_that_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.transaction():
        add_prompt(store, 1)
        add_prompt(store, 2)
        raise RuntimeError
    assert store.prompts.all() == []


def test_that_the_prompts_sampled_least_come_first_and_held_out_ones_never(store: Store) -> None:
    prompts = [add_prompt(store, i) for i in range(3)]
    add_prompt(store, 3, Split.HELD_OUT)
    add_group(store, prompts[0])
    assert [prompt.id for prompt in store.prompts.least_sampled(9)] == ["p1", "p2", "p0"]


def test_that_a_full_disk_is_an_error_for_the_person_and_loses_nothing(store: Store) -> None:
    comparison = judged(add_group(store, add_prompt(store)))
    store.comparisons.add(comparison)
    pages = store.db.execute("PRAGMA page_count").fetchone()[0]
    store.db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFullError, match="no room left"):
        for number in range(1, 2000):
            add_prompt(store, number)
    assert store.comparisons.all() == [comparison]
    store.db.execute("PRAGMA max_page_count = 100000")
    add_prompt(store, 5000)
    assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_that_a_newer_file_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "project.sqlite"
    store = Store.create(path, INFO)
    store.db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ProjectNewerError, match="newer version"):
        Store.open(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_that_a_project_whose_making_was_broken_off_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "project.sqlite"
    store = Store.create(path, INFO)
    store.db["project"].delete_where()
    store.close()
    store = Store.open(path)
    with pytest.raises(ProjectError, match="never finished"):
        store.info()
    store.close()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look at" * 20, b""])
def test_that_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "project.sqlite"
    path.write_bytes(content)
    with pytest.raises(ProjectError, match="not a project file"):
        Store.open(path)
    assert path.read_bytes() == content


def test_that_the_schema_version_counts_the_migrations(store: Store) -> None:
    assert len(migrations.applied(store.db)) == SCHEMA_VERSION
    assert not migrations.pending(store.db)


def test_that_two_connections_take_turns(store: Store) -> None:
    other = Store.open(store.path)
    add_prompt(store, 1)
    add_prompt(other, 2)
    assert [p.id for p in store.prompts.all()] == [p.id for p in other.prompts.all()] == ["p1", "p2"]
    other.close()


def test_that_judgements_are_counted_by_mode_and_outcome(store: Store) -> None:
    prompt = add_prompt(store)
    store.comparisons.add(judged(add_group(store, prompt)))
    for number, (mode, outcome) in enumerate([("single", Outcome.BOTH_BAD), ("demonstration", Outcome.RANKED)]):
        (one,) = add_group(store, prompt, f"g{number}", count=1)
        ranks = (1,) if outcome is Outcome.RANKED else ()
        store.comparisons.add(Comparison(f"c{number}", prompt.id, mode, (one.id,), outcome, ranks))
    assert store.comparisons.counts() == {
        ("pairwise", Outcome.RANKED): 1, ("single", Outcome.BOTH_BAD): 1, ("demonstration", Outcome.RANKED): 1,
    }  # fmt: skip
    assert store.comparisons.flagged() == 1
    assert store.comparisons.modes_of(["c", "c1", "none"]) == {"pairwise": 1, "demonstration": 1}
    assert store.comparisons.holds_single(prompt.id, "single", Outcome.BOTH_BAD, "text 0")
    for asked in (
        ("p1", "single", Outcome.BOTH_BAD, "text 0"),
        (prompt.id, "demonstration", Outcome.BOTH_BAD, "text 0"),
        (prompt.id, "single", Outcome.RANKED, "text 0"),
        (prompt.id, "single", Outcome.BOTH_BAD, "text 1"),
    ):
        assert not store.comparisons.holds_single(*asked)
