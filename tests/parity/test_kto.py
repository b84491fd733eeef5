"""KTO against TRL's KTOTrainer."""

from __future__ import annotations

import pytest
import torch

from desktop_rlhf.policy.kto.spec import KtoSpec
from desktop_rlhf.policy.kto.train import spread
from desktop_rlhf.records.comparisons import JudgedCompletion
from desktop_rlhf.runs.seeds import derive_seed

CURVES = ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "kl")


def theirs(bench, rows, settings):
    from trl import KTOConfig, KTOTrainer

    return bench.theirs.measured(bench.theirs.trainer(KTOTrainer, KTOConfig, rows, settings))


@pytest.mark.parametrize("turned", [False, True], ids=["good first", "good and bad turned"])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.5, 0.6)])
def test_that_loss_rewards_reference_point_and_gradients_are_trls(bench, weights, turned: bool) -> None:
    """TRL puts behind each prompt the completion before its own, the program the one after it: TRL reads backwards."""
    settings = {"beta": 0.5, "desirable_weight": weights[0], "undesirable_weight": weights[1]}
    good = [(place % 3 == 0) ^ turned for place in range(len(bench.texts))]
    judged = [
        JudgedCompletion(group.comparison_id, group.prompt, group.completions[0 if is_good else 1], is_good)
        for group, is_good in zip(bench.groups(bench.texts), good, strict=True)
    ]
    ours = bench.ours(KtoSpec, settings, judged=judged)
    order = spread(good, torch.Generator().manual_seed(derive_seed(0, "order")))
    rows = [
        {"prompt": bench.begin + one.prompt.text, "completion": one.completion.text, "label": one.desirable}
        for one in (judged[place] for place in reversed(order))
    ]
    bench.alike(ours, theirs(bench, rows, settings), CURVES)
