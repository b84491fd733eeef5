"""A decoder's own forward for packed rows, for the decoders that have no fused one.

A prompt is computed once where the model takes the mask that hides its completions from one another. Not all do: layers
that look back through a window ignore it, recurrent ones read on from one completion into the next, and some fail. With
these every completion stands in a row of its own behind its prompt.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from desktop_rlhf.adapters.attention import Row, hiding

logger = logging.getLogger(__name__)

FULL = "full_attention"
WINDOWS = ("sliding_window", "attention_chunk_size")
"""What a configuration calls how far a layer looks back."""

TRIED: Row = (8, (4, 6, 2))
TOLERANCE = {torch.float32: 1e-3}
"""Largest difference between packed and apart, as a share of the hidden states' length."""
OF_SHORT = 5e-2
"""The same in shorter formats."""


class PlainTrunk:
    """The trunk of a base as transformers runs it.

    Attributes:
        packs: whether a prompt is computed once for all its completions.
    """

    def __init__(self, base: Any) -> None:
        self._trunk = base.base_model
        self._dtype = base.dtype
        why = _why_by_configuration(base.config.get_text_config()) or self._why_by_trial(base)
        self.packs = not why
        if why:
            logger.warning("each completion is computed behind a prompt of its own: %s", why)

    def __call__(self, ids: Tensor, positions: Tensor, rows: Sequence[Row]) -> Tensor:
        """[B, T, H] hidden states of [B, T] tokens, of padding anything.

        Args:
            positions: [B, T]; those of every completion go on where its prompt ends.
        """
        return self._packed(ids, positions, rows) if self.packs else self._apart(ids, rows)

    def _packed(self, ids: Tensor, positions: Tensor, rows: Sequence[Row]) -> Tensor:
        like = torch.empty(0, dtype=self._dtype, device=ids.device)
        mask = hiding(rows, ids.shape[1], like, torch.finfo(self._dtype).min)
        output = self._trunk(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False)
        states: Tensor = output.last_hidden_state
        return states

    def _apart(self, ids: Tensor, rows: Sequence[Row]) -> Tensor:
        taken, found = [], []  # the tokens of each completion's own row, and where those of ``ids`` are in these
        sizes = [prompt + length for prompt, lengths in rows for length in lengths]
        longest, width, number = max(sizes), ids.shape[1], 0
        for row, (prompt, lengths) in enumerate(rows):
            start = prompt
            found.append(torch.arange(prompt) + number * longest)
            for length in lengths:
                own = torch.cat([torch.arange(prompt), torch.arange(start, start + length)])
                taken.append(own + row * width)
                found.append(torch.arange(prompt, prompt + length) + number * longest)
                start, number = start + length, number + 1
            found.append(torch.zeros(width - start, dtype=torch.long))
        places = pad_sequence(taken, batch_first=True)
        mask = torch.arange(longest) < torch.tensor(sizes)[:, None]
        output = self._trunk(
            input_ids=ids.flatten()[places.to(ids.device)], attention_mask=mask.long().to(ids.device), use_cache=False
        )
        states: Tensor = output.last_hidden_state
        return states.flatten(0, 1).index_select(0, torch.cat(found).to(ids.device)).view(*ids.shape, -1)

    @torch.no_grad()
    def _why_by_trial(self, base: Any) -> str:
        """Why the completions have to stand apart, as a small forward of each kind tells; empty where they need not."""
        prompt, lengths = TRIED
        count = prompt + sum(lengths)
        # From all over the vocabulary but its ends, where special tokens are.
        ids = (torch.arange(count, device=base.device) + 1)[None] * base.config.get_text_config().vocab_size
        ids //= count + 1
        positions = torch.cat([torch.arange(prompt), *(torch.arange(prompt, prompt + own) for own in lengths)])
        apart = self._apart(ids, [TRIED]).float()
        try:
            packed = self._packed(ids, positions[None].to(base.device), [TRIED]).float()
        except Exception as error:  # the model's own code, which may raise anything
            return f"the model's forward takes no mask for each token ({error!r})"
        off = ((packed - apart).norm() / apart.norm()).item()
        allowed = TOLERANCE.get(self._dtype, OF_SHORT)
        return "" if off <= allowed else f"in the model's forward they would see one another ({off:.2g})"


def _why_by_configuration(config: Any) -> str:
    """Why some layers would ignore a mask of [B, 1, T, T], as the configuration tells; empty where it tells of none."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        other = sorted(set(kinds) - {FULL})
        return f"layers of the model are of other kinds ({', '.join(other)})" if other else ""
    windows = [name for name in WINDOWS if getattr(config, name, None) and getattr(config, "use_sliding_window", True)]
    return f"the model's layers look back through a window ({', '.join(windows)})" if windows else ""
