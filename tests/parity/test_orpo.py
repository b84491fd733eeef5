"""ORPO against TRL's ORPOTrainer.

TRL's NLL is the mean over all tokens of the batch, those of the prompts among them; the program's is, as in the paper,
that of the chosen completion given its prompt, the mean over its tokens. The odds are the same on both sides.
"""

from __future__ import annotations

import pytest

from desktop_rlhf.policy.orpo.spec import OrpoSpec

REWARDS = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
CURVES = ("loss", "log_odds_ratio", "log_odds_chosen", *REWARDS)
SETTINGS = {"beta": 0.4}


def trainer(bench, rows, settings):
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return bench.theirs.trainer(ORPOTrainer, ORPOConfig, rows, settings)


def loss_of_the_paper(trainer, model, batch):
    """TRL's odds, and the NLL of the chosen completions, from TRL's own mean log-probabilities of these."""
    trainer.compute_loss(model, batch)
    chosen, rejected, *_ = trainer.concatenated_forward(model, batch)
    return -chosen.mean() - trainer.odds_ratio_loss(chosen, rejected)[0].mean()


def test_that_the_whole_loss_is_trls_where_a_prompt_is_one_token_and_a_batch_one_pair(bench) -> None:
    for one in bench.texts:
        bare = bench.Texts("", one.completions)
        ours = bench.ours(OrpoSpec, SETTINGS, groups=[bare.group(0)])
        bench.alike(ours, bench.theirs.measured(trainer(bench, bare.rows(), SETTINGS)), (*CURVES, "nll_loss"))


def test_that_rewards_odds_and_their_gradients_are_trls(bench) -> None:
    ours = bench.ours(OrpoSpec, SETTINGS, groups=bench.groups(bench.few))
    made = trainer(bench, bench.rows(bench.few), SETTINGS)
    bench.alike(ours, bench.theirs.measured(made, loss_of_the_paper), CURVES)


def test_that_trls_nll_has_the_prompts_tokens_in_it(bench) -> None:
    one = bench.few[1]
    spoken = bench.Texts("", (one.prompt + one.completions[0], one.completions[1]))
    all_of_it = bench.ours(OrpoSpec, SETTINGS, groups=[spoken.group(0)]).metrics["nll_loss"]
    ours = bench.ours(OrpoSpec, SETTINGS, groups=[one.group(0)]).metrics["nll_loss"]
    theirs = bench.theirs.measured(trainer(bench, one.rows(), SETTINGS)).metrics["nll_loss"]
    assert theirs == pytest.approx(all_of_it, abs=1e-5)
    assert abs(theirs - ours) > 1e-3


def test_that_what_trl_keeps_of_a_cut_pair_is_what_a_broken_off_completion_is_here(bench) -> None:
    long = bench.Texts("go on", ("and on and on", "no, this is the end"))
    ours = bench.ours(OrpoSpec, SETTINGS, groups=[bench.cut(long.group(0), 16)])
    made = trainer(bench, long.rows(), SETTINGS | {"max_length": 16})
    bench.alike(ours, bench.theirs.measured(made, loss_of_the_paper), CURVES)
