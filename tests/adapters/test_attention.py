from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import pad

from desktop_rlhf.adapters import attention
from desktop_rlhf.adapters.attention import (
    PieceAttention,
    RowAttention,
    TiledAttention,
    _pieces,
    _together,
    attention_over,
)

HEADS, KEY_HEADS, SIZE = 4, 2, 16
ROWS = {
    "one completion": [(5, (3,))],
    "siblings": [(40, (30, 7, 33))],
    "a prompt alone": [(24, ())],
    "rows of like and unlike sizes": [(20, (9, 8)), (1, (1,)), (22, (10, 6)), (70, (40, 64, 1))],
}


OPENED = {
    "one completion each": ([(15, (3,)), (12, (5,)), (11, (1,))], 9),
    "siblings too": ([(40, (30, 7)), (25, (33, 1, 20)), (24, (2,)), (90, (40, 40))], 23),
    "prompts alone": ([(24, ()), (30, ()), (20, ())], 10),
}


def tokens_of(rows: list, opening: int = 0) -> int:
    return sum(prompt + sum(lengths) for prompt, lengths in rows) - opening * (len(rows) - 1)


def by_hand(rows: list, like: torch.Tensor, opening: int) -> Callable[..., tuple[torch.Tensor, ...]]:
    """Attention from a list, for every token, of those that it sees."""
    sees: list[list[int]] = []
    for number, (prompt, lengths) in enumerate(rows):
        shared = list(range(opening if number else 0))
        own = list(range(len(sees), len(sees) + prompt - len(shared)))
        sees += [[*shared, *own[: place + 1]] for place in range(len(own))]
        for length in lengths:
            completion = list(range(len(sees), len(sees) + length))
            sees += [[*shared, *own, *completion[: place + 1]] for place in range(length)]
    return lambda query, key, value: (
        torch.stack([seen_by(query[place], key[seen], value[seen]) for place, seen in enumerate(sees)]),
        torch.zeros_like(query[len(sees) :]),
    )


def seen_by(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """[heads, D] for one token."""
    keys, values = (t.repeat_interleave(HEADS // KEY_HEADS, dim=1) for t in (keys, values))
    scores = torch.einsum("hd,thd->ht", query, keys) / SIZE**0.5
    return torch.einsum("ht,thd->hd", scores.softmax(-1), values)


def measured(kind: Callable, rows: list, dtype: torch.dtype, spare: int = 3, opening: int = 0) -> list[torch.Tensor]:
    """What is seen, and the gradients of queries, keys and values, all in float32."""
    count = tokens_of(rows, opening)
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(count, heads, SIZE, generator=generator) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    weights = torch.randn(count, HEADS, SIZE, generator=generator)
    given = [pad(each, (0, 0, 0, 0, 0, spare), value=9.0).to(dtype).requires_grad_() for each in drawn]
    seen = torch.cat(kind(rows, given[0], *([opening] if opening else []))(*given))
    assert seen.shape == given[0].shape
    gradients = torch.autograd.grad((seen[:count].float() * weights).sum(), given)
    return [seen[:count].detach().float(), *(gradient.float() for gradient in gradients)]


@pytest.mark.parametrize("cost", [0, 1_000_000], ids=["hardly padded", "all together"])
@pytest.mark.parametrize("block", [32, 256])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_that_tiles_see_what_the_librarys_kernel_sees(rows, block, cost, monkeypatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", block)
    monkeypatch.setattr(attention, "BATCH_COST", cost)
    for ours, theirs in zip(
        measured(TiledAttention, rows, torch.float32), measured(PieceAttention, rows, torch.float32), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert theirs.abs().max() > 0.1


@pytest.mark.parametrize("cost", [0, 1_000_000], ids=["hardly padded", "all together"])
@pytest.mark.parametrize("kind", [TiledAttention, PieceAttention])
@pytest.mark.parametrize(("rows", "opening"), OPENED.values(), ids=OPENED)
def test_that_every_row_sees_the_opening_where_the_first_has_it(rows, opening, kind, cost, monkeypatch) -> None:
    monkeypatch.setattr(attention, "BATCH_COST", cost)
    made = (measured(each, rows, torch.float32, opening=opening) for each in (kind, by_hand))
    for ours, theirs in zip(*made, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert theirs.abs().max() > 0.1


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_that_whole_rows_see_what_the_pieces_see(rows) -> None:
    for ours, theirs in zip(
        measured(RowAttention, rows, torch.float32), measured(PieceAttention, rows, torch.float32), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_that_rows_of_like_lengths_go_together_and_padding_is_never_more_than_the_tokens() -> None:
    rows = [(40, (30, 7)), (400, (50, 50)), (64, ()), (500, (11,)), (3, (1,)), (100, (27,))]
    laid_out = RowAttention(rows, torch.zeros(1))
    assert [(count, width) for count, width, _ in laid_out._batches] == [(2, 128), (2, 512), (1, 64), (1, 32)]
    # Where nothing forks nothing but what comes later is hidden, which takes no mask.
    assert [mask is None for _, _, mask in laid_out._batches] == [False, False, True, True]
    assert len(set(laid_out._places.tolist())) == sum(prompt + sum(lengths) for prompt, lengths in rows)


@pytest.mark.parametrize("kind", [TiledAttention, RowAttention, PieceAttention])
def test_that_attention_in_bfloat16_stays_within_a_hundredth_of_float32(kind) -> None:
    rows = ROWS["rows of like and unlike sizes"]
    for short, wide in zip(
        measured(kind, rows, torch.bfloat16), measured(PieceAttention, rows, torch.float32), strict=True
    ):
        assert (short - wide).norm() < 0.01 * wide.norm()


@pytest.mark.parametrize("kind", [TiledAttention, RowAttention])
def test_that_padding_has_no_gradient_of_its_own(kind) -> None:
    """Tokens behind the rows are seen by nobody, whatever they hold."""
    rows = ROWS["siblings"]
    few, many = (measured(kind, rows, torch.bfloat16, spare) for spare in (0, 40))
    assert torch.equal(few[0], many[0])
    for gradient in many[1:]:
        assert not gradient[-40:].any()


def test_that_pieces_go_together_as_long_as_padding_costs_less_than_a_batch(monkeypatch) -> None:
    def sizes(cost: int) -> list[list[int]]:
        monkeypatch.setattr(attention, "BATCH_COST", cost)
        rows = [(length, ()) for length in (30, 31, 60, 200)]
        return sorted(sorted(len(piece.own) for piece in batch) for batch, _, _ in _together(_pieces(rows)))

    assert sizes(0) == [[30, 31], [60], [200]]
    # Two of 32 padded to 64 are 2 * (64 * 64 - 32 * 32) more.
    assert sizes(2 * (64 * 64 - 32 * 32)) == [[30, 31], [60], [200]]
    assert sizes(2 * (64 * 64 - 32 * 32) + 1) == [[30, 31, 60], [200]]
    assert sizes(1_000_000) == [[30, 31, 60, 200]]


def test_that_every_device_and_format_gets_the_attention_that_is_fastest_there() -> None:
    short, wide = (torch.zeros(8, 4, dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    assert isinstance(attention_over([(5, (3,))], short), TiledAttention)
    assert isinstance(attention_over([(5, (3,))], short, learns=False), PieceAttention)
    assert isinstance(attention_over([(5, (3,))], wide), PieceAttention)
    for like in (short, wide):
        assert isinstance(attention_over([(5, (3,))], like.to("meta")), RowAttention)
