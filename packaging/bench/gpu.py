"""`python -m bench.gpu`; see ``packaging/dev.py gpu``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from desktop_rlhf.settings import go_offline

go_offline()  # before the model libraries are imported, below

NO_GPU = "There is no GPU here that the program would use, so nothing was tested or measured on one."
INSTEAD = "`python3 packaging/dev.py gpu --device cpu --small` shows that the script works."


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="dev.py gpu", description="Run the tests for a GPU, then measure training and decoding on it."
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="auto unless told")
    parser.add_argument("--small", action="store_true", help="a tiny model: shows that it works, measures nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure down")
    parser.add_argument("--look", action="store_true", help="only say which device would be used")
    asked = parser.parse_args(arguments)

    from bench.gpu_figures import LARGE, SMALL, figures
    from desktop_rlhf.adapters.devices import chosen_device, in_words

    device = chosen_device(asked.device)
    if device.type == "cpu" and asked.device != "cpu":
        print(f"{NO_GPU} {INSTEAD}", file=sys.stderr)
        return 1
    if asked.look:
        print(in_words(device))
        return 0
    found = figures(SMALL if asked.small else LARGE, device)
    print(json.dumps(found, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
