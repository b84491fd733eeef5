from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
JUDGE = f"{shlex.quote(sys.executable)} {shlex.quote(str(HERE / 'judge.py'))}"


def walk(base: str, project: Path) -> dict[str, dict]:
    """The road in a process of its own, with neither offline flags nor anything else from this one's environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    command = [sys.executable, str(HERE / "walk.py"), base, str(project), JUDGE]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=HERE.parent.parent, env=environment | {"PYTHONPATH": "."}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(seen: dict[str, dict]) -> None:
    assert seen["attempts"] == []
    assert seen["sample"]["groups"] == 24
    assert seen["label"]["judged"] == 24
    assert {seen[name]["status"] for name in ("reward", "dpo", "ppo")} == {"completed"}
    assert seen["compare"]["n"] == 6
    assert seen["export"]["written"] > 10
    ppo, dpo, reward = seen["runs"]["runs"]
    assert ppo["adapter"]["parent_id"] == dpo["adapter"]["id"]
    assert ppo["reward_adapter_id"] == reward["adapter"]["id"]
    assert sum(dpo["judgements"].values()) == seen["label"]["ranked"]


def test_that_the_road_is_walked_by_verbs_without_one_attempt_at_the_network(tiny_model_path, tmp_path) -> None:
    check(walk(str(tiny_model_path), tmp_path / "project"))


@pytest.mark.slow
def test_that_the_road_is_walked_with_the_starter_model(tmp_path) -> None:
    check(walk("-", tmp_path / "project"))
