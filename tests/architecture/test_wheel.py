"""What is built for others holds the whole program: its code and the resources that stand beside it in a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    alone = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*PIP, "wheel", *alone, "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("desktop_rlhf-*.whl"))


@pytest.mark.slow
def test_that_the_wheel_holds_every_module_and_every_resource(wheel: Path):
    expected = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("desktop_rlhf/**/*.py")}
    expected |= {f"desktop_rlhf/{p.relative_to(ROOT).as_posix()}" for p in ROOT.glob("resources/**/*") if p.is_file()}
    with zipfile.ZipFile(wheel) as opened:
        assert {name for name in opened.namelist() if ".dist-info/" not in name} == expected


@pytest.mark.slow
def test_that_an_installed_wheel_finds_its_resources(wheel: Path, tmp_path: Path):
    target = tmp_path / "site"
    subprocess.run([*PIP, "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel], check=True)
    ask = "from desktop_rlhf.settings import resources_path; print(resources_path() / 'prompts' / 'starter.jsonl')"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = Path(told.stdout.strip())
    assert found.is_relative_to(target)
    assert found.read_bytes() == (ROOT / "resources" / "prompts" / "starter.jsonl").read_bytes()
