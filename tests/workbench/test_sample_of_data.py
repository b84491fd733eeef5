from __future__ import annotations

from array import array
from dataclasses import replace
from types import SimpleNamespace

import torch

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.workbench.sample_of_data import Example, Whole

MODEL = SimpleNamespace(fused=object(), packs=True, device=torch.device("cpu"))


def whole(tokens, batch: int = 2, most: int = 512, name: str = "groups", bad: int = 0):
    """Examples of so many tokens, their prompts each of one token of its own."""
    kinds = [(Example(f"{place}", array("i", [place]), size - 1), place) for place, size in enumerate(sorted(tokens))]
    return of_examples([replace(one, kind=place >= bad) for one, place in kinds], batch, most, name)


def of_examples(examples: list[Example], batch: int, most: int, name: str = "groups"):
    ordered = sorted(examples, key=lambda one: one.tokens)
    return Whole(TrainingInputs(MODEL, None, (), (), None, None), name, ordered, batch, most)


def sizes(part) -> list[int]:
    return sorted(one.tokens for one in part.examples)


def test_that_a_part_has_examples_of_every_length() -> None:
    parts = list(whole(range(1, 101)).spread())
    first = sizes(parts[0])
    assert len(first) == 12
    assert first[0] < 10
    assert first[-1] > 90
    assert abs(parts[0].tokens - 50.5) < 1
    assert [len(part.examples) for part in parts] == [12, 24, 48, 96, 100]
    assert set(parts[0].inputs.groups) == {one.source for one in parts[0].examples}


def test_that_a_part_has_examples_of_both_kinds() -> None:
    part = next(whole(range(1, 101), name="judged", bad=2).spread())
    assert {one.kind for one in part.examples} == {True, False}


def test_that_a_part_is_of_whole_batches_unless_they_are_large() -> None:
    assert len(next(whole(range(100), batch=5).spread()).examples) == 15
    assert len(next(whole(range(100), batch=64).spread()).examples) == 12
    assert len(next(whole(range(100), batch=6, name="prompts").spread()).examples) == 6


def test_that_the_largest_batch_is_the_one_of_which_most_goes_through_the_model_at_once() -> None:
    assert sizes(whole([10, 20, 600, 30, 700]).largest()) == [600, 700]
    # Two of 250 share a forward of 512; two of 300 do not.
    assert sizes(whole([10, 20, 250, 250, 300, 300]).largest()) == [250, 250]
    assert sizes(whole([10, 20, 250, 250, 300, 300], most=100).largest()) == [300, 300]
    assert sizes(whole([10, 20, 250, 250, 300, 300], name="prompts").largest()) == [250, 250]


def test_that_the_largest_batch_is_told_by_what_is_computed_of_it() -> None:
    opening = list(range(200))
    alike = [Example("alike", array("i", [*opening, number]), 59) for number in (1, 2)]  # 320 are computed of both
    apart = [Example("apart", array("i", [number] * 400), 100) for number in (3, 4)]  # each goes alone
    assert {one.source for one in of_examples([*alike, *apart], 2, 512).largest().examples} == {"apart"}


def test_that_the_largest_batch_is_of_prompts_that_a_run_may_bring_together() -> None:
    judged = [Example(f"{number}", array("i", [number] * 220), 30) for number in range(4) for _ in range(4)]
    assert {one.source for one in of_examples(judged, 4, 512).largest().examples} == {"0", "1", "2", "3"}
    assert len(of_examples(judged[:4], 4, 512).largest().examples) == 4  # there is but one prompt
