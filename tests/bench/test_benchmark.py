"""The benchmark: who runs when and on what, what its rows say, and that both sides get the same tokens."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bench import ours_dpo, ours_ppo, ours_reward, ours_sample, report, rows
from bench.__main__ import main
from bench.driver import Pairing, probed
from bench.inputs import Inputs, spread
from bench.ours import load, prompts
from bench.plan import NAMES, PROBES, SMALL, WORKS, Figure, Probe
from bench.processes import Measured, ProcessFailedError, measured, said
from desktop_rlhf.records.errors import NotEnoughDataError

DPO, _, PPO, SAMPLE = WORKS
PLAN = dataclasses.replace(SMALL, rounds=3)
SETTINGS = ({"name": "slow"}, {"name": "fast"}, {"name": "broken"})
PAIRS = [{"prompt_ids": [0] * size} for size in range(20)]

FAKE = """
import json, pathlib, sys
name, rates, megabytes, file = *sys.argv[1:4], json.loads(pathlib.Path(sys.argv[4]).read_text())
setting = file.get("setting", {}).get("name", "float32")
log = pathlib.Path("log")
before = log.read_text().splitlines() if log.exists() else []
log.write_text("\\n".join([*before, f"{name} {setting} {len(file['pairs'])}"]))
if setting == "broken":
    sys.exit("out of memory")
rates = json.loads(rates)
turn = sum(line.startswith(f"{name} {setting} {len(file['pairs'])}") for line in before)
rate = 1 if setting == "slow" else rates[turn % len(rates)]
print("some other line")
print(json.dumps({"seconds": 2, "items": 2 * rate, "peak_mb": float(megabytes), "setting": setting}))
"""


@pytest.fixture
def side(tmp_path: Path):
    """A process that says what it is told to, and writes into a log that it was there."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)

    def make(name: str, rates: list[float], megabytes: float):
        return partial(measured, [sys.executable, script, name, json.dumps(rates), str(megabytes)], tmp_path)

    return make


def pairing(ours, peer, settings=SETTINGS) -> Pairing:
    return Pairing(DPO, PLAN, {"pairs": PAIRS}, ours, peer, settings, lambda line: None)


def test_that_the_peers_settings_are_tried_and_the_fastest_takes_turns_with_ours(side, tmp_path: Path):
    row = pairing(side("ours", [30, 40, 80], 100), side("peer", [10, 5, 20], 300)).row()
    assert (tmp_path / "log").read_text().splitlines() == [
        "peer slow 8", "peer fast 8", "peer broken 8", *["ours float32 20", "peer fast 20"] * 3
    ]  # fmt: skip
    assert row.runs["trials"]["slow"] == 1
    assert "out of memory" in row.runs["trials"]["broken"]
    assert (row.setting_ours, row.setting_peer, row.note) == ("float32", "fast", "")


def test_that_a_ratio_above_1_is_ours_better_and_everything_is_a_median_of_the_rounds(side):
    row = pairing(side("ours", [30, 40, 80], 100), side("peer", [10, 5, 20], 300)).row()
    assert (row.ours, row.peer) == (40, 10)
    assert row.ratio == 4, "the median of 3, 8 and 4, not the ratio of the medians' runs"
    assert (row.memory_ours_mb, row.memory_peer_mb, row.memory_ratio) == (100, 300, 3)
    assert row.better == "higher"
    assert row.met is False
    assert (row.goal, row.memory_goal) == (6.0, 2.5)
    assert pairing(side("ours", [60], 100), side("peer", [10], 300)).row().met
    assert not pairing(side("ours", [60], 100), side("peer", [10], 200)).row().met, "it takes too much memory"


def test_that_ours_runs_alone_without_a_peer(side, tmp_path: Path):
    row = pairing(side("ours", [3, 1, 2], 50), None).row()
    assert (row.ours, row.memory_ours_mb) == (2, 50)
    assert (row.peer, row.ratio, row.memory_ratio, row.met) == (None, None, None, None)
    assert (row.goal, row.memory_goal) == (None, None), "they are of ratios, and there is none"
    assert (tmp_path / "log").read_text().split("\n") == ["ours float32 20"] * 3


def test_that_a_peer_that_never_works_is_named_and_nothing_is_made_up(side):
    row = pairing(side("ours", [3], 50), side("peer", [1], 50), [{"name": "broken"}]).row()
    assert "out of memory" in row.note
    assert "TRL 1.16" in row.note
    assert (row.ours, row.peer, row.ratio) == (None, None, None)


