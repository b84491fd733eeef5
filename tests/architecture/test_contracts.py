"""Each import contract is broken once, in a copy, and must be the one that complains."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sysconfig.get_path("scripts")) / "lint-imports"

BREAKS = [
    ("The road runs one way", "records/errors.py", "import desktop_rlhf.workbench.messages"),
    ("The road runs one way", "gui/theme.py", "import desktop_rlhf.cli"),
    ("The road runs one way", "newcomer/__init__.py", ""),
    ("Qt lives in gui only", "workbench/messages.py", "import PySide6.QtCore"),
    ("Qt lives in gui only", "cli/__init__.py", "import pyqtgraph"),
    ("SQLite lives in store only", "workbench/messages.py", "import sqlite3"),
    ("SQLite lives in store only", "gui/theme.py", "import sqlite_utils"),
    ("The model libraries stay below the workbench", "gui/theme.py", "import torch"),
    ("The model libraries stay below the workbench", "store/schema.py", "import transformers"),
    ("The model libraries stay below the workbench", "runs/spec.py", "import peft"),
    ("Nothing is pickled", "adapters/folders.py", "import pickle"),
    ("The program never imports what it is compared with", "policy/dpo/train.py", "import trl"),
    ("The program never imports what it is compared with", "gui/theme.py", "import datasets"),
    ("The store knows no stage", "store/schema.py", "import desktop_rlhf.reward.spec"),
    ("Policy algorithms do not know each other", "policy/dpo/spec.py", "import desktop_rlhf.policy.ppo.spec"),
    ("Pages do not know each other", "gui/pages/one.py", "import desktop_rlhf.gui.pages.two"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "desktop_rlhf", tmp_path / "desktop_rlhf", ignore=shutil.ignore_patterns("__pycache__"))
    for page in ("one", "two"):
        (tmp_path / "desktop_rlhf" / "gui" / "pages" / f"{page}.py").write_text("")
    return tmp_path


def lint_imports(copy: Path) -> tuple[int, str]:
    """The exit code, and what was said about the copy, which stands before any installed package on the path."""
    said = subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=copy, capture_output=True, text=True)
    return said.returncode, said.stdout


def test_that_all_contracts_hold_as_the_code_stands(copy: Path):
    code, said = lint_imports(copy)
    assert code == 0, said
    assert "0 broken" in said


@pytest.mark.parametrize(("contract", "file", "line"), BREAKS)
def test_that_breaking_a_contract_is_reported_by_its_name(copy: Path, contract: str, file: str, line: str):
    broken = copy / "desktop_rlhf" / file
    broken.parent.mkdir(exist_ok=True)
    with broken.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")
    code, said = lint_imports(copy)
    assert code == 1
    assert f"{contract} BROKEN" in said


def test_that_every_contract_is_broken_by_a_test_here():
    listed = [
        line for line in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines() if line[:8] == 'name = "'
    ]
    assert {line.split('"')[1] for line in listed} - {"desktop-rlhf"} == {contract for contract, _, _ in BREAKS}
