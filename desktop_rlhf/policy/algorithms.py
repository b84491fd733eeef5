"""The algorithms that improve a policy: specs only, so that listing them imports nothing heavy."""

from __future__ import annotations

from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.runs.spec import AlgorithmSpec

ALGORITHMS: tuple[type[AlgorithmSpec], ...] = (DpoSpec, PpoSpec)
