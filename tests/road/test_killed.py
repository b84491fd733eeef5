from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.project import STORE_FILE, Project

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
