"""The rooms of the house: what may stand at the top, how long a file may be, and words that must not be left behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "desktop_rlhf",
    "packaging",
    "pyproject.toml",
    "resources",
    "tests",
}
LONGEST_FILE = 400
# A letter of each stands in brackets, so that this file does not find itself.
LEFT_BEHIND = re.compile(r"TO[D]O|FIX[M]E|NotImplemented[E]rror|type: [i]gnore|no[q]a|x[f]ail|mark\.[s]kip")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name]


def test_that_the_top_level_holds_the_rooms_and_nothing_else():
    assert {path.parts[0] for path in tracked()} == TOP_LEVEL


def test_that_our_packaging_folder_does_not_shadow_the_package_of_that_name():
    assert not (ROOT / "packaging" / "__init__.py").exists()


def test_that_every_file_can_be_read_in_one_sitting():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in ROOT.glob("desktop_rlhf/**/*.py")}
    assert lengths
    assert not {str(path): length for path, length in lengths.items() if length > LONGEST_FILE}


def test_that_nothing_is_left_half_done_or_silenced():
    files = [path for path in tracked() if path.suffix in (".py", ".toml") and (ROOT / path).exists()]
    assert files
    found = {str(path): LEFT_BEHIND.findall((ROOT / path).read_text(encoding="utf-8")) for path in files}
    assert not {path: words for path, words in found.items() if words}


def test_that_every_test_is_named_for_a_fact():
    names = [
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    ]
    assert names
    assert not [name for name in names if not name.startswith("test_that_")]
