"""Rows on the reward model."""

from __future__ import annotations

from breaks.row import Advice, Row

REWARD: tuple[Row | Advice, ...] = ()
