"""Rows on DPO."""

from __future__ import annotations

from breaks.row import Advice, Row

DPO: tuple[Row | Advice, ...] = ()
