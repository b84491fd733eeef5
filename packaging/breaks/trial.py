"""Break a copy of the program and see whether a test notices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from breaks.row import Break

ROOT = Path(__file__).parents[2]
COPIED = ("desktop_rlhf", "packaging", "resources", "tests", "pyproject.toml")
CLUMSY = ("ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError", "NameError", "UnboundLocalError")
LONGEST_S = 900


class Copy:
    """A copy of the checkout in ``folder``, to be broken there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)

    def failures(self, tests: Sequence[str], *, first_only: bool = False) -> dict[str, str]:
        """What failed by the test's name, and how.

        Raises:
            RuntimeError: pytest could not run them.
        """
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        # A break of the same length within the same second would not show in a file of bytecode.
        environ = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "QT_QPA_PLATFORM": "offscreen"}
        done = subprocess.run(
            [*command, "--exitfirst"] if first_only else command,
            cwd=self.folder,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environ,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
        if done.returncode not in (0, 1):
            raise RuntimeError(f"pytest could not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return {
            case.get("name", ""): bad.get("message", "")
            for case in ElementTree.parse(report).iter("testcase")
            for bad in (*case.findall("failure"), *case.findall("error"))
        }

    def try_break(self, one: Break) -> str | None:
        """Break it, run the test and mend it; None where the test caught it, else a sentence."""
        path = self.folder / one.file
        sound = path.read_text(encoding="utf-8")
        if sound.count(one.old) != 1:
            return f"what is to be broken stands {sound.count(one.old)} times in {one.file}"
        path.write_text(sound.replace(one.old, one.new), encoding="utf-8")
        try:
            found = self.failures([one.test], first_only=True)
        except subprocess.TimeoutExpired:
            return "the test did not end"
        except RuntimeError as error:
            return str(error)
        finally:
            path.write_text(sound, encoding="utf-8")
        if not found:
            return "no test noticed"
        how = next(iter(found.values()))
        return f"the break itself is clumsy: {how}" if how.startswith(CLUMSY) else None
