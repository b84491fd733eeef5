from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import DiskFullError, ProjectError, ProjectNewerError
from desktop_rlhf.records.project import ProjectInfo
from desktop_rlhf.records.prompts import Message, Prompt, Split
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.store.connection import Connection
from desktop_rlhf.store.schema import APPLICATION_ID, SCHEMA_VERSION, migrations
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


def add_group(
    store: Store, prompt: Prompt, group_id: str = "g", count: int = 2, adapter_id: str | None = None
) -> list[Completion]:
    sampler = Sampler(temperature=0.7, max_new_tokens=9)
    group = [
        Completion(f"{group_id}-{i}", prompt.id, group_id, adapter_id, f"text {i}", (4, 5), True, sampler, 2**62, "t")
        for i in range(count)
    ]
    store.completions.add_group(group, to_label=True)
    return group


def judged(group: list[Completion], id: str = "c") -> Comparison:
    ids = tuple(completion.id for completion in reversed(group))
    return Comparison(id, group[0].prompt_id, "pairwise", ids, Outcome.RANKED, (2, 1), 3, True, "me", 1.5, "t")


def add_run(store: Store) -> Run:
    run = Run("r", "dpo", {"beta": 0.1}, None, None, {"pairwise": 1}, {"torch": "2"}, created_at="t")
    store.runs.add(run, ("c",))
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
    assert store.runs.comparison_ids("r") == ("c",)


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


def test_that_what_waits_of_one_adapter_is_found_among_what_waits_of_others(store: Store) -> None:
    prompt = add_prompt(store)
    add_run(store)
    store.adapters.add(Adapter("kind", "kind", AdapterKind.POLICY, None, "r", "adapters/kind", "0" * 64))
    for group_id, adapter_id in (("g0", None), ("g1", "kind"), ("g2", None), ("g3", "kind")):
        add_group(store, prompt, group_id, adapter_id=adapter_id)
    assert store.completions.first_waiting() == store.completions.first_waiting_from(None) == "g0"
    assert store.completions.first_waiting_from("kind") == "g1"
    assert store.completions.first_waiting_from("nobody") is None
    assert [store.completions.waiting_from(adapter_id, 9) for adapter_id in (None, "kind", "nobody")] == [2, 2, 0]
    assert store.completions.waiting_from("kind", 1) == 1
    store.comparisons.add(judged(store.completions.group("g1")))
    assert store.completions.first_waiting_from("kind") == "g3"


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


SECOND_SCHEMA = """
    INSERT INTO project VALUES ('id', 'name', 'base', 'hash', 'me', '2026-01-01');
    INSERT INTO prompts VALUES ('p', 'key p', '[["user", "q"]]', '[]', 'train', 'here', 't');
    INSERT INTO prompts VALUES ('q', 'key q', '[["user", "r"]]', '[]', 'train', 'here', 't');
    INSERT INTO groups VALUES ('judged', 'p', 1), ('taken back', 'p', 1), ('waits', 'p', 1), ('imported', 'q', 0);
    INSERT INTO completions SELECT groups.id || '-' || k, prompt_id, groups.id, NULL, 'text', '[4]', 1, '{}', 7, 't'
        FROM groups, (SELECT 0 AS k UNION SELECT 1);
    INSERT INTO comparisons SELECT id || '!', prompt_id, id, 'pairwise', 'ranked', 3, id = 'judged', 'me', 1.5, 't'
        FROM groups WHERE id <> 'waits' ORDER BY rowid;
    INSERT INTO compared SELECT comparisons.id, k, group_id || '-' || k, k + 1
        FROM comparisons, (SELECT 0 AS k UNION SELECT 1);
    INSERT INTO retractions VALUES ('taken back!', 't');
    INSERT INTO runs VALUES
        ('r', 'dpo', '{}', NULL, NULL, '["judged!", "imported!"]', '{}', 'running', '', '{}', 't', '', '');
"""


