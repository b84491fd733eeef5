"""The algorithms that improve a policy: specs only, so that listing them imports nothing heavy."""

from __future__ import annotations

from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.grpo.spec import GrpoSpec
from desktop_rlhf.policy.kto.spec import KtoSpec
from desktop_rlhf.policy.orpo.spec import OrpoSpec
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.policy.rloo.spec import RlooSpec
from desktop_rlhf.policy.sft.spec import SftSpec
from desktop_rlhf.policy.simpo.spec import SimpoSpec
from desktop_rlhf.runs.spec import AlgorithmSpec

ALGORITHMS: tuple[type[AlgorithmSpec], ...] = (
    DpoSpec,
    PpoSpec,
    RlooSpec,
    GrpoSpec,
    SftSpec,
    OrpoSpec,
    SimpoSpec,
    KtoSpec,
)
