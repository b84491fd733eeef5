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


@migrations()
def m003_what_is_asked_at_every_key(db: Database) -> None:
    """Which groups wait, how often a prompt was sampled and how many judgements stand are kept and not counted anew;
    what a run learned from stands apart from what is listed of it."""
    usual = db.execute("PRAGMA cache_size").fetchone()[0]
    db.execute("PRAGMA cache_size = -262144")  # of this connection, in kB: a long file is looked up in here and there
    db.execute("DROP TRIGGER comparisons_UPDATE")
    for statement in _KEPT.split(";;"):
        db.execute(statement)
    db.execute(_APPEND_ONLY.format(table="comparisons", event="UPDATE"))
    db.execute(f"PRAGMA cache_size = {usual}")


_KEPT = """
ALTER TABLE groups ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting IN (0, 1));;
ALTER TABLE prompts ADD COLUMN sampled INTEGER NOT NULL DEFAULT 0;;
ALTER TABLE comparisons ADD COLUMN made_here INTEGER NOT NULL DEFAULT 0 CHECK (made_here IN (0, 1));;
CREATE TABLE standing (
    mode TEXT NOT NULL, outcome TEXT NOT NULL, flagged INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (mode, outcome, flagged)
) STRICT, WITHOUT ROWID;;
UPDATE groups SET waiting = 1 WHERE to_label AND NOT EXISTS (
    SELECT 1 FROM comparisons LEFT JOIN retractions ON comparison_id = comparisons.id
    WHERE comparisons.group_id = groups.id AND comparison_id IS NULL);;
UPDATE prompts SET sampled = n
    FROM (SELECT prompt_id, count(*) AS n FROM groups WHERE to_label GROUP BY +prompt_id) AS counted
    WHERE prompt_id = prompts.id;;
DROP INDEX groups_by_prompt;;
UPDATE comparisons SET made_here = 1 WHERE group_id IN (SELECT id FROM groups WHERE to_label);;
INSERT INTO standing SELECT mode, outcome, flagged, count(*) FROM comparisons
    WHERE id NOT IN (SELECT comparison_id FROM retractions) GROUP BY mode, outcome, flagged;;
CREATE INDEX groups_waiting ON groups (waiting) WHERE waiting = 1;;
CREATE INDEX prompts_by_sampled ON prompts (split, sampled);;
CREATE INDEX comparisons_made_here ON comparisons (made_here) WHERE made_here = 1;;
CREATE TRIGGER group_waits AFTER INSERT ON groups WHEN NEW.to_label BEGIN
    UPDATE groups SET waiting = 1 WHERE id = NEW.id;
    UPDATE prompts SET sampled = sampled + 1 WHERE id = NEW.prompt_id;
END;;
CREATE TRIGGER comparison_stands AFTER INSERT ON comparisons BEGIN
    UPDATE groups SET waiting = 0 WHERE id = NEW.group_id AND waiting = 1;
    INSERT INTO standing VALUES (NEW.mode, NEW.outcome, NEW.flagged, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;;
CREATE TRIGGER comparison_stands_no_more AFTER INSERT ON retractions BEGIN
    UPDATE standing SET n = n - 1 WHERE (mode, outcome, flagged) =
        (SELECT mode, outcome, flagged FROM comparisons WHERE id = NEW.comparison_id);
    UPDATE groups SET waiting = 1
    WHERE id = (SELECT group_id FROM comparisons WHERE id = NEW.comparison_id) AND to_label AND NOT EXISTS (
        SELECT 1 FROM comparisons LEFT JOIN retractions ON comparison_id = comparisons.id
        WHERE comparisons.group_id = groups.id AND comparison_id IS NULL);
END;;
CREATE TABLE learned_from (
    run_id TEXT PRIMARY KEY REFERENCES runs (id), comparison_ids TEXT NOT NULL CHECK (json_valid(comparison_ids))
) STRICT;;
INSERT INTO learned_from SELECT id, comparison_ids FROM runs;;
ALTER TABLE runs ADD COLUMN judgements TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(judgements));;
UPDATE runs SET judgements = (SELECT json_group_object(mode, n) FROM (
    SELECT mode, count(*) AS n FROM comparisons
    WHERE id IN (SELECT value FROM json_each(runs.comparison_ids)) GROUP BY mode));;
ALTER TABLE runs DROP COLUMN comparison_ids;;
CREATE INDEX runs_running ON runs (status) WHERE status = 'running'
"""

_APPEND_ONLY = """
CREATE TRIGGER {table}_{event} BEFORE {event} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END
"""

SCHEMA_VERSION = 3
"""How many migrations this program knows; a file that counts more is newer and is refused."""
