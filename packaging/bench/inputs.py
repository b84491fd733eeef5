"""What both sides work on: prompts and pairs as tokens, made once from a seed or read from a file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.plan import LEARNING_RATE, LORA, PAIRS_PER_STEP, PPO_EPOCHS, SEED, Lengths, Plan
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.prompts.files import read_file
from desktop_rlhf.prompts.rows import PreferenceRow
from desktop_rlhf.prompts.starter import starter_prompts
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt

Row = dict[str, Any]


class Inputs:
    """The inputs of every paired work, the same for the same model, plan and file.

    Args:
        folder: of the base model.
        pairs:  a file of preferences to take in place of made-up ones.
    """

    def __init__(self, plan: Plan, folder: Path, pairs: Path | None = None) -> None:
        self._plan = plan
        self._folder = folder
        self._model = ResidentModel.load(str(folder))
        self._texts = [prompt.text for prompt in starter_prompts()]
        self._pool = [token for text in self._texts for token in self._ids(text)]
        self._overhead = len(self._prompt_row("x")["prompt_ids"]) - len(self._ids("x"))
        count = PAIRS_PER_STEP * (1 + plan.steps)
        generator = random.Random(SEED)
        self._pairs = self._pairs_of(pairs, count) if pairs else [self._pair(generator) for _ in range(count)]

    def of(self, work: str) -> Row:
        """What a process of ``work`` reads, all but the setting.

        A list under ``pairs`` or ``prompts`` holds first what warms up and then what is timed, except in sampling.
        """
        plan = self._plan
        common = {"model": str(self._folder), "seed": SEED, **LORA, "learning_rate": LEARNING_RATE}
        common |= {"max_length": plan.max_length, "temperature": 0.7}
        if work == "ppo":
            sizes = {"episodes": plan.episodes, "epochs": PPO_EPOCHS, "new": plan.ppo_new}
            return common | sizes | {"prompts": self._near(plan.ppo_prompt, plan.episodes * (1 + plan.updates))}
        if work == "sample":
            rows = [{name: row[name] for name in ("messages", "prompt_ids")} for row in self._sampled()]
            return common | {"copies": plan.copies, "new": plan.sample_new, "prompts": rows}
        return common | {"batch_size": PAIRS_PER_STEP, "pairs": self._pairs}

    def _sampled(self) -> list[Row]:
        generator = random.Random(SEED + 1)
        return [self._prompt(generator) for _ in range(self._plan.sampled)]

    def _near(self, size: int, count: int) -> list[Row]:
        """The starter prompts, again where they are too few, whose number of tokens is nearest to ``size``."""
        near = sorted(map(self._prompt_row, self._texts), key=lambda row: abs(len(row["prompt_ids"]) - size))
        return [near[place % len(near)] for place in range(count)]

    def _pair(self, generator: random.Random) -> Row:
        return self._prompt(generator) | {side: self._completion(generator) for side in ("chosen_ids", "rejected_ids")}

    def _completion(self, generator: random.Random) -> list[int]:
        size = _drawn(generator, self._plan.completions) - 1
        start = generator.randrange(len(self._pool) - size)
        return [*self._pool[start : start + size], *self._model.completion_ids("")[-1:]]

    def _prompt(self, generator: random.Random) -> Row:
        """Starter prompts one below the other, cut where the whole has about a drawn number of tokens."""
        size = max(1, _drawn(generator, self._plan.prompts) - self._overhead)
        ids = self._ids(generator.choice(self._texts))
        while len(ids) < size:
            ids += self._ids("\n" + generator.choice(self._texts))
        return self._prompt_row(self._model.tokenizer.decode(ids[:size]).strip() or "?")

    def _prompt_row(self, text: str) -> Row:
        return self._row(Prompt("", (Message("user", text),)))

    def _row(self, prompt: Prompt) -> Row:
        messages = [[message.role, message.content] for message in prompt.messages]
        return {"messages": messages, "prompt_ids": self._model.prompt_ids(prompt.messages)}

    def _ids(self, text: str) -> list[int]:
        return list(self._model.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _pairs_of(self, path: Path, count: int) -> list[Row]:
        """The first pairs of a file that fit.

        Raises:
            BadInputError:      the file cannot be read.
            NotEnoughDataError: it holds too few that fit.
        """
        found = []
        for one in read_file(path):
            if not isinstance(one, PreferenceRow):
                continue
            sides = {"chosen_ids": one.chosen, "rejected_ids": one.rejected}
            row = self._row(one.prompt) | {side: self._model.completion_ids(text) for side, text in sides.items()}
            if _longest(row) <= self._plan.max_length:
                found.append(row)
        if len(found) < count:
            raise NotEnoughDataError(
                f"“{path.name}” holds {len(found)} pairs of at most {self._plan.max_length} tokens.",
                f"The benchmark takes {count}.",
            )
        return found[:count]


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """``count`` of the rows, from short prompts to long ones as all of them are."""
    ordered = sorted(rows, key=lambda row: len(row["prompt_ids"]))
    return [ordered[(2 * place + 1) * len(ordered) // (2 * count)] for place in range(min(count, len(ordered)))]


def _drawn(generator: random.Random, lengths: Lengths) -> int:
    while True:
        size = round(lengths.median * generator.lognormvariate(0, lengths.sigma))
        if lengths.least <= size <= lengths.most:
            return size


def _longest(row: Row) -> int:
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
