"""The benchmark for a GPU, on the CPU with a tiny shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench import gpu, gpu_figures
from bench.gpu_figures import SMALL, made, weights


def test_that_the_small_benchmark_runs_on_the_cpu_and_writes_every_figure(tmp_path: Path):
    assert gpu.main(["--device", "cpu", "--small", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["device"], found["dtype"], found["peak_is"]) == ("cpu", "float32", "measured")
    assert {"dpo", "reward", "ppo", "decoding"} < set(found)
    of_pair, of_episode = SMALL.prompt + 2 * SMALL.completion, SMALL.prompt / 4 + SMALL.new
    for name, unit, tokens in (
        ("dpo", "pairs_per_s", of_pair),
        ("reward", "pairs_per_s", of_pair),
        ("ppo", "episodes_per_s", of_episode),
    ):
        own = found[name]
        assert own["tokens_per_s"] == pytest.approx(own[unit] * tokens)
        assert own["share_of_peak"] == pytest.approx(own[unit] * own["flops_each"] / found["peak_flops"])
        assert own["peak_memory_mb"] > 0
    assert min(found["decoding"]["peak_memory_mb"], found["decoding"]["tokens_per_s"]) > 0


def test_that_a_pairs_operations_are_those_of_its_tokens_worked_by_hand(tmp_path: Path):
    """Two layers of 64 and 128, 4 heads of 16 of which 2 hold keys; 12 tokens and twice 6; a vocabulary of 300."""
    model = made(SMALL, torch.device("cpu"), torch.float32)
    trunk, projection = weights(model)
    assert trunk == 2 * (64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128)
    assert projection == 300 * 64
    adapter = 2 * 4 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128))
    each = {own.__name__: own(SMALL, model, 1e9)["flops_each"] for own in (gpu_figures.dpo, gpu_figures.reward)}
    assert each["dpo"] == 6 * (trunk + adapter) * 24 + 6 * projection * 12
    assert each["reward"] == (4 * trunk + 6 * adapter) * 24
    # A quarter of a prompt of 12, and 6 tokens: written, scored three times and learned from four times.
    episode = gpu_figures.ppo(SMALL, model, 1e9)["flops_each"]
    assert episode == (24 * trunk + 32 * adapter) * 9 + 22 * projection * 6
    assert weights(model) == (trunk, projection)


def test_that_without_a_gpu_it_says_so_in_a_sentence_and_fails(monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("desktop_rlhf.adapters.devices.chosen_device", lambda asked: torch.device("cpu"))
    for arguments in ([], ["--look"], ["--device", "cuda"]):
        assert gpu.main(arguments) == 1
        said = capsys.readouterr()
        assert said.err.startswith("There is no GPU here")
        assert said.err.count("\n") == 1
        assert said.out == ""