def test_that_rounds_that_were_finished_count_when_a_later_one_fails():
    turns = iter([1.0, 2.0])

    def ours(_: Any) -> Measured:
        return Measured(1, 10, 100, "float32")

    def peer(_: Any) -> Measured:
        if (rate := next(turns, None)) is None:
            raise ProcessFailedError("killed")
        return Measured(1, rate, 100, "fast")

    row = pairing(ours, peer, [{"name": "fast"}]).row()
    assert row.note == "killed"
    assert (row.ours, row.peer, row.ratio) == (10, 2, 5)
    assert len(row.runs["ours"]) == len(row.runs["peer"]) == 1


def test_that_a_process_that_fails_or_says_nothing_is_an_error_with_its_last_words(tmp_path: Path):
    with pytest.raises(ProcessFailedError, match="exit code 3"):
        said([sys.executable, "-c", "print('{}'); raise SystemExit(3)"], tmp_path)
    with pytest.raises(ProcessFailedError, match="exit code 0. nothing"):
        said([sys.executable, "-c", "print('nothing')"], tmp_path)
    with pytest.raises(ProcessFailedError, match="could not be started"):
        said([tmp_path / "python"], tmp_path)


def test_that_a_figure_without_a_peer_is_held_against_its_goal():
    figure = Figure("lateness", "ms", ("late", "p99"), 50.0)
    row = rows.of_figure("lateness", figure, {"late": {"p99": 50}})
    assert (row.ours, row.peer, row.ratio, row.goal, row.better, row.met) == (50, None, None, 50, "lower", True)
    assert rows.of_figure("lateness", figure, {"late": {"p99": 51}}).met is False
    missing = rows.of_figure("lateness", figure, {"late": 3})
    assert (missing.ours, missing.met) == (None, None)
    assert "late.p99" in missing.note


def test_that_a_probe_that_is_not_there_is_said_to_be_absent(tmp_path: Path):
    probe = Probe("nosuchprobe", (Figure("one", "s", ("ours",), 1.0), Figure("more", "ms", ("more",), 2.0)))
    found = probed(probe, SMALL, tmp_path, lambda line: None)
    assert [row.note for row in found] == ["there is no bench.probes.nosuchprobe"] * 2
    assert [row.ours for row in found] == [None, None]


def test_that_the_json_holds_every_row_with_its_unit_direction_and_goal(side, tmp_path: Path):
    paired = pairing(side("ours", [30], 100), side("peer", [10], 300)).row()
    saving = rows.of_figure("store", Figure("saving a label", "ms", ("save",), 10.0), {"save": 7})
    without_peer = pairing(side("ours", [30], 100), None).row()
    report.write([paired, saving, without_peer], tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())["rows"]
    names = {
        "work", "figure", "ours", "peer", "unit", "ratio", "memory_ours_mb", "memory_peer_mb", "memory_ratio", "goal",
        "better",
    }  # fmt: skip
    assert all(names <= row.keys() for row in found)
    assert [row["ratio"] for row in found] == [3, None, None]
    assert [row["goal"] for row in found] == [6, 10, None]
    table = report.table([paired, saving])
    assert "≥ 6" in table
    assert "saving a label" in table
    assert "≥" not in report.table([without_peer])
    assert "≤ 10" in table
    assert "TRL 1.16, fast" in table


@pytest.mark.parametrize(
    ("ended", "commit"),
    [
        pytest.param(subprocess.CompletedProcess("git", 0, "c0ffee\n"), "c0ffee", id="a checkout"),
        pytest.param(subprocess.CompletedProcess("git", 128, ""), None, id="no checkout"),
        pytest.param(FileNotFoundError(), None, id="no git"),
    ],
)
def test_that_git_says_nothing_where_it_is_not(ended, commit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subprocess, "run", Mock(side_effect=[ended]))
    assert report.git("rev-parse", "HEAD") == commit


