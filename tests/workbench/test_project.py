from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from desktop_rlhf.prompts import starter
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.errors import BadInputError, DiskFullError, ModelFolderError, ProjectBusyError, ProjectError
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.records.runs import Run, RunStatus
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.project import Project


def test_that_a_shown_order_is_shuffled_kept_and_stored(project, work, sampling) -> None:
    work(sampling(3))
    orders = set()
    while (showing := project.next_showing()) is not None:
        assert project.next_showing() == showing
        sampled = [c.seed for c in project._store.completions.group(showing.group_id)]
        orders.add(tuple(sampled.index(c.seed) for c in showing.completions))
        saved = project.save_comparison(showing, Outcome.RANKED, (2, 1, 3), strength=2, duration_s=1.25)
        assert saved.completion_ids == tuple(c.id for c in showing.completions)
    assert len(orders) > 1
    assert project.label_counts().ranked == 12


def test_that_undo_goes_back_one_judgement_at_a_time_even_after_a_restart(labelled: Project) -> None:
    before = labelled.comparisons()
    labelled.close()
    again = Project.open(labelled.path)
    shown = again.undo()
    assert shown is not None
    assert [c.id for c in shown.completions] == list(before[-1].completion_ids)
    assert again.comparisons() == before[:-1]
    second = again.undo()
    assert second is not None
    assert [c.id for c in second.completions] == list(before[-2].completion_ids)
    for _ in before[:-2]:
        again.undo()
    assert again.undo() is None
    again.close()


def test_that_imported_preferences_are_comparisons_and_come_out_again(project: Project, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"q{i}"}],
            "chosen": [{"role": "assistant", "content": f"good {i}"}],
            "rejected": [{"role": "assistant", "content": f"bad {i}"}],
        }
        for i in range(5)
    ]
    (tmp_path / "prefs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = project.import_file(tmp_path / "prefs.jsonl")
    assert (report.prompts, report.comparisons) == (5, 5)
    assert project.export("comparisons", tmp_path / "out.jsonl") == 5
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in written] == rows
    assert project.label_counts().waiting == 0


def test_that_a_file_that_cannot_be_read_changes_nothing(project: Project, tmp_path: Path) -> None:
    before = project.prompts()
    (tmp_path / "bad.jsonl").write_text('{"prompt": "fine"}\n{"prompt": ')
    with pytest.raises(BadInputError):
        project.import_file(tmp_path / "bad.jsonl")
    assert project.prompts() == before


def test_that_a_prompt_comes_in_once(project: Project, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("question 0\nsomething new\n")
    report = project.import_file(tmp_path / "more.txt", Split.HELD_OUT)
    assert (report.prompts, report.duplicates) == (1, 1)


def test_that_a_project_opens_in_one_place_at_a_time(project: Project) -> None:
    with pytest.raises(ProjectBusyError):
        Project.open(project.path)
    code = f"import pathlib, desktop_rlhf.workbench.project as p; p.Project.open(pathlib.Path({str(project.path)!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ProjectBusyError" in other.stderr
    project.close()
    Project.open(project.path).close()


def test_that_a_run_that_was_running_is_found_interrupted(labelled: Project) -> None:
    from desktop_rlhf.records.runs import Run

    labelled._store.runs.add(Run("r", "dpo", {}, None, None, {}, {}))
    labelled.close()
    again = Project.open(labelled.path)
    assert again.run("r").status is RunStatus.INTERRUPTED
    again.close()


def test_that_a_folder_with_something_in_it_is_not_made_a_project(tmp_path: Path, tiny_model_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(ProjectError, match="not empty"):
        Project.create(tmp_path / "full", base_model=str(tiny_model_path))
    with pytest.raises(ProjectError, match="holds no project"):
        Project.open(tmp_path / "nothing")
    with pytest.raises(ModelFolderError):
        Project.create(tmp_path / "new", base_model=str(tmp_path / "no-model"))
    assert not (tmp_path / "new").exists()


def test_that_imported_preferences_come_in_once_and_are_not_what_undo_takes_back(
    labelled: Project, tmp_path: Path
) -> None:
    row = {"prompt": [{"role": "user", "content": "q"}]}
    row |= {name: [{"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    (tmp_path / "prefs.jsonl").write_text(json.dumps(row))
    mine = labelled.comparisons()
    assert labelled.import_file(tmp_path / "prefs.jsonl").comparisons == 1
    assert labelled.import_file(tmp_path / "prefs.jsonl").comparisons == 0
    shown = labelled.undo()
    assert shown is not None
    assert [c.id for c in shown.completions] == list(mine[-1].completion_ids)
    assert len(labelled.comparisons()) == len(mine)


def test_that_a_project_whose_making_breaks_off_leaves_nothing(
    tmp_path: Path, tiny_model_path: Path, monkeypatch
) -> None:
    def full(*_):
        raise DiskFullError("There is no room left.")

    monkeypatch.setattr(starter, "starter_prompts", full)
    with pytest.raises(DiskFullError):
        Project.create(tmp_path / "new", base_model=str(tiny_model_path))
    assert not (tmp_path / "new").exists()
    monkeypatch.undo()
    Project.create(tmp_path / "new", base_model=str(tiny_model_path)).close()


def test_that_a_damaged_file_is_one_sentence(labelled: Project) -> None:
    labelled._store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    labelled.close()
    path = labelled.path / STORE_FILE
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\x55" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(ProjectError):
        Project.open(labelled.path)


def test_that_the_last_settings_are_of_the_newest_run_without_an_adapters_shape(project: Project) -> None:
    assert project.last_settings("dpo") == {}
    store = Store.open(project.path / STORE_FILE)
    asked = {"beta": 0.2, "lora_rank": 4, "lora_alpha": 8}
    store.runs.add(Run("r1", "dpo", asked | {"beta": 0.1}, None, None, {}, {}))
    store.runs.add(Run("r2", "dpo", asked, None, None, {}, {}))
    store.adapters.add(Adapter("made", "dpo 1", AdapterKind.POLICY, None, "r2", "adapters/made", "0" * 64))
    store.runs.add(Run("r3", "ppo", asked | {"updates": 3}, "made", None, {}, {}))
    store.close()
    assert project.last_settings("dpo") == {"beta": 0.2}
    assert project.last_settings("ppo") == {"beta": 0.2, "updates": 3}
