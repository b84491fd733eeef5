"""The verbs: what each takes, and how errors leave the program."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

from desktop_rlhf.cli import verbs
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.workbench.algorithms import TRAINABLE
from desktop_rlhf.workbench.exported import EXPORTS

NAMES = ("new", "import", "sample", "label", "train", "estimate", "resume", "compare", "export", "runs", "demo")


def run(argv: list[str]) -> int:
    """Carry out one verb; gives the exit status: 0, 1 when the world is not as it should be, 2 for wrong usage."""
    arguments = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe may know fewer letters than a completion has
            stream.reconfigure(errors="backslashreplace")
    try:
        result = arguments.verb(arguments)
    except WorldError as error:
        print(f"error: {error}", file=sys.stderr)
        if arguments.json is True:
            print(json.dumps({"error": error.sentence, "next_step": error.next_step}))
        return 1
    if arguments.json is True:
        print(json.dumps(result.data, allow_nan=False, default=str))
    else:
        print(result.text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="desktop-rlhf", description="Teach a small language model your preferences.")
    verb = parser.add_subparsers(required=True, metavar="VERB")

    new = _verb(verb, "new", verbs.new, "make a project")
    new.add_argument("--name", help="what the window calls it; the folder's name when left out")
    new.add_argument(
        "--base-model", help="a local safetensors folder or a Hugging Face id; the starter model when left out"
    )
    new.add_argument("--labeller", default="me", help="whose name judgements carry (default: me)")
    new.add_argument("--no-starter-prompts", action="store_true", help="begin without prompts")

    take = _verb(
        verb,
        "import",
        verbs.import_file,
        "take in prompts, preferences, demonstrations or judgements from TXT, CSV or JSONL",
    )
    take.add_argument("file", type=Path)
    take.add_argument("--held-out", action="store_true", help="keep these prompts for comparing")

    sample = _verb(verb, "sample", verbs.sample, "sample completions to be labelled")
    sample.add_argument("--prompts", type=_positive, default=20, help="how many prompts, least sampled first")
    sample.add_argument("--per-prompt", type=_positive, default=2, help="2 to 6 completions each")
    sample.add_argument("--adapter", help="name or id of a policy adapter; the base when left out")
    _sampling(sample, seed=None)

    label = _verb(verb, "label", verbs.label, "let a program judge what waits")
    label.add_argument("--judge-command", required=True, metavar="CMD")
    label.add_argument("--limit", type=_positive, help="judge no more than this many")

    train = _verb(verb, "train", verbs.train, "train a reward model or a policy")
    _training(train)

    estimate = _verb(verb, "estimate", verbs.estimate, "tell what training would take: minutes and memory")
    _training(estimate)

    resume = _verb(verb, "resume", verbs.resume, "let a run that ended early go on from its checkpoint")
    resume.add_argument("run", nargs="?", help="its id or the beginning of it; the newest such run when left out")

    compare = _verb(verb, "compare", verbs.compare, "let a program compare two adapters, blind, on held-out prompts")
    compare.add_argument("--judge-command", required=True, metavar="CMD")
    compare.add_argument("--candidate", help="policy adapter; the newest when left out")
    compare.add_argument("--baseline", help="policy adapter; the base when left out")
    compare.add_argument("--prompts", type=_positive, help="how many held-out prompts; all when left out")
    _sampling(compare)

    export = _verb(verb, "export", verbs.export, "write all of one kind to a file, comparisons or another")
    export.add_argument("file", type=Path)
    export.add_argument("--what", choices=tuple(EXPORTS), default="comparisons")

    _verb(verb, "runs", verbs.runs, "list what was trained")

    demo = verb.add_parser("demo", help="walk the whole road with a scripted labeller")
    demo.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    demo.add_argument("--project", type=Path, help="keep the project here; a temporary folder when left out")
    demo.set_defaults(verb=verbs.demo)
    return parser


def _verb(
    parsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: Callable[[argparse.Namespace], verbs.Result],
    help: str,
) -> argparse.ArgumentParser:
    parser = parsers.add_parser(name, help=help)
    parser.add_argument("project", type=Path, help="the project's folder")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    parser.set_defaults(verb=function)
    return parser


def _training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("algorithm", help=" | ".join(spec.name for spec in TRAINABLE))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting; may be repeated")
    parser.add_argument("--from", dest="start", help="policy adapter to continue from; the base when left out")
    parser.add_argument("--reward-model", help="name or id; the newest when left out")
    parser.add_argument("--name", default="", help="what the new adapter is called")


def _sampling(parser: argparse.ArgumentParser, seed: int | None = 0) -> None:
    default = Sampler()
    parser.add_argument("--temperature", type=float, default=default.temperature)
    parser.add_argument("--top-p", type=float, default=default.top_p)
    parser.add_argument("--top-k", type=int, default=default.top_k)
    parser.add_argument("--max-new-tokens", type=_positive, default=default.max_new_tokens)
    parser.add_argument("--seed", type=int, default=seed, help="the same seed gives the same completions again")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number
