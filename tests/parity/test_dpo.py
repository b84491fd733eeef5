"""DPO and the losses in its place against TRL's DPOTrainer."""

from __future__ import annotations

import pytest

from desktop_rlhf.policy.dpo.spec import LOSS_TYPES, DpoSpec

REWARDS = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
CURVES = ("loss", *REWARDS)


def theirs(bench, rows, settings, **more):
    from trl import DPOConfig, DPOTrainer

    return bench.theirs.measured(bench.theirs.trainer(DPOTrainer, DPOConfig, rows, settings, **more))


def test_that_both_of_the_programs_forwards_are_compared(bench) -> None:
    assert (bench.ours.model.fused is None) == (bench.ours.model.base.config.model_type == "gpt2")


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_that_every_loss_with_its_rewards_and_gradients_is_trls(bench, loss_type: str) -> None:
    settings = {"beta": 0.5, "loss_type": loss_type}
    ours = bench.ours(DpoSpec, settings, groups=bench.groups(bench.few))
    bench.alike(ours, theirs(bench, bench.rows(bench.few), settings), CURVES)


@pytest.mark.parametrize("loss_type", ["robust", "aot"])
def test_that_label_smoothing_is_trls(bench, loss_type: str) -> None:
    settings = {"beta": 0.5, "loss_type": loss_type, "label_smoothing": 0.2}
    ours = bench.ours(DpoSpec, settings, groups=bench.groups(bench.few))
    bench.alike(ours, theirs(bench, bench.rows(bench.few), settings), CURVES)


def test_that_a_smoothed_sigmoid_is_trls_of_both_labels_in_their_shares(bench) -> None:
    """TRL's sigmoid does not read label_smoothing; its definition takes a share of the labels to be turned round."""
    rows = bench.rows(bench.few)
    turned = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    ours = bench.ours(DpoSpec, {"beta": 0.5, "label_smoothing": 0.2}, groups=bench.groups(bench.few))
    both = [(share, theirs(bench, side, {"beta": 0.5})) for share, side in ((0.8, rows), (0.2, turned))]
    bench.alike(ours, bench.sum_of(both), ["loss"])
    unread = theirs(bench, rows, {"beta": 0.5, "label_smoothing": 0.2})
    assert unread.metrics["loss"] == both[0][1].metrics["loss"]


def test_that_the_sft_term_is_trls_of_each_pair_alone(bench) -> None:
    """TRL's is the mean over the tokens of the batch, the program's the mean over pairs of each one's mean: alike where
    a batch has one pair."""
    weighted = {"beta": 0.5, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]}
    ours = bench.ours(DpoSpec, {"beta": 0.5, "rpo_alpha": 0.7}, groups=bench.groups(bench.few))
    alone = [(1 / len(bench.few), theirs(bench, one.rows(), weighted)) for one in bench.few]
    bench.alike(ours, bench.sum_of(alone), CURVES)
    together = theirs(bench, bench.rows(bench.few), weighted)
    assert abs(together.metrics["loss"] - ours.metrics["loss"]) > 1e-3


def test_that_the_rewards_of_each_pair_are_trls(bench) -> None:
    for one in bench.texts:
        ours = bench.ours(DpoSpec, {"beta": 0.5}, groups=[one.group(0)])
        bench.alike(ours, theirs(bench, one.rows(), {"beta": 0.5}), CURVES)


def test_that_a_ranking_is_trls_batch_of_its_pairs(bench) -> None:
    """Though each completion is computed once, behind the prompt that they share."""
    ranking = bench.Texts("which? ", ("the first", "2nd", "or last"))
    ours = bench.ours(DpoSpec, {"beta": 0.5}, groups=[ranking.group(0)])
    bench.alike(ours, theirs(bench, ranking.rows(), {"beta": 0.5}), CURVES)


def test_that_a_continued_run_holds_to_where_it_started_as_trls_does(bench) -> None:
    ours = bench.ours(DpoSpec, {"beta": 0.5}, groups=bench.groups(bench.few), start_path=bench.ours.start())
    bench.alike(ours, theirs(bench, bench.rows(bench.few), {"beta": 0.5}, continued=True), CURVES)


def test_that_a_pair_too_long_is_left_out_where_trl_would_cut_it(bench) -> None:
    long = bench.Texts("go on", ("and on " * 5, "no"))
    limit = {"beta": 0.5, "max_length": 32}
    ours = bench.ours(DpoSpec, limit, groups=bench.groups([*bench.few, long]))
    assert any("1 longer than max_length" in note for note in ours.notes)
    bench.alike(ours, theirs(bench, bench.rows(bench.few), limit), CURVES)
    cut = theirs(bench, bench.rows([*bench.few, long]), limit)
    assert abs(cut.metrics["loss"] - ours.metrics["loss"]) > 1e-3


def test_that_what_trl_keeps_of_a_cut_pair_is_what_a_broken_off_completion_is_here(bench) -> None:
    long = bench.Texts("go on", ("and on and on", "no, this is the end"))
    ours = bench.ours(DpoSpec, {"beta": 0.5}, groups=[bench.cut(long.group(0), 16)])
    bench.alike(ours, theirs(bench, long.rows(), {"beta": 0.5, "max_length": 16}), CURVES)
