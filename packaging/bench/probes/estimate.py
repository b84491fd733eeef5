"""How far the estimate of a run is off: it is made, then the run is done, for a reward model, DPO and PPO.

Time is compared of the whole run and of each of its stages, and memory at its highest. A stage of the run has the time
up to each of its own news, as in the estimate; the first has what comes before it too, and the last what comes after.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from bench.plan import DEFAULT, SEED, Lengths
from bench.probes.figures import say, small
from bench.probes.session import prepared
from desktop_rlhf.prompts.starter import starter_prompts
from desktop_rlhf.records.comparisons import Comparison, Outcome
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.estimated import Estimate
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.memory import peak_mb, reset_peak
from desktop_rlhf.workbench.messages import (
    Command,
    EngineFailed,
    EstimateRun,
    JobEnded,
    JobProgressed,
    News,
    RunEstimated,
    StartRun,
)

JUDGED, FEW = 96, 16
WORDS_A_TOKEN = 0.75
SETTINGS: Mapping[str, Mapping[str, Any]] = {"reward": {}, "dpo": {}, "ppo": {"updates": 10}}
SHORT: Mapping[str, Mapping[str, Any]] = {"reward": {}, "dpo": {}, "ppo": {"updates": 3, "max_new_tokens": 8}}
LEAST_SHARE = 0.05  # of a run: a stage that takes less is not compared

# The engine passes on ten pieces of progress a second at most. Stages that change faster could not be told apart.
ALL_PROGRESS = patch("desktop_rlhf.workbench.progress.Pace.due", lambda pace, share: True)


@dataclass(frozen=True)
class Heard:
    """What an engine says, with the seconds of the clock at which it did."""

    at_s: float
    news: News


@dataclass(frozen=True)
class Done:
    """A job that came to its end, with its seconds by the clock, of each stage too, and of the processor."""

    said: list[News]
    stages_s: dict[str, float]
    clock_s: float
    processor_s: float

    @property
    def processors(self) -> float:
        """How many of them it had, on the average."""
        return round(self.processor_s / self.clock_s, 2)


def judge(path: Path, count: int) -> None:
    """Store comparisons whose completions are as long as the benchmark's are."""
    store, chance = Store.open(path / STORE_FILE), random.Random(SEED)
    prompts = store.prompts.all(Split.TRAIN)
    words = [word for prompt in starter_prompts() for word in prompt.text.split()]
    with store.transaction():
        for number in range(count):
            prompt, group_id = prompts[number % len(prompts)], uuid4().hex
            pair = [
                Completion(uuid4().hex, prompt.id, group_id, None, _text(chance, words), (), True, Sampler(), k)
                for k in range(2)
            ]
            store.completions.add_group(pair, to_label=True)
            ids = (pair[0].id, pair[1].id)
            store.comparisons.add(Comparison(uuid4().hex, prompt.id, "pairwise", ids, Outcome.RANKED, (1, 2)))
    store.close()


def _text(chance: random.Random, words: list[str]) -> str:
    lengths: Lengths = DEFAULT.completions
    size = 0.0
    while not lengths.least <= size <= lengths.most:
        size = lengths.median * chance.lognormvariate(0, lengths.sigma)
    start = chance.randrange(len(words) - lengths.most)
    return " ".join(words[start : start + round(size * WORDS_A_TOKEN)])


def by_stage(began_s: float, heard: Sequence[Heard]) -> dict[str, float]:
    """Seconds of each stage of a job, in the order of the stages. Together they are all until the last of the news."""
    found: dict[str, float] = {}
    stage, before_s, unspent_s = "", began_s, 0.0
    for one in heard:
        if isinstance(one.news, JobProgressed):
            stage = one.news.stage
        unspent_s, before_s = unspent_s + one.at_s - before_s, one.at_s
        if stage:
            found[stage], unspent_s = found.get(stage, 0.0) + unspent_s, 0.0
    return found


