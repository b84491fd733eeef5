"""Rows on PPO and what learns from rollouts beside it."""

from __future__ import annotations

from breaks.row import Advice, Break, Row

NUMERICS = "tests/numerics/test_numerics.py::test_that_"
PPO_TESTS = "tests/policy/test_ppo.py::test_that_"
ROLLOUT = "tests/policy/test_rollout.py::test_that_"
DRAW = "tests/policy/test_draw.py::test_that_"
BANDIT = "tests/policy/test_bandit.py::test_that_"

# As the decoder would know them: token by token, from its cache of keys and values.
DECODED = """        logprobs, values, entropy = evaluate(model, packed, temperature, self.critic)
        for row, (ids, one) in enumerate((ids, one) for ids, drawn in written for one in drawn):
            read = model.trunk(torch.tensor([list(ids)]), use_cache=True)
            for place, token in enumerate(one.completion_ids):
                logprobs[row, place] = model.vocabulary.scores(
                    read.last_hidden_state[:, -1], torch.tensor([token]), temperature
                ).logprobs
                read = model.trunk(torch.tensor([[token]]), past_key_values=read.past_key_values, use_cache=True)
"""

PPO: tuple[Row | Advice, ...] = (
    Row(
        "P1",
        "The loss is the larger of -A ratio and -A times the ratio clipped to within 0.2 of 1.",
        (
            Break(
                "The smaller of the two is taken",
                PPO_TESTS + "the_policy_loss_equals_a_table_worked_by_hand",
                "desktop_rlhf/numerics/surrogate.py",
                "return torch.maximum(free, clipped)",
                "return torch.minimum(free, clipped)",
            ),
            Break(
                "Ratios are clipped from above only",
                PPO_TESTS + "the_policy_loss_equals_a_table_worked_by_hand",
                "desktop_rlhf/numerics/surrogate.py",
                "ratio.clamp(1 - cliprange, 1 + cliprange)",
                "ratio.clamp(max=1 + cliprange)",
            ),
        ),
    ),
    Row(
        "P2",
        "Before the first optimiser step every ratio is exactly 1, whatever was sampled in between: the old "
        "log-probabilities come from the training forward over the very micro-batches that are learned from. A rollout "
        "that is one micro-batch is learned from at first in the very forward that scored it.",
        (
            Break(
                "The old log-probabilities are those of the decoder and its cache",
                PPO_TESTS + "the_first_ratio_is_exactly_one_with_sampling_served_between",
                "desktop_rlhf/policy/rollout.py",
                "        logprobs, values, entropy = evaluate(model, packed, temperature, self.critic)\n",
                DECODED,
            ),
            Break(
                "The old log-probabilities are taken at temperature 1",
                PPO_TESTS + "the_first_ratio_is_exactly_one_with_sampling_served_between",
                "desktop_rlhf/policy/rollout.py",
                "logprobs, values, entropy = evaluate(model, packed, temperature, self.critic)",
                "logprobs, values, entropy = evaluate(model, packed, 1.0, self.critic)",
            ),
            Break(
                "The forward that scored a rollout is learned from in every pass",
                PPO_TESTS + "the_first_pass_learns_from_the_forward_that_scored_the_rollout",
                "desktop_rlhf/policy/rollout.py",
                "forward, self._forward = self._forward, None",
                "forward = self._forward",
            ),
            Break(
                "The forward that is learned from first is another than the one that scored",
                PPO_TESTS + "the_first_pass_learns_from_the_forward_that_scored_the_rollout",
                "desktop_rlhf/policy/rollout.py",
                "self._forward = logprobs, values",
                "self._forward = 2 * logprobs, values",
            ),
            Break(
                "A pass keeps the role that another job left",
                ROLLOUT + "the_gradients_of_micro_batches_are_those_of_the_mean_over_all_tokens",
                "desktop_rlhf/policy/on_policy.py",
                "        inputs.model.take_role(role)  # a job served in between may have taken another\n",
                "",
            ),
        ),
    ),
    Row(
        "P3",
        "The KL penalty is a reward of each token, -kl_coef (log policy - log reference); with the score at the end a "
        "completion's rewards add up to score - kl_coef times their sum, and without the penalty they are one spike.",
        (
            Break(
                "The penalty has the wrong sign",
                PPO_TESTS + "a_completions_token_rewards_add_up_to_score_less_kl",
                "desktop_rlhf/policy/ppo/loss.py",
                "rewards = -kl_coef * kl_tokens(",
                "rewards = kl_coef * kl_tokens(",
            ),
            Break(
                "Every token pays the mean of its completion",
                PPO_TESTS + "every_token_pays_its_own_kl_and_the_last_one_alone_gets_the_score",
                "desktop_rlhf/policy/ppo/loss.py",
                "    last = mask.sum(dim=-1) - 1\n",
                "    last = mask.sum(dim=-1) - 1\n"
                "    rewards = mask * rewards.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)\n",
            ),
        ),
    ),
    Row(
        "P4",
        "With r = log reference - log policy, k1 = -r and k3 = exp(r) - 1 - r both average to the KL, and k3 is never "
        "below 0 and spreads less; a mean k1 clearly below 0 raises an alarm.",
        (
            Break(
                "k1 is half the square of the log-ratio, which is biased",
                NUMERICS + "k1_and_k3_estimate_the_exact_kl",
                "desktop_rlhf/numerics/kl.py",
                'return -log_ratio if estimator == "k1"',
                'return 0.5 * log_ratio**2 if estimator == "k1"',
            ),
            Break(
                "k3 takes the ratio upside down",
                NUMERICS + "k1_and_k3_estimate_the_exact_kl",
                "desktop_rlhf/numerics/kl.py",
                "torch.expm1(log_ratio) - log_ratio",
                "torch.expm1(-log_ratio) + log_ratio",
            ),
            Break(
                "The alarm does not ask what chance explains",
                ROLLOUT + "a_kl_is_doubted_only_below_what_chance_explains",
                "desktop_rlhf/policy/rollout.py",
                "min(LOWEST_KL, -4 * error)",
                "LOWEST_KL",
            ),
            Break(
                "The alarm never rings",
                PPO_TESTS + "a_kl_below_zero_is_told_once",
                "desktop_rlhf/policy/rollout.py",
                "return kls.mean().item() < min(",
                "return kls.mean().item() < 100 * min(",
            ),
        ),
    ),
    Row(
        "P5",
        "The adaptive coefficient grows by clip(KL / target - 1, ±0.2) times completions / horizon: up while the KL is "
        "above its target, down while it is below.",
        (
            Break(
                "It moves the wrong way",
                ROLLOUT + "the_kl_coefficient_follows_a_table_worked_by_hand",
                "desktop_rlhf/policy/kl_control.py",
                "kl / self.target - 1",
                "1 - kl / self.target",
            ),
            Break(
                "The error is not clipped",
                ROLLOUT + "the_kl_coefficient_follows_a_table_worked_by_hand",
                "desktop_rlhf/policy/kl_control.py",
                "min(max(kl / self.target - 1, -0.2), 0.2)",
                "kl / self.target - 1",
            ),
            Break(
                "A rollout larger than the horizon counts in full",
                ROLLOUT + "the_kl_coefficient_never_changes_sign",
                "desktop_rlhf/policy/kl_control.py",
                "min(completions / self.horizon, 1)",
                "completions / self.horizon",
            ),
        ),
    ),
    Row(
        "P6",
        "GAE equals the double sum over discounted errors of the value; the value behind a completion's last token is "
        "0, whether it ended or was cut.",
        (
            Break(
                "The recursion forgets lambda",
                NUMERICS + "gae_equals_the_double_sum_on_ragged_batches",
                "desktop_rlhf/numerics/advantages.py",
                "gamma * lam * running",
                "gamma * running",
            ),
            Break(
                "The last value is taken again behind the last token",
                NUMERICS + "gae_equals_the_double_sum_on_ragged_batches",
                "desktop_rlhf/numerics/advantages.py",
                "else torch.zeros_like(running)",
                "else values[:, t]",
            ),
            Break(
                "What stands in the padding counts as the next value",
                NUMERICS + "gae_ignores_what_stands_in_the_padding",
                "desktop_rlhf/numerics/advantages.py",
                "    values = torch.where(mask, values, 0.0)\n",
                "",
            ),
        ),
    ),
    Row(
        "P7",
        "The score lands on a completion's last real token and nowhere else. TRL puts it one place later where there "
        "is room, so its advantages differ.",
        (
            Break(
                "The score lands one place behind the last token where there is room",
                PPO_TESTS + "every_token_pays_its_own_kl_and_the_last_one_alone_gets_the_score",
                "desktop_rlhf/policy/ppo/loss.py",
                "last = mask.sum(dim=-1) - 1",
                "last = mask.sum(dim=-1).clamp(max=mask.shape[-1] - 1)",
            ),
            Break(
                "The score lands in the last column",
                PPO_TESTS + "every_token_pays_its_own_kl_and_the_last_one_alone_gets_the_score",
                "desktop_rlhf/policy/ppo/loss.py",
                "last = mask.sum(dim=-1) - 1",
                "last = mask.shape[-1] - 1",
            ),
        ),
    ),
    Row(
        "P8",
        "Whitened rewards keep their mean and advantages lose it, over the whole rollout and its real tokens only, by "
        "the biased variance, so that one token divides by something.",
        (
            Break(
                "Whitened rewards lose their mean",
                ROLLOUT + "whitened_rewards_keep_their_mean_and_advantages_have_none",
                "desktop_rlhf/policy/ppo/train.py",
                "rewards = whiten_together(rewards, masks, shift_mean=False)",
                "rewards = whiten_together(rewards, masks)",
            ),
            Break(
                "Advantages are whitened within each prompt",
                ROLLOUT + "whitened_rewards_keep_their_mean_and_advantages_have_none",
                "desktop_rlhf/policy/ppo/train.py",
                "self.advantages = whiten_together(raw, masks)",
                "self.advantages = [whiten_together([a], [m])[0] for a, m in zip(raw, masks, strict=True)]",
            ),
            Break(
                "The variance is the unbiased one",
                NUMERICS + "whitening_leaves_padding_at_zero_and_survives_one_token",
                "desktop_rlhf/numerics/masked.py",
                "variance = masked_mean(centred**2, mask)",
                "variance = values[mask].var()",
            ),
            Break(
                "Padding is whitened with the rest",
                NUMERICS + "whitening_leaves_padding_at_zero_and_survives_one_token",
                "desktop_rlhf/numerics/masked.py",
                "return torch.where(mask, whitened, 0.0)",
                "return whitened",
            ),
        ),
    ),
    Row(
        "P9",
        "The critic starts at exactly 0, reads the state that predicts a token, behind the prompt and what was written "
        "so far, and sends no gradient into the policy, which is not stepped at all while the value warms up.",
        (
            Break(
                "The critic starts at random weights",
                PPO_TESTS + "a_new_critic_values_everything_at_exactly_nothing",
                "desktop_rlhf/policy/ppo/critic.py",
                "nn.Parameter(torch.zeros(1, hidden_size))",
                "nn.Parameter(torch.randn(1, hidden_size))",
            ),
            Break(
                "The value's gradient reaches the policy",
                PPO_TESTS + "no_gradient_of_the_value_reaches_the_policy",
                "desktop_rlhf/policy/ppo/critic.py",
                "linear(hidden.detach(), ",
                "linear(hidden, ",
            ),
            Break(
                "The value is read one token late",
                DRAW + "a_value_is_read_from_the_state_that_predicts_its_token",
                "desktop_rlhf/policy/rollout.py",
                "critic(predicting_states(hidden, packed))",
                "critic(predicting_states(hidden, packed).roll(-1, dims=1))",
            ),
            Break(
                "While the value warms up the optimiser steps the policy by gradients of 0",
                PPO_TESTS + "the_optimiser_does_not_meet_the_policy_while_the_value_warms_up",
                "desktop_rlhf/policy/on_policy.py",
                "trained if learner.trains_policy else trained[1:]",
                "trained",
            ),
        ),
    ),
    Row(
        "P10",
        "The value loss is half the larger of two squared errors, of the value and of the value held within 0.2 of its "
        "old self, averaged over real tokens.",
        (
            Break(
                "The smaller error is taken",
                PPO_TESTS + "the_value_loss_equals_a_table_worked_by_hand",
                "desktop_rlhf/policy/ppo/loss.py",
                "0.5 * masked_mean(torch.maximum(free, clipped), mask)",
                "0.5 * masked_mean(torch.minimum(free, clipped), mask)",
            ),
            Break(
                "The mean is taken over padding too",
                PPO_TESTS + "the_value_loss_equals_a_table_worked_by_hand",
                "desktop_rlhf/policy/ppo/loss.py",
                "0.5 * masked_mean(torch.maximum(free, clipped), mask)",
                "0.5 * torch.maximum(free, clipped).mean()",
            ),
        ),
    ),
    Row(
        "P11",
        "Writing stops at the first end token, which is itself learned from; what was cut pays exactly the penalty; "
        "nothing behind the end has a log-probability, an advantage or a gradient.",
        (
            Break(
                "What ended pays the penalty",
                DRAW + "only_what_was_cut_pays_the_penalty_and_nothing_stands_behind_the_end",
                "desktop_rlhf/policy/rollout.py",
                "0.0 if d.ended else self.spec.missing_eos_penalty",
                "self.spec.missing_eos_penalty if d.ended else 0.0",
            ),
            Break(
                "The penalty is shown and not learned from",
                DRAW + "only_what_was_cut_pays_the_penalty_and_nothing_stands_behind_the_end",
                "desktop_rlhf/policy/rollout.py",
                "rewards=rewards - cut",
                "rewards=rewards",
            ),
            Break(
                "Writing goes on behind the end token",
                "tests/completions/test_sampling.py::test_that_a_completion_ends_with_the_end_token_or_at_the_limit",
                "desktop_rlhf/completions/sampling.py",
                "if not self._ended[index] and len(self._written[index])",
                "if len(self._written[index])",
            ),
            Break(
                "The end token is masked because it is also the pad token",
                "tests/adapters/test_packing.py::test_that_the_end_token_is_kept_though_it_equals_the_pad_token",
                "desktop_rlhf/adapters/packing.py",
                "targets[n, :length], mask[n, :length] = ids, True",
                "targets[n, :length], mask[n, :length] = ids, ids != 1",
            ),
        ),
    ),
    Row(
        "P12",
        "The ids that are learned from are the ids that were sampled; a completion that was cut never has its last "
        "token replaced by an end token.",
        (
            Break(
                "The last token is replaced by the end token",
                DRAW + "the_ids_learned_from_are_the_ids_that_were_sampled",
                "desktop_rlhf/policy/rollout.py",
                "[one.completion_ids for one in drawn]",
                "[(*one.completion_ids[:-1], 1) for one in drawn]",
            ),
        ),
    ),
    Row(
        "P13",
        "No dropout is drawn in any role, in training neither: not by modules, not within attention, not by adapters.",
        (
            Break(
                "Attaching an adapter leaves the model in training mode",
                DRAW + "no_role_draws_dropout",
                "desktop_rlhf/adapters/resident.py",
                "        self.base.eval()\n        self._set(role)\n",
                "        self.base.train()\n        self._set(role)\n",
            ),
        ),
    ),
    Row(
        "P14",
        "Adam's epsilon is 1e-5, since with 1e-8 the first updates of PPO move the policy several times as far, and "
        "gradients are clipped before each step.",
        (
            Break(
                "Adam's epsilon is 1e-8",
                PPO_TESTS + "adam_takes_a_large_epsilon_and_gradients_that_were_clipped",
                "desktop_rlhf/policy/on_policy.py",
                "eps=1e-5",
                "eps=1e-8",
            ),
            Break(
                "Gradients are measured and not clipped",
                PPO_TESTS + "adam_takes_a_large_epsilon_and_gradients_that_were_clipped",
                "desktop_rlhf/policy/on_policy.py",
                "clip_grad_norm_(parameters, spec.max_grad_norm)",
                'clip_grad_norm_(parameters, float("inf"))',
            ),
        ),
    ),
    Row(
        "P15",
        "A pass takes every completion once, and its gradient is that of the mean over the whole rollout, whatever the "
        "micro-batches; every prompt comes once before any comes again, in an order drawn anew.",
        (
            Break(
                "Each prompt weighs the same, however many tokens were written to it",
                ROLLOUT + "the_gradients_of_micro_batches_are_those_of_the_mean_over_all_tokens",
                "desktop_rlhf/policy/on_policy.py",
                "losses.append(weight / total * loss)",
                "losses.append(loss / len(episodes))",
            ),
            Break(
                "Prompts are drawn with replacement",
                DRAW + "every_prompt_comes_once_before_any_comes_again_and_the_order_changes",
                "desktop_rlhf/policy/rollout.py",
                "torch.randperm(len(self.prompts), generator=self._shuffle)",
                "torch.randint(len(self.prompts), (len(self.prompts),), generator=self._shuffle)",
            ),
            Break(
                "Every pass over the prompts has the same order",
                DRAW + "every_prompt_comes_once_before_any_comes_again_and_the_order_changes",
                "desktop_rlhf/policy/rollout.py",
                "torch.randperm(len(self.prompts), generator=self._shuffle)",
                "torch.arange(len(self.prompts))",
            ),
        ),
    ),
    Row(
        "P16",
        "The reference is scored over the same tokens at the same temperature as the policy: a policy that has not "
        "moved says exactly what its reference says.",
        (
            Break(
                "The reference is scored at temperature 1",
                DRAW + "a_new_policy_says_of_its_rollout_exactly_what_the_reference_says",
                "desktop_rlhf/policy/rollout.py",
                "completion_logprobs(model, hidden_states(model, packed), packed, self.spec.temperature)",
                "completion_logprobs(model, hidden_states(model, packed), packed)",
            ),
            Break(
                "The reference moves with the policy",
                DRAW + "policy_and_reference_are_scored_at_the_temperature_of_sampling",
                "desktop_rlhf/policy/rollout.py",
                "model.take_role(Role(self.reference))",
                "model.take_role(Role(self.policy))",
            ),
        ),
    ),
    Row(
        "P17",
        "No curve hangs on padding: fifty more columns of it, full of nonsense, change no metric and no gradient.",
        (
            Break(
                "The mean ratio and the approximate KL are taken over padding too",
                ROLLOUT + "padding_changes_no_metric_and_no_gradient",
                "desktop_rlhf/policy/ppo/train.py",
                "change = (logprobs.detach() - episode.old_logprobs)[mask]",
                "change = logprobs.detach() - episode.old_logprobs",
            ),
            Break(
                "Entropy is summed over padding too",
                ROLLOUT + "padding_changes_no_metric_and_no_gradient",
                "desktop_rlhf/policy/ppo/train.py",
                "torch.where(e.packed.mask, e.entropy, 0.0).sum(-1)",
                "e.entropy.sum(-1)",
            ),
            Break(
                "The policy loss is averaged over padding too",
                ROLLOUT + "padding_changes_no_metric_and_no_gradient",
                "desktop_rlhf/policy/ppo/loss.py",
                "return masked_mean(losses, mask), masked_mean(clipped",
                "return losses.mean(), masked_mean(clipped",
            ),
        ),
    ),
    Row(
        "P18",
        "RLOO's advantage is the reward less the mean of the others in the group: it adds up to 0, with two it is ± "
        "their difference, and the same reward for all teaches nothing. A completion is one action.",
        (
            Break(
                "The mean is taken over the whole group",
                "tests/policy/test_rloo.py::test_that_a_baseline_is_the_mean_of_the_others",
                "desktop_rlhf/numerics/advantages.py",
                "/ (len(rewards) - 1)",
                "/ len(rewards)",
            ),
            Break(
                "There is no baseline",
                "tests/policy/test_rloo.py::test_that_the_same_reward_for_all_teaches_nothing",
                "desktop_rlhf/numerics/advantages.py",
                "return (rewards.unsqueeze(1) - rewards).sum(dim=1) / (len(rewards) - 1)",
                "return rewards",
            ),
            Break(
                "The ratio is that of a mean token",
                "tests/policy/test_rloo.py::test_that_the_loss_equals_a_table_worked_by_hand",
                "desktop_rlhf/policy/rloo/loss.py",
                ".masked_fill(~mask, 0.0).sum(-1)",
                ".masked_fill(~mask, 0.0).mean(-1)",
            ),
        ),
    ),
    Row(
        "P19",
        "GRPO's advantage is the reward less its group's mean, over the deviation + 1e-4 where that is asked for; k3 "
        "stands in the loss; every token weighs the same, so that length is neither rewarded nor punished.",
        (
            Break(
                "The deviation is the biased one",
                "tests/policy/test_grpo.py::test_that_rewards_are_taken_relative_to_their_group",
                "desktop_rlhf/numerics/advantages.py",
                "(rewards.std() + eps)",
                "(rewards.std(correction=0) + eps)",
            ),
            Break(
                "k1 stands in the loss",
                "tests/policy/test_grpo.py::test_that_the_loss_equals_a_table_worked_by_hand",
                "desktop_rlhf/policy/grpo/loss.py",
                'mask, "k3")',
                'mask, "k1")',
            ),
            Break(
                "Every completion weighs the same, so that a token of a long one weighs less",
                "tests/policy/test_grpo.py::test_that_the_loss_equals_a_table_worked_by_hand",
                "desktop_rlhf/policy/grpo/loss.py",
                "return masked_mean(losses, mask) + beta * kl",
                "return (torch.where(mask, losses, 0.0).sum(-1) / mask.sum(-1)).mean() + beta * kl",
            ),
        ),
    ),
    Row(
        "P20",
        "A policy that cheats its reward model is seen: reward stands beside KL, entropy, length and the share that "
        "ended, every update shows a sample, scores may be normalised and clipped, and a KL above the limit ends the "
        "run.",
        (
            Break(
                "The limit of KL is not looked at",
                PPO_TESTS + "a_run_above_its_kl_limit_ends_and_keeps_what_it_has",
                "desktop_rlhf/policy/on_policy.py",
                "if 0 < spec.stop_kl < kl:",
                "if 0 < kl < spec.stop_kl < 0:",
            ),
            Break(
                "No sample is shown",
                PPO_TESTS + "every_update_shows_a_sample_beside_its_curves",
                "desktop_rlhf/policy/on_policy.py",
                "        yield SampleShown(at.step, first.prompt, text, first.scores[0].item())\n",
                "",
            ),
            Break(
                "Entropy is drawn among the losses",
                ROLLOUT + "reward_is_never_shown_without_what_gives_a_cheat_away",
                "desktop_rlhf/policy/ppo/spec.py",
                'panel="entropy"',
                'panel="loss"',
            ),
            Break(
                "Scores are not clipped",
                ROLLOUT + "rewards_follow_from_scores_as_the_settings_say",
                "desktop_rlhf/policy/rollout.py",
                "else raw).clamp(-limit, limit)",
                "else raw)",
            ),
        ),
    ),
    Row(
        "P21",
        "With one token and a reward for saying 7, PPO, RLOO and GRPO say 7; a huge KL penalty holds them within 0.001 "
        "of the reference; the same reward for all moves nothing.",
        (
            Break(
                "What scored well becomes less likely",
                BANDIT + "the_one_token_with_a_reward_is_all_that_is_said",
                "desktop_rlhf/numerics/surrogate.py",
                "    free = -advantages * ratio\n    clipped = -advantages",
                "    free = advantages * ratio\n    clipped = advantages",
            ),
            Break(
                "The KL is that of the reference from itself",
                BANDIT + "a_huge_kl_penalty_holds_the_policy_at_the_reference",
                "desktop_rlhf/numerics/kl.py",
                "torch.where(mask, reference_logprobs - policy_logprobs, 0.0)",
                "torch.where(mask, reference_logprobs - reference_logprobs, 0.0)",
            ),
            Break(
                "Whitening scales rounding up, and PPO follows it",
                BANDIT + "the_same_reward_for_all_moves_nothing",
                "desktop_rlhf/numerics/masked.py",
                "apart = values - values[mask][0]",
                "apart = values",
            ),
        ),
    ),
    Row(
        "P22",
        "Over one token the best policy is known, reference * exp(reward / coefficient): PPO, RLOO and, from "
        "exhaustive Bradley-Terry labels, DPO come within 0.02 of it in total variation, and GRPO of its own optimum.",
        (
            Break(
                "PPO's penalty counts a little less",
                PPO_TESTS + "ppo_reaches_the_closed_form_optimum",
                "desktop_rlhf/policy/ppo/loss.py",
                "rewards = -kl_coef * kl_tokens(",
                "rewards = -0.8 * kl_coef * kl_tokens(",
            ),
            Break(
                "RLOO's penalty counts a little less",
                "tests/policy/test_rloo.py::test_that_rloo_reaches_the_closed_form_optimum",
                "desktop_rlhf/policy/rloo/loss.py",
                "scores - beta * kl_k1(",
                "scores - 0.8 * beta * kl_k1(",
            ),
            Break(
                "GRPO's k3 counts a little less",
                "tests/policy/test_grpo.py::test_that_grpo_reaches_its_closed_form_optimum",
                "desktop_rlhf/policy/grpo/loss.py",
                "+ beta * kl, kl,",
                "+ 0.8 * beta * kl, kl,",
            ),
            Break(
                "DPO's margins count a little less",
                "tests/policy/test_dpo.py::test_that_dpo_reaches_the_closed_form_optimum",
                "desktop_rlhf/policy/dpo/loss.py",
                "    scaled = beta * margins\n    return -(1",
                "    scaled = 0.8 * beta * margins\n    return -(1",
            ),
        ),
    ),
)
