"""Reward accuracy by number of labels, as a share of the best possible."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from desktop_rlhf.adapters.packing import pack
from desktop_rlhf.adapters.training import ids_of
from desktop_rlhf.records.adapters import Adapter
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.reward.model import RewardModel
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.workbench.project import Showing
from study.bench import Bench
from study.labels import LabelledPair, agreement, first_wins
from study.plan import REWARD, SAMPLER, SEED, Plan
from study.utility import Utility

LABELLER = "utility"


@dataclass(frozen=True, slots=True)
class Question:
    """Two completions of one prompt that a label is or can be drawn for."""

    prompt: Prompt
    round: int
    completions: tuple[Completion, Completion]


def plain_prompts(bench: Bench, split: Split) -> list[Prompt]:
    """The prompts of a split that do not ask for what should be refused."""
    return [prompt for prompt in bench.project.prompts(split) if "refuse" not in prompt.tags]


def training_questions(bench: Bench, plan: Plan) -> list[Question]:
    """As many pairs as the largest number of labels, in rounds: every prompt comes once before any comes again."""
    prompts = plain_prompts(bench, Split.TRAIN)
    return list(_rounds(bench, "training", prompts, plan.labels[-1]))


def held_out_questions(bench: Bench, plan: Plan) -> list[Question]:
    """Pairs of prompts that nothing is trained on; equal completions, which have no better one, are left out."""
    prompts = plain_prompts(bench, Split.HELD_OUT)[: plan.held_out_prompts]
    found = _rounds(bench, "held-out", prompts, len(prompts) * plan.held_out_rounds)
    return [asked for asked in found if asked.completions[0].text != asked.completions[1].text]


def _rounds(bench: Bench, name: str, prompts: Sequence[Prompt], count: int) -> Iterator[Question]:
    for number, start in enumerate(range(0, count, len(prompts))):
        some = prompts[: count - start]
        seed = derive_seed(SEED, name, number)
        groups = bench.sampled(f"{name} pairs, round {number + 1}", [p.id for p in some], 2, SAMPLER, seed)
        for prompt, (first, second) in zip(some, groups, strict=True):
            yield Question(prompt, number, (first, second))


def answer(utility: Utility, asked: Question) -> LabelledPair:
    """The label of a pair, drawn from the utility."""
    first, second = (utility(completion.text) for completion in asked.completions)
    return LabelledPair(first - second, first_wins(first - second, SEED, asked.prompt.id, asked.round))


def label(bench: Bench, utility: Utility, questions: Sequence[Question], count: int) -> None:
    """Store labels in the project until ``count`` of the questions have one."""
    for asked in questions[len(bench.project.comparisons()) : count]:
        ranks = (1, 2) if answer(utility, asked).first_won else (2, 1)
        showing = Showing(asked.completions[0].group_id, "pairwise", asked.prompt, asked.completions)
        bench.project.save_comparison(showing, Outcome.RANKED, ranks, labeller=LABELLER)


def trained_reward(bench: Bench, count: int, pooling: str) -> Adapter:
    """The reward model of ``count`` labels, which are those that stand when it is trained."""
    adapter, _ = bench.trained(f"reward model, {pooling}, {count} labels", "reward", {**REWARD, "pooling": pooling})
    return adapter


def scores(bench: Bench, reward: Adapter, questions: Sequence[Question]) -> list[list[float]]:
    """[pairs, 2] what a reward model says of the completions."""

    def make() -> list[list[float]]:
        scorer = RewardModel.attach(bench.model, "scorer", bench.path_of(reward))
        try:
            return [
                scorer.score(
                    pack([(bench.model.prompt_ids(q.prompt.messages), [ids_of(bench.model, c) for c in q.completions])])
                ).tolist()
                for q in questions
            ]
        finally:
            bench.model.detach("scorer")

    return [list(pair) for pair in bench.remembered(f"held-out scores of {reward.name}", make)]


def measure(utility: Utility, questions: Sequence[Question], scored: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Figures of one reward model on held-out pairs, and beside them what length alone would get."""
    pairs = [answer(utility, asked) for asked in questions]
    found = agreement(pairs, [first - second for first, second in scored])
    lengths = [[len(c.completion_ids) for c in asked.completions] for asked in questions]
    shorter = agreement(pairs, [second - first for first, second in lengths])
    return {
        "labels": dataclasses.asdict(found.labels),
        "of_best": dataclasses.asdict(found.of_best),
        "best": found.best,
        "order": found.order,
        "expected": found.expected,
        "shorter_wins": shorter.labels.value,
    }
