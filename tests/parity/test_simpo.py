"""SimPO against TRL's CPOTrainer without its SFT term."""

from __future__ import annotations

import pytest

from desktop_rlhf.policy.simpo.spec import SimpoSpec

CURVES = ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")


def theirs(bench, rows, settings):
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    alone = {"loss_type": "simpo", "cpo_alpha": 0.0}
    return bench.theirs.measured(bench.theirs.trainer(CPOTrainer, CPOConfig, rows, alone | settings))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.2])
def test_that_loss_rewards_and_gradients_are_trls(bench, gamma: float) -> None:
    settings = {"beta": 2.0, "simpo_gamma": gamma}
    ours = bench.ours(SimpoSpec, settings, groups=bench.groups(bench.texts))
    bench.alike(ours, theirs(bench, bench.rows(bench.texts), settings), CURVES)


def test_that_what_trl_keeps_of_a_cut_pair_is_what_a_broken_off_completion_is_here(bench) -> None:
    long = bench.Texts("go on", ("and on and on", "no, this is the end"))
    ours = bench.ours(SimpoSpec, {}, groups=[bench.cut(long.group(0), 16)])
    bench.alike(ours, theirs(bench, long.rows(), {"beta": 2.0, "simpo_gamma": 0.5, "max_length": 16}), CURVES)
