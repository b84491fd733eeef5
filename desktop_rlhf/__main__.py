"""The program: with a verb the command line, without one the window."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from desktop_rlhf.settings import go_offline, keep_log


def main(argv: list[str] | None = None) -> int:
    """Run the program and give its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    go_offline()
    keep_log()
    from desktop_rlhf.cli import main as cli

    if arguments and arguments[0] in cli.NAMES:
        return cli.run(arguments)
    parser = argparse.ArgumentParser(
        prog="desktop-rlhf",
        description="Without a verb the window opens.",
        epilog=f"Verbs: {', '.join(cli.NAMES)}. Each explains itself with --help.",
    )
    parser.add_argument("--project", type=Path, help="open this project")
    parser.add_argument("--new-starter", action="store_true", help="open the starter project, making it when needed")
    chosen = parser.parse_args(arguments)
    from desktop_rlhf.gui.app import run

    return run(chosen.project, chosen.new_starter)


if __name__ == "__main__":
    raise SystemExit(main())
