"""Rows on the reward model."""

from __future__ import annotations

from breaks.row import Advice, Break, Row

SCORES = "tests/reward/test_scores.py::"
LAST_TOKEN = SCORES + "test_that_the_last_token_is_found_by_its_place_though_the_end_token_pads"
EVERYWHERE = SCORES + "test_that_a_score_is_the_same_in_training_from_the_disk_and_in_a_rollout"
ON_A_SCALE = "tests/reward/test_reward.py::"
ON_A_SCALE += "test_that_the_scale_is_that_of_the_samples_of_the_base_and_the_report_does_not_hang_on_it"
ONE_PASS = SCORES + "test_that_one_pass_is_the_default_and_its_rates_fall_evenly_to_nothing"

REWARD: tuple[Row | Advice, ...] = (
    Row(
        "R1",
        "The loss is -log sigmoid(r_c - r_r - margin), with a penalty on (r_c + r_r)^2 that alone feels a level common "
        "to all scores.",
        (
            Break(
                "The margin is given away and not asked for",
                "tests/reward/test_reward.py::test_that_a_margin_asks_for_scores_that_far_apart",
                "desktop_rlhf/reward/loss.py",
                "logsigmoid(chosen - rejected - margin)",
                "logsigmoid(chosen - rejected + margin)",
            ),
            Break(
                "The loss is that of the chosen alone",
                SCORES + "test_that_the_loss_of_the_turned_pair_is_that_of_the_turned_margin",
                "desktop_rlhf/reward/loss.py",
                "logsigmoid(chosen - rejected - margin)",
                "logsigmoid(chosen - margin)",
            ),
            Break(
                "The penalty is on the difference",
                SCORES + "test_that_a_level_common_to_all_scores_costs_nothing_unless_they_are_centred",
                "desktop_rlhf/reward/loss.py",
                "center * (chosen + rejected) ** 2",
                "center * (chosen - rejected) ** 2",
            ),
        ),
    ),
    Row(
        "R2",
        "A ranking of K takes K forwards and weighs as one comparison, the mean over its pairs; what is held out is "
        "held out by prompt, so no prompt stands on both sides.",
        (
            Break(
                "Completions go through the model twice",
                SCORES + "test_that_a_ranking_of_k_takes_k_forwards_and_weighs_as_one_comparison",
                "desktop_rlhf/reward/train.py",
                "scores = head.rewards(model, some.packed)",
                "scores = (head.rewards(model, some.packed) + head.rewards(model, some.packed)) / 2",
            ),
            Break(
                "A ranking weighs as many times as it has pairs",
                SCORES + "test_that_a_ranking_of_k_takes_k_forwards_and_weighs_as_one_comparison",
                "desktop_rlhf/adapters/batches.py",
                "[1 / len(group.pairs)] * len(group.pairs)",
                "[1.0] * len(group.pairs)",
            ),
            Break(
                "Comparisons are held out one by one",
                "tests/comparisons/test_pairs.py::test_that_no_prompt_stands_on_both_sides_and_more_labels_move_none",
                "desktop_rlhf/comparisons/pairs.py",
                'derive_seed(seed, "held out", words)',
                'derive_seed(seed, "held out", group.comparison_id)',
            ),
        ),
    ),
    Row(
        "R3",
        "Ties, skips and both-bad order nothing and give no pair.",
        (
            Break(
                "Of two equal ranks the first shown wins",
                "tests/comparisons/test_pairs.py::test_that_equal_ranks_give_no_pair",
                "desktop_rlhf/comparisons/pairs.py",
                " if ranks[a] != ranks[b]",
                "",
            ),
            Break(
                "Any outcome with ranks is an order",
                "tests/comparisons/test_pairs.py::test_that_only_a_ranking_gives_pairs",
                "desktop_rlhf/comparisons/pairs.py",
                "is not Outcome.RANKED:\n        return ()\n    ranks",
                "is Outcome.SKIPPED:\n        return ()\n    ranks",
            ),
        ),
    ),
    Row(
        "R4",
        "The last token is found by its place: a score is the same alone, in front of padding and behind a sibling, "
        "with the end token as padding, inside the prompt or at the end.",
        (
            Break(
                "It is the rightmost token that is no padding token",
                LAST_TOKEN,
                "desktop_rlhf/reward/model.py",
                "return hidden[packed.last]",
                "ends = packed.input_ids[packed.computed][packed.last] == 1\n"
                "    return hidden[packed.last - ends.long()]",
            ),
            Break(
                "It is the last of what goes through the model together",
                LAST_TOKEN,
                "desktop_rlhf/reward/model.py",
                "return hidden[packed.last]",
                "return hidden[-1:].expand(len(packed.last), -1)",
            ),
            Break(
                "The mean takes padding in",
                "tests/reward/test_reward.py::test_that_a_score_does_not_hang_on_padding_or_on_siblings",
                "desktop_rlhf/reward/model.py",
                "torch.where(packed.mask.unsqueeze(-1), own, 0.0)",
                "own",
            ),
        ),
    ),
    Row(
        "R5",
        "A completion is the same ids, its end token included, when a reward model learns from it, is measured on it "
        "and scores it in a rollout; a written one gets the end token that a sampled one has.",
        (
            Break(
                "Scoring leaves the adapter off, and with it what was learned",
                EVERYWHERE,
                "desktop_rlhf/reward/model.py",
                "self.model.take_role(Role(self.name))",
                "self.model.take_role(Role(None))",
            ),
            Break(
                "In a rollout the end token is not scored",
                EVERYWHERE,
                "desktop_rlhf/policy/rollout.py",
                "scores = self.reward_model.score(packed)",
                "import dataclasses\n"
                "        scores = self.reward_model.score(dataclasses.replace(packed, last=packed.last - 1))",
            ),
            Break(
                "A written completion has no end token",
                "tests/adapters/test_tokens.py::"
                "test_that_a_written_completion_is_learned_from_as_one_that_was_sampled_and_ended",
                "desktop_rlhf/adapters/chat.py",
                "return ids if self.turn_end is None else [*ids, self.turn_end]",
                "return ids",
            ),
        ),
    ),
    Row(
        "R6",
        "The head starts at 0, not at random as in the papers: with few comparisons a random start would prefer "
        "something before anything was learned. Its bias only puts scores on a scale and starts at 0.",
        (
            Break(
                "The head starts at random",
                SCORES + "test_that_the_head_prefers_nothing_before_it_learned",
                "desktop_rlhf/reward/model.py",
                "nn.Parameter(torch.zeros(hidden_size))",
                "nn.Parameter(torch.randn(hidden_size) / (hidden_size + 1) ** 0.5)",
            ),
            Break(
                "It does, and a run's first loss is another",
                "tests/reward/test_reward.py::test_that_the_first_loss_is_that_of_the_margins_asked_for",
                "desktop_rlhf/reward/model.py",
                "nn.Parameter(torch.zeros(hidden_size))",
                "nn.Parameter(torch.randn(hidden_size) / (hidden_size + 1) ** 0.5)",
            ),
        ),
    ),
    Row(
        "R7",
        "After training, a gain above 0 and a bias in the saved head put the scores of up to 512 samples of the base "
        "at mean 0 and variance 1; they change no order. Before training there is nothing to scale, as the head is 0.",
        (
            Break(
                "The bias is not scaled",
                "tests/reward/test_calibration.py::"
                "test_that_gain_and_bias_put_scores_at_mean_0_and_variance_1_in_the_same_order",
                "desktop_rlhf/reward/calibration.py",
                "-fmean(scores) / spread",
                "-fmean(scores)",
            ),
            Break(
                "The scale is that of everything that was compared",
                "tests/reward/test_calibration.py::test_that_the_scale_rests_on_what_the_base_sampled_each_once",
                "desktop_rlhf/reward/calibration.py",
                "if c.adapter_id is None and c.completion_ids",
                "if c.completion_ids",
            ),
            Break(
                "The gain is not saved",
                ON_A_SCALE,
                "desktop_rlhf/reward/train.py",
                "head.gain.fill_(gain)",
                "head.gain.fill_(1)",
            ),
        ),
    ),
    Row(
        "R8",
        "The rates fall evenly to 0 over one pass, which is the default; held-out accuracy and its interval are "
        "measured after it.",
        (
            Break(
                "The rates stay",
                ONE_PASS,
                "desktop_rlhf/reward/train.py",
                "decay=True",
                "decay=False",
            ),
            Break(
                "Three passes are the default",
                ONE_PASS,
                "desktop_rlhf/reward/spec.py",
                '1, "Passes over the comparisons; more than one overfits."',
                '3, "Passes over the comparisons; more than one overfits."',
            ),
        ),
    ),
    Row(
        "R9",
        "The head is saved with its adapter and scores bit for bit the same in another model that reads it; a head "
        "that is missing, or lacks a part, is an error.",
        (
            Break(
                "A part that is missing is made anew",
                SCORES + "test_that_a_reward_model_whose_head_is_gone_or_in_part_is_refused",
                "desktop_rlhf/reward/model.py",
                "head.load_state_dict(stored)",
                "head.load_state_dict(stored, strict=False)",
            ),
            Break(
                "The head is saved rounded",
                SCORES + "test_that_a_reward_model_read_again_scores_bit_for_bit_as_the_one_that_was_saved",
                "desktop_rlhf/adapters/resident.py",
                "write_tensors(head, aside",
                "write_tensors({k: v.bfloat16().float() for k, v in head.items()}, aside",
            ),
        ),
    ),
    Row(
        "R10",
        "Beside the accuracy stand those of “longer wins” and “shorter wins” and the correlation of score and length; "
        "a reward model that does not clearly beat them is said not to.",
        (
            Break(
                "The shorter one is taken for the longer",
                "tests/reward/test_calibration.py::"
                "test_that_the_baselines_weigh_each_comparison_once_as_the_accuracy_does",
                "desktop_rlhf/reward/calibration.py",
                "_sign_share(self.lengths[better] - self.lengths[worse])",
                "_sign_share(self.lengths[worse] - self.lengths[better])",
            ),
            Break(
                "The correlation is taken across prompts",
                "tests/reward/test_calibration.py::test_that_the_length_correlation_is_taken_within_comparisons",
                "desktop_rlhf/reward/calibration.py",
                "[score - fmean(one.scores) for",
                "[score for",
            ),
            Break(
                "The upper end of the interval is enough to beat them",
                "tests/gui/test_reward_page.py::test_that_a_model_no_better_than_length_alone_is_warned_of",
                "desktop_rlhf/gui/curves/held_out.py",
                "self.accuracy.low > trivial",
                "self.accuracy.high > trivial",
            ),
        ),
    ),
    Row(
        "R11",
        "Accuracy is told with n and its Wilson interval, each comparison counting once; 50 of them leave 13 points to "
        "either side.",
        (
            Break(
                "The interval is the plain normal one",
                "tests/records/test_wilson.py::"
                "test_that_the_ends_of_an_interval_are_the_shares_that_lie_just_so_far_off",
                "desktop_rlhf/records/verdicts.py",
                "centre = (share + z2 / (2 * n)) / (1 + z2 / n)",
                "centre = share",
            ),
            Break(
                "Pairs of one ranking count as if each were a comparison",
                "tests/reward/test_calibration.py::"
                "test_that_the_baselines_weigh_each_comparison_once_as_the_accuracy_does",
                "desktop_rlhf/reward/calibration.py",
                "accuracy = wilson(sum(one.right for one in held_out), len(held_out))",
                "accuracy = wilson(sum(one.right for one in held_out), sum(len(one.pairs) for one in held_out))",
            ),
            Break(
                "The window shows accuracy without n",
                "tests/gui/test_reward_page.py::"
                "test_that_the_end_shows_accuracy_with_its_n_and_interval_beside_the_baselines",
                "desktop_rlhf/gui/curves/held_out.py",
                "self.interval.setText(held_out.interval_words())",
                "self.interval.setText(WHAT)",
            ),
        ),
    ),
)
