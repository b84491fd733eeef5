"""`python -m breaks`; see ``packaging/dev.py breaks``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from breaks.note import note
from breaks.table import broken_rows
from breaks.trial import ROOT, Copy

NOTE = ROOT / "resources" / "notes" / "correctness.md"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dev.py breaks", description="Break details and see their tests fail.")
    parser.add_argument("--only", metavar="ROW", help="one row, as P3")
    only: str | None = parser.parse_args(arguments).only
    asked = broken_rows(only)
    if not asked:
        parser.error(f"no row {only} has anything to break")
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        tests = list(dict.fromkeys(one.test for _, one in asked))
        print(f"{len(tests)} tests, unbroken …", flush=True)
        if unsound := copy.failures(tests):
            print("\n".join(f"{name} fails unbroken: {how.splitlines()[0]}" for name, how in unsound.items()))
            return 1
        survived = 0
        for id, one in asked:
            wrong = copy.try_break(one)
            survived += wrong is not None
            print(f"{id:<4} {'caught' if wrong is None else 'SURVIVED'}  {one.what}{f': {wrong}' if wrong else ''}")
            sys.stdout.flush()
    print(f"{len(asked) - survived} of {len(asked)} breaks were caught.")
    if survived:
        return 1
    NOTE.write_text(note(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
