"""A judge for tests: the shorter completion wins. With arguments it breaks after so many answers, in that way."""

from __future__ import annotations

import json
import sys

breaks_after = int(sys.argv[1]) if len(sys.argv) > 1 else None
how = sys.argv[2] if len(sys.argv) > 2 else ""
for count, line in enumerate(sys.stdin):
    if count == breaks_after:
        if how == "exit":
            sys.exit(3)
        print(how, flush=True)
        continue
    asked = json.loads(line)
    assert set(asked) == {"prompt", "completions"}
    assert asked["prompt"][-1]["role"] == "user"
    lengths = [len(text) for text in asked["completions"]]
    choice = "tie" if len(set(lengths)) == 1 else lengths.index(min(lengths))
    print(json.dumps({"choice": choice}), flush=True)
