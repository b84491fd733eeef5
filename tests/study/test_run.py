"""A whole study, as small as it can be, with a tiny model."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from desktop_rlhf.records.errors import BadInputError
from study import hh
from study.bench import Bench
from study.plan import Plan
from study.report import write
from study.run import Study

TINY = Plan(
    name="tiny",
    labels=(8, 12),
    held_out_prompts=4,
    held_out_rounds=1,
    frontier_labels=8,
    strengths={"dpo": (0.1, 0.3), "ppo": (1,), "rloo": (1,)},
    fresh_per_prompt=1,
    hh_pairs=None,
)


def test_that_a_study_gives_its_figures_and_goes_on_where_it_was(tiny_model_path: Path, tmp_path: Path) -> None:
    said: list[str] = []
    figures = Study(TINY, tmp_path / "study", said.append, str(tiny_model_path)).figures(None, False)
    counts = {pooling: [row["count"] for row in rows] for pooling, rows in figures["reward"].items()}
    assert counts == {"mean": [8, 12], "last": [8, 12]}
    points = {name: [row["strength"] for row in rows] for name, rows in figures["frontier"]["policies"].items()}
    assert points == {"dpo": [0.1, 0.3], "ppo": [1], "rloo": [1]}
    assert figures["human"] is None
    assert any("left" in line for line in said)

    again = Study(TINY, tmp_path / "study", said.append, str(tiny_model_path)).figures(None, False)
    assert again == figures, "everything was remembered and nothing made anew"

    write(figures, tmp_path)
    assert json.loads((tmp_path / "trainers.json").read_text(encoding="utf-8")) == json.loads(json.dumps(figures))
    note = (tmp_path / "trainers.md").read_text(encoding="utf-8")
    assert "Not measured yet" not in note
    assert "Left out: the study was run without `--hh FILE`." in note


def test_that_human_pairs_come_in_by_the_import_of_the_program(tiny_model_path: Path, tmp_path: Path) -> None:
    dialogue = "\n\nHuman: Hi\n\nAssistant: {}"
    rows = [{"chosen": dialogue.format(f"yes {i}"), "rejected": dialogue.format("no" if i else "")} for i in range(4)]
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    bench = Bench(tmp_path / "bench", print, str(tiny_model_path), starter_prompts=False)
    try:
        assert hh.imported(bench, path, 3) == {"rows": 3, "unusable": 1, "comparisons": 2}
    finally:
        bench.close()
    (tmp_path / "broken.jsonl.gz").write_bytes(path.read_bytes()[:-20])
    other = Bench(tmp_path / "other", print, str(tiny_model_path), starter_prompts=False)
    try:
        for name in ("broken.jsonl.gz", "none.jsonl"):
            with pytest.raises(BadInputError):
                hh.imported(other, tmp_path / name, None)
    finally:
        other.close()