def test_that_a_file_of_the_second_schema_opens_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "project.sqlite"
    old = Connection(path)
    migrations.apply(old.db, stop_before="m003_what_is_asked_at_every_key")
    old.db.conn.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2; {SECOND_SCHEMA}")
    old.close()
    store = Store.open(path)
    assert store.completions.first_waiting() == "taken back"
    assert store.completions.waiting() == 2
    assert [prompt.id for prompt in store.prompts.least_sampled(2)] == ["q", "p"]
    assert store.comparisons.counts() == {("pairwise", Outcome.RANKED): 2}
    assert store.comparisons.flagged() == 1
    assert [comparison.id for comparison in store.comparisons.all()] == ["judged!", "imported!"]
    last = store.comparisons.last()
    assert last is not None
    assert last.id == "judged!"
    store.comparisons.retract(last.id)
    assert (store.completions.first_waiting(), store.comparisons.flagged()) == ("judged", 0)
    assert store.runs.get("r").judgements == {"pairwise": 2}
    assert store.runs.comparison_ids("r") == ("judged!", "imported!")
    assert store.runs.interrupt_running() == 1
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        store.db.execute("UPDATE comparisons SET outcome = 'tie'")
    store.db.conn.rollback()
    assert not list(store.db.execute("PRAGMA foreign_key_check"))
    store.close()


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


def test_that_a_label_walks_no_table_however_long_it_is(store: Store) -> None:
    prompt = add_prompt(store)
    group = add_group(store, prompt)
    for work in (
        store.completions.first_waiting,
        store.completions.waiting,
        lambda: store.completions.first_waiting_from(None),
        lambda: store.completions.waiting_from("kind", 4),
        lambda: store.completions.group("g"),
        lambda: store.prompts.get(prompt.id),
        lambda: store.comparisons.add(judged(group)),
        lambda: store.comparisons.get_all(["c"]),
        store.comparisons.last,
        lambda: store.comparisons.retract("c"),
        lambda: store.prompts.least_sampled(8),
        lambda: store.prompts.pass_over(prompt.id),
        store.runs.interrupt_running,
    ):
        statements: list[str] = []
        store.db.conn.set_trace_callback(statements.append)
        work()
        store.db.conn.set_trace_callback(None)
        asked = [sql for sql in statements if not sql.startswith(("BEGIN", "COMMIT", "--"))]
        assert asked
        plans = [row[3] for sql in asked for row in store.db.execute(f"EXPLAIN QUERY PLAN {sql}")]
        tables = store.db.table_names()
        assert [step for step in plans if step.startswith("SCAN") and step.split()[1] in tables] == []


def test_that_a_label_is_no_more_work_for_sqlite_when_there_are_many(store: Store) -> None:
    """Counted in instructions of its virtual machine, those of the triggers included."""

    def instructions(work: Callable[[], object]) -> int:
        count = 0

        def one_more() -> int:
            nonlocal count
            count += 1
            return 0

        store.db.conn.set_progress_handler(one_more, 1)
        work()
        store.db.conn.set_progress_handler(None, 1)
        return count

    def label(name: str) -> dict[str, int]:
        group = store.completions.group(store.completions.first_waiting() or "")
        return {
            "next": instructions(lambda: store.completions.group(store.completions.first_waiting() or "")),
            "save": instructions(lambda: store.comparisons.add(judged(group, name))),
            "counts": instructions(store.comparisons.counts) + instructions(store.comparisons.flagged),
            "undo": instructions(lambda: store.comparisons.retract(store.comparisons.last().id)),
            "prompts": instructions(lambda: store.prompts.least_sampled(2)),
            "sampled": instructions(lambda: add_group(store, prompts[1], name)),
        }

    prompts = [add_prompt(store, i) for i in range(3)]
    for i in range(5):
        add_group(store, prompts[0], f"g{i}")
    few = label("few")
    for i in range(5, 205):
        store.comparisons.add(judged(add_group(store, prompts[0], f"g{i}"), f"c{i}"))
    many = label("many")
    assert {what: count for what, count in many.items() if count > 1.2 * few[what] + 20} == {}
