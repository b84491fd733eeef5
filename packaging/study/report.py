"""The note on the trainers: its figures are written into it between its own headings, never by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from desktop_rlhf.settings import resources_path
from study import expectations
from study.plan import STRENGTH
from study.plots import LOOKS, draw_frontier, draw_reward

NOTE = "trainers.md"
REWARD_PICTURE, FRONTIER_PICTURE = "trainers_reward.png", "trainers_frontier.png"
FIGURES = "trainers.json"
READS = {"mean": "the mean over the tokens", "last": "the last token"}


def write(figures: Mapping[str, Any], folder: Path) -> None:
    """Write the note, its two pictures and the figures as JSON into ``folder``; the words are the shipped note's."""
    draw_reward(figures, folder / REWARD_PICTURE)
    draw_frontier(figures, folder / FRONTIER_PICTURE)
    (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    words = (resources_path() / "notes" / NOTE).read_text(encoding="utf-8")
    (folder / NOTE).write_text(filled(words, figures), encoding="utf-8")


def filled(words: str, figures: Mapping[str, Any]) -> str:
    """The note with every section that holds figures written anew."""
    for heading, body in sections(figures).items():
        words = with_section(words, heading, body)
    return words


def with_section(words: str, heading: str, body: str) -> str:
    """The text with all that stands under ``## heading`` replaced.

    Raises:
        ValueError: there is no such heading, or there are several.
    """
    pattern = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    changed, count = pattern.subn(lambda _: f"## {heading}\n\n{body.strip()}\n\n", words)
    if count != 1:
        raise ValueError(f"{count} headings “{heading}”")
    return changed.rstrip() + "\n"


def sections(figures: Mapping[str, Any]) -> dict[str, str]:
    """What stands under each heading that the study fills."""
    return {
        "The reward model": _reward(figures),
        "The policies": _frontier(figures),
        "Human pairs": _human(figures["human"]),
        "What was expected, and what surprised": _surprises(figures),
        "How these figures were made": _made(figures),
    }


def _reward(figures: Mapping[str, Any]) -> str:
    curves = figures["reward"]
    rows = curves["mean"]
    n, best = rows[0]["labels"]["n"], rows[0]["best"]
    told = (
        f"Measured on {n} pairs of prompts that nothing was trained on. The best possible agreement with their labels "
        f"is **{best:.1%}**; “the shorter one wins” gets {rows[0]['shorter_wins']:.1%}. The interval is 95 % (Wilson) "
        "and takes the pairs as independent; several belong to one prompt, so it should be wider. One run each. "
        "The policies below learn from the model that reads the mean."
    )
    table = _table(
        ("labels", "reads", "agreement", "share of the best possible", "of the noise-free order"),
        (
            (
                str(row["count"]),
                READS[pooling],
                f"{row['labels']['value']:.1%}",
                f"**{row['of_best']['value']:.1%}** ({row['of_best']['low']:.1%} to {row['of_best']['high']:.1%})",
                f"{row['order']:.1%}",
            )
            for pooling, own in curves.items()
            for row in own
        ),
    )
    return f"{told}\n\n![Reward accuracy by number of labels]({REWARD_PICTURE})\n\n{table}"


def _frontier(figures: Mapping[str, Any]) -> str:
    found = figures["frontier"]
    rows = [
        (
            LOOKS[name][0],
            f"`{STRENGTH[name]}` {row['strength']}",
            f"{row['kl']:.2f} ± {row['kl_error']:.2f}",
            f"**{row['utility']:.2f}** ± {row['utility_error']:.2f}",
            f"{row['tokens']:.1f}",
            f"{row['ended']:.0%}",
        )
        for name, points in found["policies"].items()
        for row in points
    ]
    chosen = [
        (f"best of {row['n']} by the {name}", "", f"at most {row['kl']:.2f}",
         f"**{row['utility']:.2f}** ± {row['utility_error']:.2f}", "", "")
        for name in ("reward model", "utility")
        for row in found["best_of_n"][name]
    ]  # fmt: skip
    first = next(iter(found["policies"].values()))[0]
    told = (
        f"All from the same {found['labels']} labels. Each adapter wrote {first['n']} completions to "
        f"{found['prompts']} prompts that nothing was trained on; the mean utility of the base's own is "
        f"**{found['base']:.2f}** there. KL is in nats per completion, ± is one standard error over prompts."
    )
    table = _table(("", "strength", "KL", "utility", "tokens", "ended"), [*rows, *chosen])
    return f"{told}\n\n![Utility against KL]({FRONTIER_PICTURE})\n\n{table}"


def _human(human: Mapping[str, Any] | None) -> str:
    if human is None:
        return "Left out: the study was run without `--hh FILE`."
    by_pooling, trl = human["ours"], human["trl"]
    ours = by_pooling["last"]
    rows = [
        (
            f"this program, reads {READS[pooling]}{', its default' if own is ours else ''}",
            f"{own['held_out_accuracy']:.1%}",
            f"{own['low']:.1%} to {own['high']:.1%}",
            str(own["n"]),
        )
        for pooling, own in by_pooling.items()
    ]
    if trl is not None:
        rows.append(
            ("TRL's RewardTrainer", f"{trl['value']:.1%}", f"{trl['low']:.1%} to {trl['high']:.1%}", str(trl["n"]))
        )
    told = (
        f"{human['rows']} rows were read, {human['unusable']} of them were not one prompt with two answers. "
        f"Learned from {ours['train_comparisons']} pairs of at most {human['longest']} tokens in one pass, "
        f"split by prompt. “The longer one wins” gets {ours['longer_wins']:.1%}."
    )
    if trl is None:
        told += " TRL's figure was left out: the study was run without `--trl`."
    return f"{told}\n\n{_table(('', 'held-out accuracy', '95 % interval', 'pairs'), rows)}"


def _surprises(figures: Mapping[str, Any]) -> str:
    found = expectations.judged(figures)
    surprises = [f"- **{one.expectation}** {one.came}" for one in found if not one.held]
    held = [f"- {one.expectation} {one.came}" for one in found if one.held]
    parts = ["These sentences were written down before the first run; the study checks each of them."]
    for title, lines in (("What came otherwise:", surprises), ("What came as expected:", held)):
        if lines:
            parts.append(title + "\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _made(figures: Mapping[str, Any]) -> str:
    arguments = " --full" if figures["plan"] == "full" else ""
    if human := figures["human"]:
        arguments += " --hh FILE" + (" --trl" if human["trl"] else "")
    minutes = sum(figures["seconds"].values()) / 60
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    return (
        f"`python3 packaging/dev.py study{arguments}`, {minutes:.0f} minutes in all with {figures['threads']} "
        f"thread{'s' if figures['threads'] != 1 else ''} on a CPU ({versions}). `{FIGURES}` beside it holds "
        "every figure."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
