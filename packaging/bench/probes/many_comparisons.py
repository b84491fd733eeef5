"""A project that holds very many comparisons, made without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from desktop_rlhf.records.project import ProjectInfo
from desktop_rlhf.store.store import Store

PER_TRANSACTION = 100_000
PROMPTS = 10_000
WAITING = 1_000
SAMPLER = json.dumps({"temperature": 0.7, "top_p": 1.0, "top_k": 0, "max_new_tokens": 96})
IDS = json.dumps(list(range(300, 332)))
TEXT = "It depends on what you are after, and on how much of your day you would like to give to it. " * 2
AT = "2026-01-01T00:00:00.000000+00:00"


def fill(path: Path, comparisons: int) -> None:
    """Make a project of ``comparisons`` judged pairs and some that wait, in a folder that does not exist.

    Ids rise evenly through the whole range, so that the random id of a later row falls among them anywhere, as it would
    among random ones, and yet they are written in order, which is fast.
    """
    path.mkdir(parents=True)
    store = Store.create(path / "project.sqlite", ProjectInfo("probe", "Probe", "none", "none", "me", AT))
    store.db.execute("PRAGMA synchronous = OFF")  # of this connection: only the filling
    prompts = min(PROMPTS, comparisons)
    _insert(store, "prompts", (_prompt(i, prompts) for i in range(prompts)))
    groups = comparisons + WAITING
    for start in range(0, groups, PER_TRANSACTION):
        some = range(start, min(groups, start + PER_TRANSACTION))
        judged = range(some.start, min(some.stop, comparisons))
        with store.transaction():
            _insert(store, "groups", ((_id("g", i, groups), _of(i, prompts), 1) for i in some))
            _insert(store, "completions", (_completion(i, k, groups, prompts) for i in some for k in (0, 1)))
            _insert(store, "comparisons", (_comparison(i, groups, prompts) for i in judged))
            _insert(store, "compared", (_compared(i, k, groups) for i in judged for k in (0, 1)))
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()


COLUMNS = {
    "prompts": "id, key, messages, tags, split, source, created_at",
    "groups": "id, prompt_id, to_label",
    "completions": "id, prompt_id, group_id, adapter_id, text, completion_ids, ended, sampler, seed, created_at",
    "comparisons": (
        "id, prompt_id, group_id, mode, outcome, strength, flagged, labeller, duration_s, created_at, made_here"
    ),
    "compared": "comparison_id, place, completion_id, rank",
}


def _insert(store: Store, table: str, rows: Iterator[tuple[object, ...]]) -> None:
    marks = ", ".join("?" * len(COLUMNS[table].split(",")))
    with store.transaction():
        store.db.conn.executemany(f"INSERT INTO {table} ({COLUMNS[table]}) VALUES ({marks})", rows)


def _id(kind: str, i: int, of: int) -> str:
    return f"{(2 * i + 1) * 2**127 // (2 * of) * 2:032x}"[:31] + kind


def _of(i: int, prompts: int) -> str:
    return _id("0", i % prompts, prompts)


def _prompt(i: int, of: int) -> tuple[object, ...]:
    messages = json.dumps([["user", f"What should I do about number {i}?"]])
    return _id("0", i, of), f"key {i}", messages, "[]", "train", "probe", AT


def _completion(i: int, k: int, groups: int, prompts: int) -> tuple[object, ...]:
    group = _id("g", i, groups)
    return _id(f"{k}", i, groups), _of(i, prompts), group, None, f"{k} {TEXT}", IDS, 1, SAMPLER, i, AT


def _comparison(i: int, groups: int, prompts: int) -> tuple[object, ...]:
    outcome = "tie" if i % 10 == 0 else "ranked"
    flagged = int(i % 100 == 0)
    return (
        _id("c", i, groups),
        _of(i, prompts),
        _id("g", i, groups),
        "pairwise",
        outcome,
        None,
        flagged,
        "me",
        4.0,
        AT,
        1,
    )


def _compared(i: int, k: int, groups: int) -> tuple[object, ...]:
    return _id("c", i, groups), k, _id(f"{k}", i, groups), None if i % 10 == 0 else k + 1
