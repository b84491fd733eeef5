"""How much of everything a benchmark does, and what it should come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

SEED = 17
LORA = {"rank": 16, "alpha": 32}
LEARNING_RATE = 1e-4
PAIRS_PER_STEP = 4
PPO_EPOCHS = 4

Setting: TypeAlias = Mapping[str, Any]
"""How a process works: ``name`` for the report, and what its entry point reads."""

TRL_SETTINGS: tuple[Setting, ...] = (
    {"name": "fp32", "dtype": "float32", "bf16": False, "checkpointing": False},
    {"name": "bf16", "dtype": "bfloat16", "bf16": True, "checkpointing": False},
    {"name": "bf16 + checkpointing", "dtype": "bfloat16", "bf16": True, "checkpointing": True},
)
TRL_PPO_SETTINGS: tuple[Setting, ...] = ({"name": "fp32", "dtype": "float32"}, {"name": "bf16", "dtype": "bfloat16"})
"""TRL's PPOTrainer has a loop of its own, which reads neither ``bf16`` nor the switch for checkpointing."""


@dataclass(frozen=True)
class Lengths:
    """Tokens: a log-normal of which everything outside the limits is drawn again."""

    median: float
    sigma: float
    least: int
    most: int


@dataclass(frozen=True)
class Plan:
    """Sizes of one benchmark.

    Attributes:
        rounds:        how often ours and the peer run in turn.
        steps:         optimiser steps of DPO and of the reward model that are timed; one more warms up.
        updates:       the same of PPO.
        trial_steps:   steps or updates that are timed when a setting of the peer is tried.
        prompts:       lengths of the prompts of pairs and of sampling.
        completions:   lengths of the completions of pairs.
        max_length:    longest prompt with a completion; pairs from a file that are longer are left out.
        episodes:      of one PPO update, each of a prompt of its own.
        ppo_prompt:    tokens that PPO's prompts are nearest to.
        ppo_new:       tokens of an episode's completion.
        sampled:       prompts that are sampled.
        copies:        completions of each.
        sample_new:    tokens of a completion at most.
        batches:       prompts that the peer samples at once, each number tried.
        fewest_tried:  prompts that one such trial samples at least.
        probe_options: what the probes are told.
    """

    rounds: int = 2
    steps: int = 4
    updates: int = 2
    trial_steps: int = 1
    prompts: Lengths = Lengths(120, 0.8, 20, 400)
    completions: Lengths = Lengths(60, 0.6, 20, 150)
    max_length: int = 1024
    episodes: int = 8
    ppo_prompt: int = 40
    ppo_new: int = 32
    sampled: int = 64
    copies: int = 4
    sample_new: int = 96
    batches: tuple[int, ...] = (1, 4, 16, 32)
    fewest_tried: int = 4
    probe_options: tuple[str, ...] = ()

    @property
    def sample_settings(self) -> tuple[Setting, ...]:
        return tuple(
            {"name": f"{short}, {count} prompt{'s' * (count > 1)} at once", "dtype": dtype, "prompts": count}
            for short, dtype in (("fp32", "float32"), ("bf16", "bfloat16"))
            for count in self.batches
        )


DEFAULT = Plan()
SMALL = Plan(
    rounds=2,
    steps=2,
    updates=1,
    prompts=Lengths(30, 0.3, 12, 60),
    completions=Lengths(8, 0.3, 4, 12),
    max_length=256,
    episodes=2,
    ppo_new=4,
    sampled=4,
    copies=2,
    sample_new=6,
    batches=(1, 2),
    fewest_tried=2,
    probe_options=("--small",),
)


