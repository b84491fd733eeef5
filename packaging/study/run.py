"""The study from its first sample to its figures, in steps that tell how long the rest will take."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from desktop_rlhf.records.adapters import Adapter
from study import frontier, hh, reward_curve
from study.bench import Bench
from study.plan import POOLINGS, Plan
from study.utility import Utility

PARITY_PYTHON = Path(__file__).parents[2] / ".venv-parity" / "bin" / "python"

# Seconds of one piece of work on one thread; only their proportions matter, for the time left.
SAMPLED, TRAINED, SCORED, UPDATE, HUMAN, HUMAN_TRL = 0.3, 0.8, 0.25, 16.0, 1.3, 3.0


class Study:
    """One study in a folder; started again there, it goes on where it was.

    Args:
        base_model: None is the starter model.
    """

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None], base_model: str | None = None) -> None:
        self.plan = plan
        self.folder = folder
        self.say = say
        self.base_model = base_model
        self._left = self._work()
        self._rate: tuple[float, float] = (0.0, 0.0)  # seconds, estimated seconds of what was made here

    def figures(self, human_pairs: Path | None, with_trl: bool) -> dict[str, Any]:
        """Do all that is not done yet and give the figures, as JSON takes them.

        Raises:
            WorldError: a stage failed for a reason that a person can mend.
        """
        pairs = self.plan.hh_pairs or 1500
        human_work = {f"human pairs, {p}": HUMAN * pairs for p in POOLINGS} if human_pairs else {}
        if with_trl:
            human_work["human pairs with TRL"] = HUMAN_TRL * pairs
        self._left |= human_work
        bench = Bench(self.folder, self.say, self.base_model, starter_prompts=True)
        try:
            figures = self._with_known_answer(bench)
        finally:
            bench.close()
        return figures | {"human": self._human(human_pairs, with_trl, figures["seconds"]) if human_pairs else None}

    def _with_known_answer(self, bench: Bench) -> dict[str, Any]:
        plan = self.plan
        asked = self._step(bench, "pairs to train on", lambda: reward_curve.training_questions(bench, plan))
        held_out = self._step(bench, "held-out pairs", lambda: reward_curve.held_out_questions(bench, plan))
        utility = Utility.over([completion.text for question in asked for completion in question.completions])
        base = frontier.base_utilities(utility, held_out)
        curves: dict[str, list[dict[str, Any]]] = {pooling: [] for pooling in POOLINGS}
        found: dict[str, Any] = {"labels": plan.frontier_labels, "prompts": len(base)}
        found["base"] = sum(base.values()) / len(base)
        for count in plan.labels:
            # In this order and no other: a run learns from all the labels that stand when it starts.
            reward_curve.label(bench, utility, asked, count)
            for pooling, curve in curves.items():
                title = _of_labels(count, pooling)
                reward = self._step(bench, title, partial(reward_curve.trained_reward, bench, count, pooling))
                scored = reward_curve.scores(bench, reward, held_out)
                curve.append({"count": count, **reward_curve.measure(utility, held_out, scored)})
                if count == plan.frontier_labels and pooling == POOLINGS[0]:
                    found["best_of_n"] = frontier.selected(utility, held_out, scored)
                    judge = reward
            if count == plan.frontier_labels:
                # A run learns from all the labels that stand, so the policies have a copy of the project as it is now.
                bench.copy_to(self.folder / "policies")
        policies = Bench(self.folder / "policies", self.say, self.base_model, starter_prompts=True)
        try:
            found["policies"] = self._policies(policies, utility, base, judge)
            seconds = bench.seconds() | policies.seconds()
        finally:
            policies.close()
        return {
            "plan": plan.name,
            "reward": curves,
            "frontier": found,
            "threads": torch.get_num_threads(),
            "versions": {"Python": platform.python_version()}
            | {name: version(name) for name in ("torch", "transformers", "peft")},
            "seconds": seconds,
        }

    def _policies(
        self, bench: Bench, utility: Utility, base: Mapping[str, float], reward: Adapter
    ) -> dict[str, list[dict[str, Any]]]:
        """Every algorithm's points on the frontier, by its name."""
        return {
            algorithm: [
                self._step(
                    bench,
                    f"{algorithm} {value}",
                    partial(frontier.point, bench, self.plan, utility, base, reward, algorithm, value),
                )
                for value in values
            ]
            for algorithm, values in self.plan.strengths.items()
        }

    def _human(self, path: Path, with_trl: bool, seconds: dict[str, float]) -> dict[str, Any]:
        bench = Bench(self.folder / "human pairs", self.say, self.base_model, starter_prompts=False)
        try:
            counts = hh.imported(bench, path, self.plan.hh_pairs)
            ours = {p: self._step(bench, f"human pairs, {p}", partial(hh.ours, bench, p)) for p in POOLINGS}
            trl = None
            if with_trl:
                trl = self._step(bench, "human pairs with TRL", lambda: hh.theirs(bench, PARITY_PYTHON))
            seconds |= bench.seconds()
            return {**counts, "longest": hh.LONGEST, "ours": ours, "trl": trl}
        finally:
            bench.close()

    def _work(self) -> dict[str, float]:
        """Estimated seconds of every step by its title."""
        plan = self.plan
        held_out = plan.held_out_prompts * plan.held_out_rounds
        work = {"pairs to train on": 2 * SAMPLED * plan.labels[-1], "held-out pairs": 2 * SAMPLED * held_out}
        work |= {_of_labels(n, p): TRAINED * n + SCORED * held_out for n in plan.labels for p in POOLINGS}
        fresh = plan.held_out_prompts * plan.fresh_per_prompt * (SAMPLED + SCORED)
        for algorithm, values in plan.strengths.items():
            for value in values:
                if algorithm in frontier.NEEDS_REWARD:
                    training = UPDATE * float(value)
                else:
                    passes = {"sft": 0.6 * float(value), "dpo": 1.1, "kto": 2.6}[algorithm]
                    training = TRAINED * plan.frontier_labels * passes
                work[f"{algorithm} {value}"] = training + fresh
        return work

    def _step(self, bench: Bench, title: str, do: Callable[[], Any]) -> Any:
        """One step, with a line that tells how long all that is left will take, once the speed is known."""
        spent, estimated = self._rate
        left = sum(self._left.values())
        pace = f"; about {left * spent / estimated / 60:.0f} min left in all" if estimated else ""
        made, began = bench.made, time.monotonic()
        self.say(f"{title}{pace}")
        found = do()
        expected = self._left.pop(title, 0.0)
        if bench.made > made:
            self._rate = (spent + time.monotonic() - began, estimated + expected)
        return found


def _of_labels(count: int, pooling: str) -> str:
    return f"reward model of {count} labels, {pooling}"
