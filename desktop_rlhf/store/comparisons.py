"""Comparisons: appended, never changed; undo retracts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.store import clock
from desktop_rlhf.store.table import Table, dumps

_STANDING = "FROM comparisons WHERE NOT EXISTS (SELECT 1 FROM retractions WHERE comparison_id = comparisons.id)"


class ComparisonTable(Table):
    """Judgements that were not retracted, unless a method says otherwise."""

    def add(self, comparison: Comparison) -> None:
        """Add one judgement. The same id again changes nothing, so a save may be repeated."""
        with self.store.transaction():
            if self.value("SELECT count(*) FROM comparisons WHERE id = ?", [comparison.id]):
                return
            sql = "SELECT id, to_label FROM groups WHERE id = (SELECT group_id FROM completions WHERE id = ?)"
            (group,) = self.rows(sql, [comparison.completion_ids[0]])
            self.insert(
                "comparisons",
                {
                    "id": comparison.id,
                    "prompt_id": comparison.prompt_id,
                    "group_id": group["id"],
                    "made_here": group["to_label"],
                    "mode": comparison.mode,
                    "outcome": comparison.outcome,
                    "strength": comparison.strength,
                    "flagged": int(comparison.flagged),
                    "labeller": comparison.labeller,
                    "duration_s": float(comparison.duration_s),
                    "created_at": comparison.created_at or clock.now(),
                },
            )
            ranks = comparison.ranks or (None,) * len(comparison.completion_ids)
            for place, (completion_id, rank) in enumerate(zip(comparison.completion_ids, ranks, strict=True)):
                self.insert(
                    "compared",
                    {"comparison_id": comparison.id, "place": place, "completion_id": completion_id, "rank": rank},
                )

    def retract(self, comparison_id: str) -> None:
        """Take a judgement back; it stays in the file. Twice is as once."""
        with self.store.transaction():
            row = {"comparison_id": comparison_id, "created_at": clock.now()}
            self.insert("retractions", row, ignore=True)

    def last(self) -> Comparison | None:
        """The newest judgement that was made here; imported ones have no showing to go back to."""
        found = self._read(f"{_STANDING} AND made_here = 1 ORDER BY rowid DESC LIMIT 1")
        return found[0] if found else None

    def holds_pair(self, prompt_id: str, chosen: str, rejected: str) -> bool:
        """Whether a judgement that stands prefers the one text to the other for this prompt."""
        sql = f"""
            SELECT count(*) FROM (SELECT id {_STANDING} AND prompt_id = ? AND mode = 'pairwise') AS judged
            JOIN compared AS better ON better.comparison_id = judged.id AND better.rank = 1
            JOIN compared AS worse ON worse.comparison_id = judged.id AND worse.rank = 2
            JOIN completions AS a ON a.id = better.completion_id AND a.text = ?
            JOIN completions AS b ON b.id = worse.completion_id AND b.text = ?
        """
        return bool(self.value(sql, [prompt_id, chosen, rejected]))

    def holds_single(self, prompt_id: str, mode: str, outcome: Outcome, text: str) -> bool:
        """Whether a judgement of this mode that stands says this of the one completion for this prompt."""
        sql = f"""
            SELECT count(*) FROM (SELECT id {_STANDING} AND prompt_id = ? AND mode = ? AND outcome = ?) AS judged
            JOIN compared ON compared.comparison_id = judged.id
            JOIN completions ON completions.id = compared.completion_id AND completions.text = ?
        """
        return bool(self.value(sql, [prompt_id, mode, outcome, text]))

    def all(self) -> list[Comparison]:
        """Oldest first."""
        return self._read(f"{_STANDING} ORDER BY rowid")

    def get_all(self, comparison_ids: Sequence[str]) -> list[Comparison]:
        """The judgements with these ids, oldest first, whether they still stand or not."""
        chosen = "FROM comparisons WHERE id IN (SELECT value FROM json_each(?)) ORDER BY rowid"
        return self._read(chosen, [dumps(comparison_ids)])

    def counts(self) -> dict[tuple[str, Outcome], int]:
        """How many there are of each mode and outcome."""
        rows = self.rows("SELECT mode, outcome, sum(n) AS n FROM standing WHERE n > 0 GROUP BY mode, outcome")
        return {(str(row["mode"]), Outcome(row["outcome"])): int(row["n"]) for row in rows}

    def flagged(self) -> int:
        """How many carry a flag."""
        return int(self.value("SELECT coalesce(sum(n), 0) FROM standing WHERE flagged"))

    def modes_of(self, comparison_ids: Sequence[str]) -> dict[str, int]:
        """How many of the judgements with these ids are of each mode, whether they still stand or not."""
        sql = "SELECT mode, count(*) AS n FROM comparisons WHERE id IN (SELECT value FROM json_each(?)) GROUP BY mode"
        return {str(row["mode"]): int(row["n"]) for row in self.rows(sql, [dumps(comparison_ids)])}

    def _read(self, chosen: str, values: Sequence[str] = ()) -> list[Comparison]:
        """``chosen`` is a query from FROM on, which says which judgements and in what order."""
        rows = list(self.rows(f"SELECT * {chosen}", values))
        places: dict[str, list[dict[str, Any]]] = defaultdict(list)
        sql = f"SELECT * FROM compared WHERE comparison_id IN (SELECT id {chosen}) ORDER BY comparison_id, place"
        for place in self.rows(sql, values):
            places[place["comparison_id"]].append(place)
        return [_comparison(row, places[row["id"]]) for row in rows]


def _comparison(row: dict[str, Any], places: list[dict[str, Any]]) -> Comparison:
    ranks = tuple(place["rank"] for place in places)
    return Comparison(
        id=row["id"],
        prompt_id=row["prompt_id"],
        mode=row["mode"],
        completion_ids=tuple(place["completion_id"] for place in places),
        outcome=Outcome(row["outcome"]),
        ranks=() if None in ranks else ranks,
        strength=row["strength"],
        flagged=bool(row["flagged"]),
        labeller=row["labeller"],
        duration_s=row["duration_s"],
        created_at=row["created_at"],
    )
