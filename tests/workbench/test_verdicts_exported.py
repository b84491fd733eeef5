"""Verdicts of blind side by sides, written to a file."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import BadInputError, NotEnoughDataError
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.records.runs import Run
from desktop_rlhf.records.verdicts import Match


@pytest.fixture
def compared(project):
    """The ids of two side by sides: an adapter called ``kind`` with the base, and the base with the adapter."""
    store = project._store
    store.runs.add(Run("run", "dpo", {}, None, None, {}, {}))
    store.adapters.add(Adapter("id", "kind", AdapterKind.POLICY, None, "run", "adapters/kind", ""))
    made = []
    for sides in (("id", None), (None, "id")):
        pair = project.side_by_side(*sides, 4)
        for number, prompt in enumerate(project.prompts(Split.HELD_OUT)[:4]):
            ids = [f"{pair.id} {number} {side}" for side in sides]
            for id, side in zip(ids, sides, strict=True):
                text = f"{side or 'base'} says {number}"
                one = Completion(id, prompt.id, id, side, text, (1,), True, Sampler(), 0)
                store.completions.add_group([one], to_label=False)
            match = Match(f"{pair.id} {number}", pair.id, prompt.id, *ids, candidate_on_left=number % 2 == 0)
            store.side_by_sides.add_match(match)
        made.append(pair.id)
    return made


def judge(project, side_by_side_id: str, *choices: str) -> None:
    for choice in choices:
        project.save_verdict(project.next_match(side_by_side_id), choice, duration_s=1.5)


def written(project, tmp_path) -> list[dict]:
    count = project.export("verdicts", tmp_path / "verdicts.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == count
    return rows


def test_that_a_verdict_is_written_with_both_completions_and_whose_they_are(project, compared, tmp_path) -> None:
    judge(project, compared[0], "left")
    asked = project.prompts(Split.HELD_OUT)[0].text
    (row,) = written(project, tmp_path)
    assert row.pop("created_at")
    assert row == {
        "prompt": [{"role": "user", "content": asked}],
        "candidate": [{"role": "assistant", "content": "id says 0"}],
        "baseline": [{"role": "assistant", "content": "base says 0"}],
        "winner": "candidate",
        "candidate_adapter": "kind",
        "baseline_adapter": "base",
        "candidate_on_left": True,
        "side_by_side_id": compared[0],
        "labeller": "me",
        "duration_s": 1.5,
        "tags": [],
        "split": "held_out",
    }


def test_that_the_rows_add_up_to_the_win_rate_and_what_was_taken_back_is_not_among_them(
    project, compared, tmp_path
) -> None:
    judge(project, compared[1], "left", "tie")
    judge(project, compared[0], "left", "left", "tie", "right")
    project.undo_verdict(compared[0])
    judge(project, compared[0], "left")
    rows = written(project, tmp_path)
    assert [row["side_by_side_id"] for row in rows] == [compared[0]] * 4 + [compared[1]] * 2
    assert [row["candidate"][0]["content"] for row in rows[4:]] == ["base says 0", "base says 1"]
    assert {(row["candidate_adapter"], row["baseline_adapter"]) for row in rows[4:]} == {("base", "kind")}
    for id in compared:
        won = Counter(row["winner"] for row in rows if row["side_by_side_id"] == id)
        rate = project.win_rate(id)
        assert (won["candidate"], won["baseline"], won["tie"]) == (rate.wins, rate.losses, rate.ties)


def test_that_the_import_takes_no_comparisons_from_verdicts(project, compared, tmp_path) -> None:
    judge(project, compared[0], "left", "tie")
    written(project, tmp_path)
    report = project.import_file(tmp_path / "verdicts.jsonl")
    assert (report.rows, report.prompts, report.comparisons) == (2, 0, 0)


def test_that_without_a_verdict_or_with_another_ending_no_file_is_written(project, compared, tmp_path) -> None:
    with pytest.raises(NotEnoughDataError, match="There are no verdicts"):
        project.export("verdicts", tmp_path / "verdicts.jsonl")
    judge(project, compared[0], "left")
    with pytest.raises(BadInputError, match="cannot hold verdicts"):
        project.export("verdicts", tmp_path / "verdicts.csv")
    assert not list(tmp_path.glob("verdicts*"))
