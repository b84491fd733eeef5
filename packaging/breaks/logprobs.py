"""Rows on log-probabilities, the base that everything else stands on."""

from __future__ import annotations

from breaks.row import Advice, Row

LOGPROBS: tuple[Row | Advice, ...] = ()
