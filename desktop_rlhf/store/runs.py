"""Runs with their curves, samples and notes."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.runs.events import SampleShown
from desktop_rlhf.store import clock
from desktop_rlhf.store.table import Table, dumps


class RunTable(Table):
    """A run is added when it starts and gets exactly one ending each time it runs."""

    def add(self, run: Run, comparison_ids: Sequence[str] = ()) -> None:
        """Add a run with the judgements that it is to learn from, in order."""
        with self.store.transaction():
            self.insert(
                "runs",
                {
                    "id": run.id,
                    "algorithm": run.algorithm,
                    "settings": dumps(dict(run.settings)),
                    "parent_adapter_id": run.parent_adapter_id,
                    "reward_adapter_id": run.reward_adapter_id,
                    "judgements": dumps(dict(run.judgements)),
                    "provenance": dumps(dict(run.provenance)),
                    "status": run.status,
                    "reason": run.reason,
                    "report": dumps(dict(run.report)),
                    "created_at": run.created_at or clock.now(),
                    "ended_at": run.ended_at,
                    "adapter_name": run.adapter_name,
                },
            )
            self.insert("learned_from", {"run_id": run.id, "comparison_ids": dumps(comparison_ids)})

    def end(self, run_id: str, status: RunStatus, reason: str = "", report: Mapping[str, object] | None = None) -> None:
        """Give a running run its ending; a run that has one keeps it."""
        with self.store.transaction():
            self.store.db.execute(
                "UPDATE runs SET status = ?, reason = ?, report = ?, ended_at = ? WHERE id = ? AND status = 'running'",
                [status, reason, dumps(dict(report or {})), clock.now(), run_id],
            )

    def reopen(self, run_id: str) -> None:
        """Let a run that has an ending run again."""
        with self.store.transaction():
            self.store.db.execute(
                "UPDATE runs SET status = 'running', reason = '', ended_at = '' WHERE id = ?", [run_id]
            )

    def interrupt_running(self) -> int:
        """Mark what was running when the program ended; gives how many there were."""
        with self.store.transaction():
            reason = "The program ended while it ran."
            return self.store.db.execute(
                "UPDATE runs SET status = 'interrupted', reason = ?, ended_at = ? WHERE status = 'running'",
                [reason, clock.now()],
            ).rowcount

    def record(
        self,
        run_id: str,
        points: Sequence[MetricPoint] = (),
        samples: Sequence[SampleShown] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """Add curve points, samples and notes in one commit. A point that is there already is written over."""
        with self.store.transaction():
            self.store.db.conn.executemany(
                "INSERT OR REPLACE INTO metrics (run_id, name, step, value, not_finite) VALUES (?, ?, ?, ?, ?)",
                ((run_id, point.name, point.step, *_in_words(point.value)) for point in points),
            )
            for shown in samples:
                self.insert(
                    "samples",
                    {
                        "run_id": run_id,
                        "step": shown.step,
                        "prompt": shown.prompt,
                        "completion": shown.completion,
                        "reward": shown.reward,
                    },
                )
            for sentence in notes:
                self.insert("notes", {"run_id": run_id, "sentence": sentence})

    def all(self) -> list[Run]:
        """Newest first."""
        return [_run(row) for row in self.rows("SELECT * FROM runs ORDER BY rowid DESC")]

    def get(self, run_id: str) -> Run:
        """KeyError when there is none."""
        for row in self.rows("SELECT * FROM runs WHERE id = ?", [run_id]):
            return _run(row)
        raise KeyError(run_id)

    def newest(self, algorithm: str) -> Run | None:
        """The one that was started last."""
        sql = "SELECT * FROM runs WHERE algorithm = ? ORDER BY rowid DESC LIMIT 1"
        return next(map(_run, self.rows(sql, [algorithm])), None)

    def comparison_ids(self, run_id: str) -> tuple[str, ...]:
        """The judgements that a run learned from, in order."""
        found = self.rows("SELECT comparison_ids FROM learned_from WHERE run_id = ?", [run_id])
        return tuple(id for row in found for id in json.loads(row["comparison_ids"]))

    def metrics(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """Every curve of a run, (step, value) by step."""
        sql = "SELECT name, step, coalesce(value, not_finite) FROM metrics WHERE run_id = ? ORDER BY name, step"
        curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for name, step, value in self.store.db.execute(sql, [run_id]).fetchall():
            curves[name].append((step, float(value)))
        return dict(curves)

    def points(self, run_id: str, name: str, after: int, most: int) -> list[tuple[int, float]]:
        """(step, value) of one curve by step: the first ``most`` of those that come after the step ``after``."""
        sql = """
            SELECT step, coalesce(value, not_finite) FROM metrics WHERE run_id = ? AND name = ? AND step > ?
            ORDER BY step LIMIT ?
        """
        return [(step, float(value)) for step, value in self.store.db.execute(sql, [run_id, name, after, most])]

    def samples(self, run_id: str) -> list[SampleShown]:
        rows = self.rows(
            "SELECT step, prompt, completion, reward FROM samples WHERE run_id = ? ORDER BY rowid", [run_id]
        )
        return [SampleShown(**row) for row in rows]

    def notes(self, run_id: str) -> list[str]:
        return [
            row["sentence"] for row in self.rows("SELECT sentence FROM notes WHERE run_id = ? ORDER BY rowid", [run_id])
        ]


def _in_words(value: float) -> tuple[float | None, str | None]:
    """(value, None), or (None, its name) for one that SQLite would take for NULL or cannot hold."""
    return (float(value), None) if math.isfinite(value) else (None, str(float(value)))


def _run(row: dict[str, Any]) -> Run:
    read = {name: json.loads(row[name]) for name in ("settings", "judgements", "provenance", "report")}
    return Run(**row | read | {"status": RunStatus(row["status"])})
