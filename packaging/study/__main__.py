"""`python -m study`; see ``packaging/dev.py study``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.settings import data_path, go_offline, resources_path

go_offline()  # before the model libraries are imported, below


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dev.py study", description="Measure the trainers where the answer is known.")
    parser.add_argument("--full", action="store_true", help="everything, and write it into the program's notes")
    parser.add_argument("--hh", type=Path, metavar="FILE", help="human pairs in HH-RLHF's form, .jsonl or .jsonl.gz")
    parser.add_argument("--trl", action="store_true", help="with --hh: TRL's RewardTrainer beside ours")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where it works and remembers what was done")
    asked = parser.parse_args(arguments)
    if asked.trl and not asked.hh:
        parser.error("--trl needs the pairs of --hh FILE")

    from study.plan import FULL, QUICK
    from study.report import write
    from study.run import Study

    plan = FULL if asked.full else QUICK
    folder: Path = asked.out or data_path() / "study" / plan.name
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{(time.monotonic() - began) / 60:5.1f} min] {line}", flush=True)

    try:
        figures = Study(plan, folder, say).figures(asked.hh, asked.trl)
    except WorldError as error:
        print(f"{error} What was done is kept in {folder}.", file=sys.stderr)
        return 1
    for place in [folder, *([resources_path() / "notes"] if asked.full else [])]:
        write(figures, place)
        say(f"Written into {place}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
