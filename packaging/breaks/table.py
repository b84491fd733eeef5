"""The whole table, group by group."""

from __future__ import annotations

from breaks.dpo import DPO
from breaks.logprobs import LOGPROBS
from breaks.ppo import PPO
from breaks.reward import REWARD
from breaks.row import Advice, Break, Row

GROUPS: dict[str, tuple[Row | Advice, ...]] = {
    "Log-probabilities": LOGPROBS,
    "DPO": DPO,
    "Reward model": REWARD,
    "PPO and its kin": PPO,
}


def broken_rows(only: str | None = None) -> list[tuple[str, Break]]:
    """Every break with its row's id, in the table's order; with ``only`` those of that row."""
    return [
        (row.id, one)
        for rows in GROUPS.values()
        for row in rows
        if isinstance(row, Row) and only in (None, row.id)
        for one in row.breaks
    ]