@dataclass(frozen=True)
class Work:
    """Something that ours and a peer both do, at a rate: the higher the better.

    Attributes:
        ours, peer:  modules that are run, ``bench.NAME``.
        peer_name:   who the peer is, for the report.
        environment: where the peer is installed: ``own``, ``parity`` or ``bench``.
        settings:    the peer's, each tried; None: those of the plan's sampling.
        goal:        how many times the peer's rate ours should be.
        memory_goal: how many times ours the peer's peak memory should be; None is no goal.
    """

    name: str
    unit: str
    ours: str
    peer: str
    peer_name: str
    environment: str
    settings: tuple[Setting, ...] | None
    goal: float
    memory_goal: float | None = None


WORKS = (
    Work("dpo", "pairs/s", "ours_dpo", "trl_dpo", "TRL 1.16", "parity", TRL_SETTINGS, 6.0, 2.5),
    Work("reward", "pairs/s", "ours_reward", "trl_reward", "TRL 1.16", "parity", TRL_SETTINGS, 4.0, 2.5),
    Work("ppo", "episodes/s", "ours_ppo", "trl_ppo", "TRL 1.12", "bench", TRL_PPO_SETTINGS, 5.0, 4.0),
    Work("sample", "tokens/s", "ours_sample", "generate_sample", "transformers", "own", None, 1.8),
)


@dataclass(frozen=True)
class Figure:
    """One figure of a probe: the lower the better.

    Attributes:
        name:  what it is, which no other figure of the probe is called.
        place: the names under which it stands in what the probe says, from the outside in.
        goal:  it should be no higher.
    """

    name: str
    unit: str
    place: tuple[str, ...]
    goal: float


@dataclass(frozen=True)
class Probe:
    """Something that only ours does, measured by ``bench.probes.NAME``, which repeats itself what is to be repeated."""

    name: str
    figures: tuple[Figure, ...]


PROBES = (
    Probe(
        "start",
        (
            Figure("start to the window's first paint", "s", ("ours",), 1.5),
            Figure("torch loaded at the window's first paint", "1 is yes", ("torch_was_loaded",), 0.0),
        ),
    ),
    Probe("first_pair", (Figure("cold start to the first pair", "s", ("ours",), 12.0),)),
    Probe(
        "lateness",
        (
            Figure("lateness of the window, p99", "ms", ("late_ms", "p99"), 50.0),
            Figure("lateness of the window, highest", "ms", ("late_ms", "max"), 200.0),
        ),
    ),
    Probe(
        "store",
        (
            Figure("saving a label, p95", "ms", ("clock_ms", "save", "p95"), 10.0),
            Figure("finding the next pair, p95", "ms", ("clock_ms", "next", "p95"), 5.0),
        ),
    ),
    Probe(
        "estimate",
        (Figure("error of an estimate of the time, of a stage too, or of memory, highest", "%", ("ours",), 25.0),),
    ),
    Probe(
        "curves",
        (
            Figure("frame, scrolled and with the cursor moved, p95", "ms", ("ours",), 33.3),
            Figure("frame with all curves painted anew, p95", "ms", ("repaint_ms", "clock", "p95"), 33.3),
            Figure("window held while a long run is read, highest", "ms", ("hold_ms", "clock", "max"), 100.0),
        ),
    ),
    Probe("key_to_paint", (Figure("key to the paint of the next pair while training, p95", "ms", ("ours",), 100.0),)),
    Probe(
        "soak",
        tuple(
            Figure(f"{what}, {model} model", "MB", (model, place), 1.0)
            for model in ("tiny", "starter")
            for what, place in (
                ("growth in 100 updates of PPO", "slope"),
                ("growth in 100 updates of PPO by least squares", "slope_by_least_squares"),
                ("left by a second run of PPO", "left_by_second_mb"),
            )
        ),
    ),
    Probe(
        "labelling",
        (
            Figure("slowdown of training by labelling, by the clock", "%", ("ours",), 25.0),
            Figure("wait of the labeller for a pair, highest", "ms", ("wait_ms", "max"), 1000.0),
        ),
    ),
)
NAMES = tuple(one.name for one in (*WORKS, *PROBES))