def test_that_the_json_holds_the_commit_and_the_kind_of_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = {("rev-parse", "HEAD"): "c0ffee", ("diff", "--name-only", "HEAD"): ""}
    monkeypatch.setattr(report, "git", lambda *arguments: said[arguments])
    monkeypatch.setattr(report, "processor", lambda: "a fast one")
    report.write([], tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["code"] == {"commit": "c0ffee", "changed_since": False}
    assert found["machine"]["processor"] == "a fast one"


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_that_no_two_rows_of_a_probe_are_of_the_same_figure(probe: Probe):
    found = [rows.of_figure(probe.name, figure, {}) for figure in probe.figures]
    assert [row.figure for row in found] == list(dict.fromkeys(figure.name for figure in probe.figures))
    assert all(row.figure for row in found)


def test_that_every_work_and_probe_can_be_asked_for_alone(capsys: pytest.CaptureFixture[str]):
    assert len(NAMES) == len(set(NAMES)) == len(WORKS) + len(PROBES)
    for wrong in (["--only", "dpo,fly"], ["--against", "verl"], ["--rounds", "0"]):
        with pytest.raises(SystemExit):
            main(wrong)
    assert "there is no fly" in capsys.readouterr().err


def test_that_what_both_sides_work_on_is_the_same_each_time_and_within_its_lengths(tiny_model_path: Path):
    first, second = (Inputs(SMALL, tiny_model_path) for _ in range(2))
    for work in WORKS:
        assert first.of(work.name) == second.of(work.name)
    pairs = first.of("dpo")["pairs"]
    assert len(pairs) == 4 * (1 + SMALL.steps)
    assert len(first.of("ppo")["prompts"]) == SMALL.episodes * (1 + SMALL.updates)
    assert len({len(pair["chosen_ids"]) for pair in pairs}) > 1
    least, most = SMALL.completions.least, SMALL.completions.most
    assert all(least <= len(pair[side]) <= most for pair in pairs for side in ("chosen_ids", "rejected_ids"))
    assert first.of("sample") == first.of("sample")


def test_that_ours_refuses_prompts_that_are_other_tokens_to_it(tiny_model_path: Path):
    inputs = Inputs(SMALL, tiny_model_path).of("sample")
    model = load(inputs)
    assert len(prompts(model, inputs["prompts"])) == SMALL.sampled
    inputs["prompts"][1]["prompt_ids"][-1] += 1
    with pytest.raises(ValueError, match="prompt 1"):
        prompts(model, inputs["prompts"])


def test_that_pairs_come_from_a_file_when_there_is_one(tiny_model_path: Path, tmp_path: Path):
    file = tmp_path / "pairs.jsonl"
    lines = [{"prompt": f"Number {number}?", "chosen": "Yes.", "rejected": "No."} for number in range(20)]
    lines[0]["chosen"] = "far too long " * 100
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    pairs = Inputs(SMALL, tiny_model_path, file).of("reward")["pairs"]
    assert len(pairs) == 4 * (1 + SMALL.steps)
    assert pairs[0]["messages"] == [["user", "Number 1?"]]
    file.write_text(json.dumps(lines[1]))
    with pytest.raises(NotEnoughDataError, match="holds 1 pairs"):
        Inputs(SMALL, tiny_model_path, file)


def test_that_a_trial_has_prompts_from_short_to_long(tiny_model_path: Path):
    chosen = [len(row["prompt_ids"]) for row in spread(PAIRS, 4)]
    assert chosen == [2, 7, 12, 17]
    assert len(spread(PAIRS, 99)) == len(PAIRS)


@pytest.mark.parametrize(
    ("process", "work", "items"),
    [
        (ours_dpo, "dpo", 4 * SMALL.steps),
        (ours_reward, "reward", 4 * SMALL.steps),
        (ours_ppo, "ppo", SMALL.episodes * SMALL.updates),
        (ours_sample, "sample", None),
    ],
)
def test_that_ours_does_the_whole_work_and_says_how_much_it_was(
    process, work: str, items: int | None, tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
):
    process.main(Inputs(SMALL, tiny_model_path).of(work))
    found = Measured(**json.loads(capsys.readouterr().out))
    most = SMALL.sampled * SMALL.copies * SMALL.sample_new
    assert found.items == items if items is not None else 0 < found.items <= most
    assert found.seconds > 0
    assert found.setting == "float32"


@pytest.mark.slow
def test_that_a_small_benchmark_runs_ours_and_transformers_as_processes(tmp_path: Path):
    assert main(["--small", "--only", "sample", "--rounds", "1", "--json", str(tmp_path / "found.json")]) == 0
    (row,) = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert row["work"] == "sample"
    assert row["ratio"] == pytest.approx(row["ours"] / row["peer"])
    assert min(row["memory_ours_mb"], row["memory_peer_mb"]) > 100
    assert row["setting_peer"] in row["runs"]["trials"]
