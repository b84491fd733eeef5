from __future__ import annotations

import pytest

from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.workbench.messages import EstimateRun, JobEnded, RunEstimated, StartRun

SMALL = {"lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2}


def test_x(labelled, work):
    work(StartRun("r", "reward", SMALL))
    r = labelled.adapters()[0].id
    for a in ("dpo", "orpo", "simpo", "sft", "kto", "reward", "ppo", "rloo", "grpo"):
        s = SMALL | ({"updates": 5, "max_new_tokens": 6} if a in ("ppo", "rloo", "grpo") else {"epochs": 3})
        said = work(EstimateRun("e", a, s, reward_adapter_id=r if "updates" in s else None))
        print(a, [n.estimate.sentence for n in said if isinstance(n, RunEstimated)], [n for n in said if isinstance(n, JobEnded)][0])
        print([n.estimate for n in said if isinstance(n, RunEstimated)])
    assert 0
