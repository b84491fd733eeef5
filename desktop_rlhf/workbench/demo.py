"""The whole road with a scripted labeller: sample, label, train a reward model, DPO and PPO, compare with the base.

The rule, the seeds and the held-out prompts stand here and were fixed before the settings below were tuned, on other
prompts. What comes out is shown, whatever it is.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import WorldError
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.runs.spec import Value
from desktop_rlhf.side_by_side.blind import LEFT, RIGHT, TIE
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.memory import peak_mb, reset_peak
from desktop_rlhf.workbench.messages import Command, EngineFailed, JobEnded, News, SampleGroups, SampleMatches, StartRun
from desktop_rlhf.workbench.project import Project

SEED = 20
TRAIN_PROMPTS, HELD_OUT_PROMPTS = 128, 90
COMPLETIONS_PER_PROMPT = 4
SAMPLER = Sampler(temperature=1.0, max_new_tokens=24)
REWARD: dict[str, Value] = {"learning_rate": 3e-4}
DPO: dict[str, Value] = {"learning_rate": 2e-4}
PPO: dict[str, Value] = {"learning_rate": 2e-4, "max_new_tokens": 24, "temperature": 1.0, "kl_coef": 0.2}


def line_length(text: str) -> float:
    """The rule: characters in a line, on the average; shorter lines are better, no text at all is worst."""
    lines = [line for line in text.splitlines() if line.strip()]
    return round(sum(map(len, lines)) / len(lines)) if lines else 9999


def ranks_by_rule(completions: Sequence[Completion]) -> tuple[int, ...]:
    """1 for the shortest lines; equal where the rule sees no difference."""
    lengths = [line_length(completion.text) for completion in completions]
    order = sorted(set(lengths))
    return tuple(order.index(length) + 1 for length in lengths)


def run_demo(
    json_path: Path | None, project_path: Path | None, say: Callable[[str], None], base_model: str | None = None
) -> dict[str, object]:
    """Walk the road and give the figures, which are also written to ``json_path``.

    Args:
        project_path: where the project stays; None is a folder that is gone afterwards.
        base_model:   None is the starter model.

    Raises:
        WorldError: a stage failed for a reason that a person can mend.
    """
    with tempfile.TemporaryDirectory() as scratch:
        project = Project.create(project_path or Path(scratch) / "demo", name="Demo", base_model=base_model)
        try:
            figures = _Demo(project, say).walk()
        finally:
            project.close()
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def _plain(prompts: Sequence[Prompt], count: int) -> tuple[str, ...]:
    """Ids of the first prompts that do not ask for what should be refused."""
    return tuple(prompt.id for prompt in prompts if "refuse" not in prompt.tags)[:count]


class _Demo:
    """One walk; the model is loaded once for all stages."""

    def __init__(self, project: Project, say: Callable[[str], None]) -> None:
        self.project = project
        self.say = say
        self.stages: list[dict[str, object]] = []
        self._endings: list[JobEnded | EngineFailed] = []
        self.engine = Engine(project.path, self._hear)

    def walk(self) -> dict[str, object]:
        try:
            with self._stage("sample"):
                ids = _plain(self.project.prompts(Split.TRAIN), TRAIN_PROMPTS)
                self._work(SampleGroups(uuid4().hex, ids, COMPLETIONS_PER_PROMPT, None, SAMPLER, SEED))
            with self._stage("label"):
                self._label()
            with self._stage("reward"):
                reward = self._train("reward", REWARD)
            figures: dict[str, object] = {"rule": line_length.__doc__, "comparisons": len(self.project.comparisons())}
            figures["reward"] = {
                k: reward[k] for k in ("held_out_accuracy", "low", "high", "n", "pairs", "longer_wins")
            }
            interval = f"{reward['low']:.0%} to {reward['high']:.0%}, n = {reward['n']}"
            self.say(f"reward model: agrees on {reward['held_out_accuracy']:.0%} of held-out comparisons ({interval})")
            for name, settings in (("dpo", DPO), ("ppo", PPO)):
                with self._stage(name):
                    self._train(name, settings)
                with self._stage(f"compare {name}"):
                    figures[name] = self._compare(name)
        finally:
            self.engine.close()
        return figures | {"stages": self.stages}

    def _label(self) -> None:
        while (showing := self.project.next_showing()) is not None:
            ranks = ranks_by_rule(showing.completions)
            if max(ranks) == 1:
                self.project.save_comparison(showing, Outcome.TIE, labeller="rule")
            else:
                self.project.save_comparison(showing, Outcome.RANKED, ranks, labeller="rule")

    def _train(self, algorithm: str, settings: dict[str, Value]) -> dict[str, Any]:
        """Train, and give the run's report."""
        reward = next(iter(self.project.adapters(AdapterKind.REWARD)), None)
        reward_id = reward.id if reward and algorithm == "ppo" else None
        command = StartRun(uuid4().hex, algorithm, settings, reward_adapter_id=reward_id, name=algorithm)
        ending = self._work(command)
        assert ending.run_id is not None
        return dict(self.project.run(ending.run_id).report)

    def _compare(self, name: str) -> dict[str, object]:
        """Win rate against the base on held-out prompts, and the run's curves."""
        adapter = self.project.adapters(AdapterKind.POLICY)[0]
        ids = _plain(self.project.prompts(Split.HELD_OUT), HELD_OUT_PROMPTS)
        pair = self.project.side_by_side(adapter.id, None, len(ids))
        self._work(SampleMatches(uuid4().hex, pair.id, ids, SAMPLER, SEED))
        while (match := self.project.next_match(pair.id)) is not None:
            left, right = line_length(match.left.text), line_length(match.right.text)
            self.project.save_verdict(match, TIE if left == right else LEFT if left < right else RIGHT, labeller="rule")
        rate = self.project.win_rate(pair.id)
        found = rate.interval
        self.say(f"{name}: wins {found.value:.0%} of {found.n} ({found.low:.0%} to {found.high:.0%}).")
        return {
            "win_rate": found.value,
            "low": found.low,
            "high": found.high,
            "n": found.n,
            "wins": rate.wins,
            "losses": rate.losses,
            "ties": rate.ties,
            "series": self._series(adapter.run_id, name),
        }

    def _series(self, run_id: str, name: str) -> list[dict[str, object]]:
        curves = {curve: dict(points) for curve, points in self.project.metrics(run_id).items()}
        reward, kl = {"dpo": ("rewards/margins", "kl_k3"), "ppo": ("objective/scores", "objective/kl")}[name]
        return [
            {"step": step, "reward": curves[reward][step], "kl": curves[kl][step]} for step in sorted(curves[reward])
        ]

    def _work(self, command: Command) -> JobEnded:
        self._endings.clear()
        self.engine.submit(command)
        self.engine.run_until_idle()
        ending = self._endings[-1]
        if ending.traceback:
            raise RuntimeError(ending.traceback)
        if isinstance(ending, EngineFailed) or ending.status is not RunStatus.COMPLETED:
            raise WorldError(ending.reason or "The demo was stopped.", ending.next_step)
        return ending

    def _hear(self, news: News) -> None:
        if isinstance(news, JobEnded | EngineFailed):
            self._endings.append(news)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        reset_peak()
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.stages.append({"name": name, "seconds": round(seconds, 1), "peak_mb": round(peak_mb())})
        self.say(f"{name}: {seconds:.0f} s, {peak_mb():.0f} MB at most")
