from __future__ import annotations

import json
import math

import pytest

from desktop_rlhf.prompts.starter import starter_prompts
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.workbench import demo


def test_that_the_rule_prefers_short_lines_and_nothing_least() -> None:
    assert demo.line_length("one\n\ntwo2") == 4
    assert demo.line_length("a long line of text") == 19
    assert demo.line_length(" \n") == demo.line_length("") > 1000
    texts = ["a long line of text", "short", "", "five5"]
    completions = [Completion(str(i), "p", "g", None, t, (1,), True, Sampler(), 0) for i, t in enumerate(texts)]
    assert demo.ranks_by_rule(completions) == (2, 1, 3, 1)


def test_that_the_demo_has_enough_prompts_on_both_sides() -> None:
    asked = [prompt for prompt in starter_prompts() if "refuse" not in prompt.tags]
    assert sum(prompt.split is Split.TRAIN for prompt in asked) >= demo.TRAIN_PROMPTS >= 120
    assert sum(prompt.split is Split.HELD_OUT for prompt in asked) >= demo.HELD_OUT_PROMPTS >= 80


def test_that_the_demo_writes_every_figure_it_promises(tmp_path, tiny_model_path, monkeypatch) -> None:
    monkeypatch.setattr(demo, "TRAIN_PROMPTS", 20)
    monkeypatch.setattr(demo, "HELD_OUT_PROMPTS", 7)
    monkeypatch.setattr(demo, "SAMPLER", Sampler(max_new_tokens=6))
    monkeypatch.setattr(demo, "PPO", {"updates": 2, "max_new_tokens": 6})
    said: list[str] = []
    demo.run_demo(tmp_path / "figures.json", None, said.append, base_model=str(tiny_model_path))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["comparisons"] == 20
    assert set(figures["reward"]) >= {"held_out_accuracy", "low", "high", "n"}
    for name, fewest in (("dpo", 3), ("ppo", 2)):
        found = figures[name]
        assert found["n"] == found["wins"] + found["losses"] + found["ties"] == 7
        assert found["win_rate"] == pytest.approx((found["wins"] + found["ties"] / 2) / 7)
        assert found["low"] < found["win_rate"] < found["high"] or found["win_rate"] in (0, 1)
        assert [point["step"] for point in found["series"]] == list(range(1, len(found["series"]) + 1))
        assert len(found["series"]) >= fewest
        assert all(math.isfinite(point["reward"]) and math.isfinite(point["kl"]) for point in found["series"])
    stages = [stage["name"] for stage in figures["stages"]]
    assert stages == ["sample", "label", "reward", "dpo", "compare dpo", "ppo", "compare ppo"]
    assert all(stage["seconds"] >= 0 and stage["peak_mb"] > 0 for stage in figures["stages"])
