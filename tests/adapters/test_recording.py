"""When work is recorded and when it is played back; tests/gpu does both on a GPU."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from desktop_rlhf.adapters.recording import Recording, Recordings


def work(size: int, x: torch.Tensor) -> torch.Tensor:
    done.append((size, len(x)))
    return x * size


done: list[tuple[int, int]] = []


@pytest.fixture
def recordings(monkeypatch):
    """Its recordings do the work where a GPU would play it back, from the places that were recorded."""
    done.clear()
    monkeypatch.setattr(Recordings, "refused", False)

    def recorded(self: Recordings, own, size: int, inputs: tuple[torch.Tensor, ...]) -> Recording:
        places, output = tuple(torch.full_like(tensor, -1) for tensor in inputs), torch.zeros_like(inputs[0])
        return Recording(SimpleNamespace(replay=lambda: output.copy_(places[0] * size)), places, output)

    monkeypatch.setattr(Recordings, "_recorded", recorded)
    return Recordings()


def test_that_the_first_of_a_size_is_done_and_every_further_one_played_back(recordings) -> None:
    given = [torch.tensor([float(number), 7.0]) for number in range(4)]
    made = [recordings(work, 3, x) for x in given]
    assert done == [(3, 2)]
    for x, own in zip(given, made, strict=True):
        assert torch.equal(own, 3 * x)  # one that is played later does not write into an earlier one


def test_that_another_size_and_another_number_of_rows_are_recorded_apart(recordings) -> None:
    for _ in range(2):
        assert recordings(work, 3, torch.ones(2)).tolist() == [3, 3]
        assert recordings(work, 4, torch.ones(2)).tolist() == [4, 4]
        assert recordings(work, 3, torch.ones(1)).tolist() == [3]
    assert done == [(3, 2), (4, 2), (3, 1)]


def test_that_what_cannot_be_recorded_is_done_as_it_is_and_the_log_says_why(recordings, monkeypatch, caplog) -> None:
    def refused(*_: object) -> Recording:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Recordings, "_recorded", refused)
    with caplog.at_level(logging.WARNING):
        assert [recordings(work, 2, torch.ones(1)).item() for _ in range(4)] == [2] * 4
    assert done == [(2, 1)] * 4
    assert Recordings().refused
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not permitted when stream is capturing" in caplog.text
