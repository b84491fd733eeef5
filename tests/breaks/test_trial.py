"""Breaking a copy: what is caught, what survives and what was broken clumsily, in a checkout of two files."""

from __future__ import annotations

from pathlib import Path

import pytest

from breaks import trial
from breaks.row import Break

SOUND = "def twice(number):\n    return 2 * number\n"


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trial.Copy:
    checkout, folder = tmp_path / "checkout", tmp_path / "copy"
    (checkout / "tests").mkdir(parents=True)
    folder.mkdir()
    (checkout / "sums.py").write_text(SOUND)
    (checkout / "tests" / "test_sums.py").write_text(
        "import sums\n\n\ndef test_that_two_is_four():\n    assert sums.twice(2) == 4\n"
    )
    monkeypatch.setattr(trial, "ROOT", checkout)
    monkeypatch.setattr(trial, "COPIED", ("sums.py", "tests"))
    return trial.Copy(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2 * number", "3 * number", None),
        ("2 * number", "number + 2", "no test noticed"),
        ("2 * number", "2 * nothing", "clumsy: NameError"),
        ("2 * number", "2 *", "could not run"),
        ("3 * number", "number", "stands 0 times"),
    ],
)
def test_that_a_break_is_caught_only_by_a_test_that_fails_and_is_mended(copy, old: str, new: str, said: str) -> None:
    wrong = copy.try_break(Break("Other sums", "tests/test_sums.py::test_that_two_is_four", "sums.py", old, new))
    assert wrong is None if said is None else said in wrong
    assert (copy.folder / "sums.py").read_text() == SOUND
