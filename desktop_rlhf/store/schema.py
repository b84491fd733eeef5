"""The tables, as migrations that only ever grow at the end."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

APPLICATION_ID = 0x524C4846  # marks the file as one of ours
migrations = Migrations("desktop_rlhf")


@migrations()
def m001_the_road(db: Database) -> None:
    for statement in _THE_ROAD.split(";;"):
        db.execute(statement)
    for table in ("comparisons", "compared", "verdicts"):
        for event in ("UPDATE", "DELETE"):
            db.execute(_APPEND_ONLY.format(table=table, event=event))


_THE_ROAD = """
CREATE TABLE project (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, base_model TEXT NOT NULL, base_sha256 TEXT NOT NULL,
    labeller TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT;;
CREATE TABLE prompts (
    id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, messages TEXT NOT NULL CHECK (json_valid(messages)),
    tags TEXT NOT NULL CHECK (json_valid(tags)), split TEXT NOT NULL CHECK (split IN ('train', 'held_out')),
    source TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT;;
CREATE TABLE runs (
    id TEXT PRIMARY KEY, algorithm TEXT NOT NULL, settings TEXT NOT NULL CHECK (json_valid(settings)),
    parent_adapter_id TEXT REFERENCES adapters (id), reward_adapter_id TEXT REFERENCES adapters (id),
    comparison_ids TEXT NOT NULL CHECK (json_valid(comparison_ids)),
    provenance TEXT NOT NULL CHECK (json_valid(provenance)),
    status TEXT NOT NULL CHECK (status IN ('running', 'completed', 'stopped', 'failed', 'interrupted')),
    reason TEXT NOT NULL, report TEXT NOT NULL CHECK (json_valid(report)),
    created_at TEXT NOT NULL, ended_at TEXT NOT NULL
) STRICT;;
CREATE TABLE adapters (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('policy', 'reward')),
    parent_id TEXT REFERENCES adapters (id), run_id TEXT NOT NULL REFERENCES runs (id),
    path TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT;;
CREATE TABLE groups (
    id TEXT PRIMARY KEY, prompt_id TEXT NOT NULL REFERENCES prompts (id),
    to_label INTEGER NOT NULL CHECK (to_label IN (0, 1))
) STRICT;;
CREATE INDEX groups_by_prompt ON groups (prompt_id);;
CREATE TABLE completions (
    id TEXT PRIMARY KEY, prompt_id TEXT NOT NULL REFERENCES prompts (id),
    group_id TEXT NOT NULL REFERENCES groups (id), adapter_id TEXT REFERENCES adapters (id), text TEXT NOT NULL,
    completion_ids TEXT NOT NULL CHECK (json_valid(completion_ids)), ended INTEGER NOT NULL CHECK (ended IN (0, 1)),
    sampler TEXT NOT NULL CHECK (json_valid(sampler)), seed INTEGER NOT NULL, created_at TEXT NOT NULL
) STRICT;;
CREATE INDEX completions_by_group ON completions (group_id);;
CREATE TABLE comparisons (
    id TEXT PRIMARY KEY, prompt_id TEXT NOT NULL REFERENCES prompts (id),
    group_id TEXT NOT NULL REFERENCES groups (id), mode TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('ranked', 'tie', 'both_bad', 'skipped')),
    strength INTEGER CHECK (strength BETWEEN 1 AND 4), flagged INTEGER NOT NULL CHECK (flagged IN (0, 1)),
    labeller TEXT NOT NULL, duration_s REAL NOT NULL, created_at TEXT NOT NULL
) STRICT;;
CREATE INDEX comparisons_by_group ON comparisons (group_id);;
CREATE INDEX comparisons_by_prompt ON comparisons (prompt_id);;
CREATE TABLE compared (
    comparison_id TEXT NOT NULL REFERENCES comparisons (id), place INTEGER NOT NULL,
    completion_id TEXT NOT NULL REFERENCES completions (id), rank INTEGER CHECK (rank >= 1),
    PRIMARY KEY (comparison_id, place), UNIQUE (comparison_id, completion_id)
) STRICT, WITHOUT ROWID;;
CREATE TABLE retractions (
    comparison_id TEXT PRIMARY KEY REFERENCES comparisons (id), created_at TEXT NOT NULL
) STRICT;;
CREATE TABLE metrics (
    run_id TEXT NOT NULL REFERENCES runs (id), name TEXT NOT NULL, step INTEGER NOT NULL, value REAL,
    not_finite TEXT CHECK (not_finite IN ('nan', 'inf', '-inf')), PRIMARY KEY (run_id, name, step),
    CHECK ((value IS NULL) = (not_finite IS NOT NULL))
) STRICT, WITHOUT ROWID;;
CREATE TABLE samples (
    run_id TEXT NOT NULL REFERENCES runs (id), step INTEGER NOT NULL, prompt TEXT NOT NULL, completion TEXT NOT NULL,
    reward REAL
) STRICT;;
CREATE INDEX samples_by_run ON samples (run_id);;
CREATE TABLE notes (run_id TEXT NOT NULL REFERENCES runs (id), sentence TEXT NOT NULL) STRICT;;
CREATE TABLE side_by_sides (
    id TEXT PRIMARY KEY, candidate_id TEXT REFERENCES adapters (id), baseline_id TEXT REFERENCES adapters (id),
    planned INTEGER NOT NULL, created_at TEXT NOT NULL
) STRICT;;
CREATE TABLE matches (
    id TEXT PRIMARY KEY, side_by_side_id TEXT NOT NULL REFERENCES side_by_sides (id),
    prompt_id TEXT NOT NULL REFERENCES prompts (id),
    candidate_completion_id TEXT NOT NULL REFERENCES completions (id),
    baseline_completion_id TEXT NOT NULL REFERENCES completions (id),
    candidate_on_left INTEGER NOT NULL CHECK (candidate_on_left IN (0, 1)), UNIQUE (side_by_side_id, prompt_id)
) STRICT;;
CREATE TABLE verdicts (
    id TEXT PRIMARY KEY, match_id TEXT NOT NULL REFERENCES matches (id),
    winner TEXT NOT NULL CHECK (winner IN ('candidate', 'baseline', 'tie')), labeller TEXT NOT NULL,
    duration_s REAL NOT NULL, created_at TEXT NOT NULL
) STRICT;;
CREATE INDEX verdicts_by_match ON verdicts (match_id);;
CREATE TABLE verdict_retractions (
    verdict_id TEXT PRIMARY KEY REFERENCES verdicts (id), created_at TEXT NOT NULL
) STRICT
"""


@migrations()
def m002_the_name_a_run_was_to_give(db: Database) -> None:
    """A run that goes on later still knows what its adapter is to be called."""
    db.execute("ALTER TABLE runs ADD COLUMN adapter_name TEXT NOT NULL DEFAULT ''")


_APPEND_ONLY = """
CREATE TRIGGER {table}_{event} BEFORE {event} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END
"""

SCHEMA_VERSION = 2
"""How many migrations this program knows; a file that counts more is newer and is refused."""
