"""Walks the whole road by the verbs, with every connection and name look-up raising, and prints what it saw as JSON.

Run in a process of its own: ``python walk.py BASE_MODEL PROJECT JUDGE``; BASE_MODEL ``-`` is the starter model.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

attempts: list[str] = []


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        attempts.append(f"{event} {arguments}")
        raise OSError("the network is cut")


sys.addaudithook(refuse)


def verb(*words: str) -> dict[str, object]:
    from desktop_rlhf.__main__ import main  # the hook stands before anything of ours is imported

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = main([*words, "--json"])
    answer = json.loads(said.getvalue().splitlines()[-1])
    assert status == 0, answer
    return answer


base, project, judge = sys.argv[1:4]
model = [] if base == "-" else ["--base-model", base]
short = ["--max-new-tokens", "6"]
small = ["--set", "lora_rank=4", "--set", "lora_alpha=8"]
seen = {
    "new": verb("new", project, *model),
    "sample": verb("sample", project, "--prompts", "24", "--per-prompt", "3", "--temperature", "1.5", *short),
    "label": verb("label", project, "--judge-command", judge),
    "reward": verb("train", project, "reward", *small),
    "dpo": verb("train", project, "dpo", *small, "--name", "by dpo"),
    "ppo": verb(
        "train", "ppo", project, *small, "--from", "by dpo", "--set", "updates=2", "--set", "prompts_per_update=2",
        "--set", "completions_per_prompt=2", "--set", "max_new_tokens=6",
    ),
    "compare": verb("compare", project, "--judge-command", judge, "--prompts", "6", *short),
    "export": verb("export", project, f"{project}/pairs.jsonl"),
    "runs": verb("runs", project),
}  # fmt: skip
print(json.dumps({"attempts": attempts} | seen))