def carried_out(engine: Engine, heard: list[Heard], command: Command) -> Done:
    """Do one job on this thread.

    Args:
        heard: where the engine's news go.

    Raises:
        RuntimeError: it failed.
    """
    heard.clear()
    began, busy = time.perf_counter(), time.process_time()
    engine.submit(command)
    engine.run_until_idle()
    clock_s, processor_s = time.perf_counter() - began, time.process_time() - busy
    done = Done([one.news for one in heard], by_stage(began, heard), clock_s, processor_s)
    for news in done.said:
        if isinstance(news, EngineFailed) or (isinstance(news, JobEnded) and news.reason):
            raise RuntimeError(news.reason)
    return done


def compared(
    engine: Engine, heard: list[Heard], algorithm: str, judge_id: str | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What was estimated, what happened, and by how many percent the one is off the other."""
    fields: dict[str, Any] = {"algorithm": algorithm, "settings": settings, "reward_adapter_id": judge_id}
    before = carried_out(engine, heard, EstimateRun(uuid4().hex, **fields))
    (found,) = (news.estimate for news in before.said if isinstance(news, RunEstimated))
    reset_peak()
    run = carried_out(engine, heard, StartRun(uuid4().hex, **fields))
    peak = peak_mb()
    (ending,) = (news for news in run.said if isinstance(news, JobEnded))
    return {
        "estimated_s": round(found.total_s, 2),
        "took_s": round(run.clock_s, 2),
        "estimated_mb": round(found.peak_mb),
        "peak_mb": round(peak),
        "estimated_stages_s": {stage: round(seconds, 2) for stage, seconds in found.stages_s.items()},
        "took_stages_s": {stage: round(seconds, 2) for stage, seconds in run.stages_s.items()},
        "off_percent": differences(found, run.clock_s, run.stages_s, peak),
        # Where these differ, the machine had more to do beside the one than beside the other: the clock misleads.
        "processors_busy": {"estimate": before.processors, "run": run.processors},
        "to_estimate_s": round(before.clock_s, 2),
        "adapter_id": ending.adapter_id,
    }


def differences(found: Estimate, took_s: float, stages_s: Mapping[str, float], peak: float) -> dict[str, float]:
    """Percent by which an estimate is off, of the whole time, of the memory, and of every stage that counts.

    Args:
        took_s:   seconds of the run.
        stages_s: seconds of each of its stages.
        peak:     its memory at its highest, in MB.
    """
    counted = {stage: seconds for stage, seconds in stages_s.items() if seconds >= LEAST_SHARE * took_s}
    stages = {f"s, {stage}": _off(found.stages_s.get(stage, 0.0), seconds) for stage, seconds in counted.items()}
    return {"s": _off(found.total_s, took_s), "mb": _off(found.peak_mb, peak)} | stages


def _off(estimated: float, happened: float) -> float:
    return round(100 * (estimated - happened) / happened, 1)


def main() -> None:
    few = small(__doc__)
    with prepared() as path, ALL_PROGRESS:
        judge(path, FEW if few else JUDGED)
        heard: list[Heard] = []
        engine = Engine(path, lambda news: heard.append(Heard(time.perf_counter(), news)))
        engine.run_until_idle()  # the model is loaded, which is no part of a run
        rows: dict[str, dict[str, Any]] = {}
        try:
            for algorithm, settings in (SHORT if few else SETTINGS).items():
                judge_id = rows["reward"]["adapter_id"] if algorithm == "ppo" else None
                rows[algorithm] = compared(engine, heard, algorithm, judge_id, settings)
                print(algorithm, rows[algorithm], file=sys.stderr, flush=True)
        finally:
            engine.close()
    for row in rows.values():
        del row["adapter_id"]
    worst = max(abs(off) for row in rows.values() for off in row["off_percent"].values())
    say(worst, "% off at most", **rows)


if __name__ == "__main__":
    main()
