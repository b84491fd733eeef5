"""`python -m bench`; see ``packaging/dev.py bench``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from bench.plan import DEFAULT, NAMES, PROBES, SMALL, WORKS
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.settings import go_offline, starter_model_path

go_offline()  # before the model libraries are imported, below, and in every process that is started


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench", description="Measure the program, and a peer beside it.")
    parser.add_argument("--against", choices=["trl"], help="run the trainers' peer in turn with ours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure down")
    parser.add_argument("--only", type=_works, default=NAMES, metavar="WORKS", help=f"some of {','.join(NAMES)}")
    parser.add_argument("--rounds", type=int, help=f"how often each runs; {DEFAULT.rounds} unless told")
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE", help="preferences in place of made-up ones, .jsonl or .csv"
    )
    parser.add_argument(
        "--small", action="store_true", help="a tiny random model: shows that it works, measures nothing"
    )
    asked = parser.parse_args(arguments)
    if asked.rounds is not None and asked.rounds < 1:
        parser.error("--rounds has to be at least 1")

    from bench import report, rows
    from bench.driver import Pairing, probed
    from bench.inputs import Inputs
    from bench.processes import measured, python_of
    from bench.tiny_model import make

    plan = SMALL if asked.small else DEFAULT
    if asked.rounds:
        plan = dataclasses.replace(plan, rounds=asked.rounds)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{(time.monotonic() - began) / 60:5.1f} min] {line}", flush=True)

    found: list[rows.Row] = []
    works = [work for work in WORKS if work.name in asked.only]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make(folder / "tiny", starter_model_path()) if asked.small else starter_model_path()
        try:
            inputs = Inputs(plan, model, asked.pairs) if works else None
        except WorldError as error:
            print(error, file=sys.stderr)
            return 1
        for work in works:
            assert inputs is not None, "they are made for any work"
            has_peer = work.environment == "own" or asked.against == "trl"
            ours = partial(measured, [python_of("own"), "-m", f"bench.{work.ours}"], folder)
            peer = partial(measured, [python_of(work.environment), "-m", f"bench.{work.peer}"], folder)
            settings = plan.sample_settings if work.settings is None else work.settings
            pairing = Pairing(work, plan, inputs.of(work.name), ours, peer if has_peer else None, settings, say)
            found.append(pairing.row())
        for probe in PROBES:
            if probe.name in asked.only:
                found += probed(probe, plan, folder, say)
    print(report.table(found))
    if asked.json:
        report.write(found, asked.json)
    return 1 if any(row.note for row in found) else 0


def _works(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
