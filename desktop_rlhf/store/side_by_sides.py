"""Blind side by sides, their matches and verdicts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from desktop_rlhf.records.verdicts import SAME_TEXT, Match, SideBySide, Verdict, Winner, WinRate
from desktop_rlhf.store import clock
from desktop_rlhf.store.table import Table

_VERDICTS = """
    FROM verdicts JOIN matches ON matches.id = match_id
    WHERE side_by_side_id = ? AND verdicts.id NOT IN (SELECT verdict_id FROM verdict_retractions)
"""
_OPEN = """
    SELECT * FROM matches WHERE side_by_side_id = ? AND id NOT IN (
        SELECT match_id FROM verdicts WHERE id NOT IN (SELECT verdict_id FROM verdict_retractions))
    ORDER BY rowid LIMIT 1
"""


class SideBySideTable(Table):
    """Verdicts are appended, never changed; undo retracts."""

    def add(self, side_by_side: SideBySide) -> None:
        row = {
            "id": side_by_side.id,
            "candidate_id": side_by_side.candidate_id,
            "baseline_id": side_by_side.baseline_id,
            "planned": side_by_side.planned,
            "created_at": side_by_side.created_at or clock.now(),
        }
        with self.store.transaction():
            self.insert("side_by_sides", row)

    def all(self) -> list[SideBySide]:
        """Newest first."""
        return [SideBySide(**row) for row in self.rows("SELECT * FROM side_by_sides ORDER BY rowid DESC")]

    def get(self, side_by_side_id: str) -> SideBySide:
        """KeyError when there is none."""
        for row in self.rows("SELECT * FROM side_by_sides WHERE id = ?", [side_by_side_id]):
            return SideBySide(**row)
        raise KeyError(side_by_side_id)

    def plan(self, side_by_side_id: str, planned: int) -> None:
        """Decide on another number of matches."""
        with self.store.transaction():
            sql = "UPDATE side_by_sides SET planned = ? WHERE id = ?"
            self.store.db.execute(sql, [planned, side_by_side_id])

    def add_match(self, match: Match) -> None:
        """Add a match whose completions are stored."""
        row = {
            "id": match.id,
            "side_by_side_id": match.side_by_side_id,
            "prompt_id": match.prompt_id,
            "candidate_completion_id": match.candidate_completion_id,
            "baseline_completion_id": match.baseline_completion_id,
            "candidate_on_left": int(match.candidate_on_left),
        }
        with self.store.transaction():
            self.insert("matches", row)

    def match(self, match_id: str) -> Match:
        """KeyError when there is none."""
        for row in self.rows("SELECT * FROM matches WHERE id = ?", [match_id]):
            return _match(row)
        raise KeyError(match_id)

    def matches(self, side_by_side_id: str) -> list[Match]:
        sql = "SELECT * FROM matches WHERE side_by_side_id = ? ORDER BY rowid"
        return [_match(row) for row in self.rows(sql, [side_by_side_id])]

    def first_open(self, side_by_side_id: str) -> Match | None:
        """The oldest match without a verdict."""
        return next((_match(row) for row in self.rows(_OPEN, [side_by_side_id])), None)

    def add_verdict(self, verdict: Verdict) -> None:
        """Add one verdict. The same id again changes nothing."""
        row = {
            "id": verdict.id,
            "match_id": verdict.match_id,
            "winner": verdict.winner,
            "labeller": verdict.labeller,
            "duration_s": float(verdict.duration_s),
            "created_at": verdict.created_at or clock.now(),
        }
        with self.store.transaction():
            self.insert("verdicts", row, ignore=True)

    def retract_last(self, side_by_side_id: str) -> Match | None:
        """Take the newest verdict that somebody gave back and give its match; None when there is none."""
        with self.store.transaction():
            sql = f"SELECT verdicts.id, match_id {_VERDICTS} AND labeller <> ? ORDER BY verdicts.rowid DESC LIMIT 1"
            for row in self.rows(sql, [side_by_side_id, SAME_TEXT]):
                self.insert("verdict_retractions", {"verdict_id": row["id"], "created_at": clock.now()})
                return self.match(row["match_id"])
        return None

    def verdicts(self, side_by_side_id: str) -> list[Verdict]:
        """Those that stand, oldest first."""
        rows = self.rows(f"SELECT verdicts.* {_VERDICTS} ORDER BY verdicts.rowid", [side_by_side_id])
        return [Verdict(**row | {"winner": Winner(row["winner"])}) for row in rows]

    def win_rate(self, side_by_side_id: str) -> WinRate:
        rows = list(self.rows(f"SELECT winner, labeller {_VERDICTS}", [side_by_side_id]))
        counts = Counter(str(row["winner"]) for row in rows)
        same = sum(row["labeller"] == SAME_TEXT for row in rows)
        return WinRate(counts[Winner.CANDIDATE], counts[Winner.BASELINE], counts[Winner.TIE], same)


def _match(row: dict[str, Any]) -> Match:
    return Match(**row | {"candidate_on_left": bool(row["candidate_on_left"])})
