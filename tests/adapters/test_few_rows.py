"""Which way a few rows are multiplied: tried once on a computer, and the same ever after."""

from __future__ import annotations

import json
import platform
from types import SimpleNamespace

import pytest
import torch

from desktop_rlhf import settings
from desktop_rlhf.adapters import few_rows, processor
from desktop_rlhf.adapters.few_rows import WAYS, faster, way_for

WEIGHTS = [torch.randn(*sides, generator=torch.Generator().manual_seed(0)) for sides in ((6, 4), (3, 5))]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(settings, "tried_path", lambda: tmp_path / "tried")


@pytest.fixture
def answers(monkeypatch):
    """What each trial finds, in turn; a trial too many fails."""
    found: list[str] = []

    def next_one(weights):
        assert found, "tried once too often"
        return found.pop(0)

    monkeypatch.setattr(few_rows, "faster", next_one)
    return found


@pytest.mark.parametrize("bias", [None, torch.arange(6.0)])
def test_that_both_ways_make_the_same(bias) -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    wanted = x @ WEIGHTS[0].T + (0 if bias is None else bias)
    for way in WAYS.values():
        torch.testing.assert_close(way(x, WEIGHTS[0], bias), wanted)


@pytest.mark.parametrize(("times", "way"), [(0.5, "columns"), (2.0, "rows")])
def test_that_few_rows_go_the_faster_way(monkeypatch, times, way) -> None:
    """``times`` is how many times as long as by rows it takes by columns."""
    now = 0.0

    def lasting(seconds):
        def product(x, weights, bias):
            nonlocal now
            now += seconds
            return x @ weights.T

        return product

    monkeypatch.setattr(few_rows, "WAYS", {"rows": lasting(1.0), "columns": lasting(times)})
    monkeypatch.setattr(few_rows, "time", SimpleNamespace(perf_counter=lambda: now))
    assert faster(WEIGHTS) == way


@pytest.mark.parametrize("way", WAYS)
def test_that_it_is_tried_once_and_then_remembered(answers, way) -> None:
    answers.append(way)
    assert [way_for(WEIGHTS) for _ in range(3)] == [way] * 3


def test_that_other_weights_another_torch_other_threads_and_another_processor_are_tried_by_themselves(
    answers, monkeypatch
) -> None:
    answers += ["rows", "columns", "rows", "columns", "rows"]
    assert (way_for(WEIGHTS), way_for(WEIGHTS[:1])) == ("rows", "columns")
    monkeypatch.setattr(torch, "__version__", "99.1")
    assert way_for(WEIGHTS[:1]) == "rows"
    monkeypatch.setattr(platform, "processor", lambda: "another")
    assert way_for(WEIGHTS[:1]) == "columns"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert way_for(WEIGHTS[:1]) == "rows"
    assert not answers


def test_that_a_processor_is_told_from_others_where_python_does_not_know_it(answers, monkeypatch, tmp_path) -> None:
    answers += ["rows", "columns", "rows"]
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert way_for(WEIGHTS) == "rows"  # as where there is no such file
    for model, way in (("2", "columns"), ("3", "rows"), ("2", "columns")):
        text = f"processor\t: 0\ncpu MHz\t\t: {torch.rand(1).item()}\nmodel\t\t: {model}\n\nprocessor\t: 1\n"
        processor.CPUINFO.write_text(text)
        assert way_for(WEIGHTS) == way
    assert not answers


def test_that_of_two_programs_that_try_at_a_time_the_first_is_right(monkeypatch) -> None:
    def other_was_first(weights):
        monkeypatch.setattr(few_rows, "faster", lambda weights: "rows")
        assert way_for(weights) == "rows"
        return "columns"

    monkeypatch.setattr(few_rows, "faster", other_was_first)
    assert way_for(WEIGHTS) == "rows"


@pytest.mark.parametrize("kept", ["", "no JSON", "[]", "7", "{}", json.dumps({"few rows go by": "magic"})])
def test_that_an_answer_that_cannot_be_read_is_the_same_at_every_start(answers, caplog, kept) -> None:
    answers.append("rows")
    way_for(WEIGHTS)
    (file,) = settings.tried_path().iterdir()
    file.write_text(kept)
    assert [way_for(WEIGHTS) for _ in range(2)] == ["columns"] * 2


PLACES = {"a file": "file", "below a file": "file/tried", "a name that no system takes": "n" * 300}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_that_with_no_place_to_keep_it_columns_are_taken_at_every_start(
    answers, caplog, monkeypatch, tmp_path, place
) -> None:
    """Else one start could go one way and the next another."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(settings, "tried_path", lambda: tmp_path / place)
    answers += ["rows", "rows"]
    assert [way_for(WEIGHTS) for _ in range(2)] == ["columns"] * 2
    assert "could not be kept" in caplog.text
