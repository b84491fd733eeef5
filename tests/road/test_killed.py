from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.project import Project

HERE = Path(__file__).parent
KILLS = 12


def add_groups(project: Path, count: int) -> None:
    store = Store.open(project / STORE_FILE)
    prompts = store.prompts.all()
    for number in range(count):
        group_id = uuid4().hex
        pair = [
            Completion(uuid4().hex, prompts[number % 9].id, group_id, None, f"{number} {k}", (1,), True, Sampler(), k)
            for k in range(2)
        ]
        store.completions.add_group(pair, to_label=True)
    store.close()


def test_that_no_saved_judgement_is_lost_by_kill_9(tmp_path, tiny_model_path) -> None:
    """Killed at random moments, with the judgements it reported compared to those in the file after each kill."""
    path = tmp_path / "project"
    Project.create(path, base_model=str(tiny_model_path)).close()
    add_groups(path, 300)
    acknowledged: list[str] = []
    moments = random.Random(7)
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, str(HERE / "labeller.py"), str(path)], stdout=subprocess.PIPE, text=True,
            cwd=HERE.parent.parent, env=os.environ | {"PYTHONPATH": "."},
        )  # fmt: skip
        assert process.stdout is not None
        acknowledged.append(process.stdout.readline().strip())
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        rest = process.stdout.read()
        process.stdout.close()
        process.wait()
        acknowledged += [line for line in rest.split("\n")[:-1]]  # a line that was cut off was not acknowledged
        store = Store.open(path / STORE_FILE)
        stored = [row["id"] for row in store.db["comparisons"].rows]
        assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        store.close()
        assert set(acknowledged) <= set(stored)
        assert len(stored) == len(set(stored))
        assert len(stored) - len(acknowledged) <= KILLS  # saved, but killed before it was said
    assert len(acknowledged) > KILLS
    Project.open(path).close()


def import_preferences(project: Project, folder: Path) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": f"question {n % 5}"}],
         "chosen": [{"role": "assistant", "content": f"short {n}"}],
         "rejected": [{"role": "assistant", "content": f"a longer answer {n}"}]}
        for n in range(12)
    ]  # fmt: skip
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    project.import_file(folder / "pairs.jsonl")


def test_that_a_run_killed_again_and_again_ends_with_the_bytes_of_one_never_killed(tmp_path, tiny_model_path) -> None:
    """kill -9 at random moments, inside the writing of a checkpoint among them; each time another process goes on."""
    hashes = []
    moments = random.Random(3)
    for kills in (0, 6):
        path = tmp_path / f"project-{kills}"
        project = Project.create(path, base_model=str(tiny_model_path), starter_prompts=False)
        import_preferences(project, tmp_path)
        project.close()
        killed = 0
        while True:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "trainer.py"), str(path)], stdout=subprocess.PIPE, text=True,
                stderr=subprocess.DEVNULL, cwd=HERE.parent.parent, env=os.environ | {"PYTHONPATH": "."},
            )  # fmt: skip
            assert process.stdout is not None
            for _ in range(3):  # its model is read and its training under way
                process.stdout.readline()
            if killed < kills:
                time.sleep(moments.uniform(0, 0.15))
                process.kill()
                killed += 1
            said = process.stdout.read()
            process.stdout.close()
            if process.wait() == 0:
                break
        assert said.strip().endswith("completed")
        project = Project.open(path)
        (run,) = project.runs()
        assert run.status == "completed"
        steps = [step for step, _ in project.metrics(run.id)["loss"]]
        assert steps == list(range(1, 241))
        hashes.append(project.adapters()[0].sha256)
        project.close()
    assert killed == 6
    assert hashes[0] == hashes[1]
