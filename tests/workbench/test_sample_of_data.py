from __future__ import annotations

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.workbench.sample_of_data import Example, Whole


def whole(tokens, batch: int = 2, most: int = 512, name: str = "groups", bad: int = 0):
    inputs = TrainingInputs(None, None, (), (), None, None)
    examples = [Example(f"{place}", size, place >= bad) for place, size in enumerate(sorted(tokens))]
    return Whole(inputs, name, examples, batch, most)


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
