"""A project that holds many runs, one of them very long, made without a model."""

from __future__ import annotations

import math
import random
from pathlib import Path

from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.project import ProjectInfo
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.records.runs import MetricPoint, Run, RunStatus
from desktop_rlhf.store.store import Store

AT = "2026-01-01T00:00:00.000000+00:00"
LEARNED_FROM = tuple(f"{i:032x}" for i in range(1_000))


def fill(path: Path, runs: int, points: int) -> None:
    """Make a project of ``runs`` runs with an adapter each; the newest has ``points`` points on each of its curves."""
    path.mkdir(parents=True)
    store = Store.create(path / "project.sqlite", ProjectInfo("probe", "Probe", "none", "none", "me", AT))
    store.prompts.add([(Prompt("prompt", (Message("user", "What should I do?"),)), "key")])
    drawn = random.Random(0)
    settings = DpoSpec().as_settings()
    with store.transaction():
        for number in range(runs):
            run = Run(f"run {number}", DpoSpec.name, settings, None, None, {}, {"torch": "2"}, created_at=AT)
            store.runs.add(run, LEARNED_FROM)
            length = points if number == runs - 1 else 100
            for metric in DpoSpec.metrics:
                store.runs.record(
                    run.id,
                    [
                        MetricPoint(step, metric.name, math.exp(-step / length) + 0.1 * drawn.random())
                        for step in range(1, length + 1)
                    ],
                )
            store.runs.end(run.id, RunStatus.COMPLETED, "", {"accuracy": 0.7})
            name = f"dpo {number}"
            store.adapters.add(Adapter(name, name, AdapterKind.POLICY, None, run.id, f"adapters/{name}", "hash", AT))
    store.close()
