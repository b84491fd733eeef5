"""Rows on DPO."""

from __future__ import annotations

from breaks.row import Advice, Break, Row

BY_HAND = "tests/policy/test_dpo_losses.py::test_that_every_loss_equals_a_table_worked_by_hand"
FIRST = "tests/policy/test_dpo_run.py::"
FIRST += "test_that_before_anything_was_learned_the_loss_is_ln_2_and_every_margin_exactly_zero"
SECOND = "tests/policy/test_dpo_run.py::test_that_the_second_loss_is_that_of_the_sums_over_the_completions_tokens"
DROPOUT = "tests/policy/test_dpo_run.py::test_that_an_adapter_made_elsewhere_with_dropout_says_the_same_twice"

DPO: tuple[Row | Advice, ...] = (
    Row(
        "D1",
        "The losses are their closed forms, label smoothing among them, in float64 within 1e-12.",
        (
            Break(
                "Smoothing takes the same side twice",
                BY_HAND,
                "desktop_rlhf/policy/dpo/loss.py",
                "- label_smoothing * logsigmoid(-scaled)\n\n",
                "- label_smoothing * logsigmoid(scaled)\n\n",
            ),
            Break(
                "IPO aims at twice its margin",
                BY_HAND,
                "desktop_rlhf/policy/dpo/loss.py",
                "return (margins - 1 / (2 * beta)) ** 2",
                "return (margins - 1 / beta) ** 2",
            ),
        ),
    ),
    Row(
        "D2",
        "Before anything was learned the loss is ln 2 and every margin, implicit reward and KL is exactly 0; the "
        "accuracy is then 0, as a margin of 0 orders nothing.",
        (
            Break(
                "A fresh adapter already says something",
                FIRST,
                "desktop_rlhf/adapters/resident.py",
                "parameter.zero_()",
                "nn.init.normal_(parameter, std=1e-3, generator=generator)",
            ),
            Break(
                "Ties count as right",
                FIRST,
                "desktop_rlhf/policy/dpo/train.py",
                '"rewards/accuracies": (chosen > rejected)',
                '"rewards/accuracies": (chosen >= rejected)',
            ),
        ),
    ),
    Row(
        "D3",
        "Nothing is dropped out, neither by the base nor by an adapter, also where its settings ask for dropout.",
        (
            Break(
                "What an adapter brings stays in training mode",
                DROPOUT,
                "desktop_rlhf/adapters/resident.py",
                "        self.base.eval()\n        self._set(role)",
                "        self._set(role)",
            ),
            Break(
                "The base goes into training mode with its adapter",
                FIRST,
                "desktop_rlhf/adapters/resident.py",
                "        self.base.eval()\n        self._set(role)",
                "        self.base.train()\n        self._set(role)",
            ),
        ),
    ),
    Row(
        "D4",
        "The gradient is -beta sigmoid(-z) times the difference of the slopes of the two log-probabilities.",
        (
            Break(
                "The gradient lacks beta",
                "tests/policy/test_dpo_run.py::"
                "test_that_the_gradient_is_minus_beta_sigmoid_of_minus_z_times_the_difference_of_the_slopes",
                "desktop_rlhf/policy/dpo/loss.py",
                "    scaled = beta * margins\n    return -(1",
                "    scaled = beta * margins.detach() + margins - margins.detach()\n    return -(1",
            ),
            Break(
                "The rejected one gives no gradient",
                "tests/policy/test_dpo_losses.py::test_that_every_gradient_is_the_slope_of_the_table",
                "desktop_rlhf/policy/dpo/loss.py",
                "margins = chosen - rejected - pairs.offsets / beta",
                "margins = chosen - rejected.detach() - pairs.offsets / beta",
            ),
        ),
    ),
    Row(
        "D5",
        "The reference is the frozen start: the bare base, or a frozen copy of the adapter that a run continues from.",
        (
            Break(
                "A run that continues has the base as its reference",
                "tests/policy/test_dpo.py::test_that_a_continued_run_starts_at_its_own_reference",
                "desktop_rlhf/adapters/training.py",
                "    return policy, reference",
                "    return policy, None",
            ),
        ),
    ),
    Row(
        "D6",
        "Log-probabilities under the reference are kept within one run, by comparison, and never across runs or on "
        "disk, so none can go stale.",
        (
            Break(
                "All comparisons share what was kept of the first",
                "tests/policy/test_dpo_run.py::test_that_each_comparison_keeps_its_own_reference_whatever_the_order",
                "desktop_rlhf/policy/dpo/train.py",
                "list(enumerate(groups))",
                "[(0, group) for group in groups]",
            ),
            Break(
                "What was kept stays with the model",
                "tests/policy/test_dpo_run.py::test_that_an_edited_completion_is_measured_anew_in_the_next_run",
                "desktop_rlhf/adapters/batches.py",
                "self._kept: dict[int, list[Tensor]] = {}",
                'self._kept: dict[int, list[Tensor]] = model.__dict__.setdefault("references", {})',
            ),
            Break(
                "The policy of the moment is taken for the reference",
                "tests/policy/test_dpo_run.py::test_that_the_reference_is_the_start_however_late_it_is_asked",
                "desktop_rlhf/adapters/batches.py",
                "logprobs_under(self._model, self._reference, packed)",
                "logprobs_under(self._model, self._model.role.adapter, packed)",
            ),
        ),
    ),
    Row(
        "D7",
        "A step's gradient is that of the mean over its batch, however the batch was cut into forwards, and batches of "
        "1, 2, 4 and 8 of the same take the same steps.",
        (
            Break(
                "Only the last forward of a batch counts",
                "tests/adapters/test_batches.py::test_that_what_shares_a_forward_changes_neither_losses_nor_gradients",
                "desktop_rlhf/adapters/passes.py",
                "                    part.loss.backward()\n",
                "                    optimizer.zero_grad()\n                    part.loss.backward()\n",
            ),
            Break(
                "Forwards are added up and not averaged",
                "tests/policy/test_batches.py::test_that_a_batch_of_the_same_again_and_again_is_learned_from_as_one",
                "desktop_rlhf/policy/dpo/train.py",
                "loss = some.total(_losses(spec, pairs)) / len(batch)",
                "loss = some.total(_losses(spec, pairs))",
            ),
            Break(
                "A comparison counts as often as it has pairs",
                "tests/policy/test_dpo_run.py::test_that_a_steps_gradient_is_that_of_the_mean_over_its_comparisons",
                "desktop_rlhf/adapters/batches.py",
                "[1 / len(group.pairs)] * len(group.pairs)",
                "[1.0] * len(group.pairs)",
            ),
        ),
    ),
    Row(
        "D8",
        "The chosen may become less likely while the margin grows, so implicit rewards of chosen and rejected are "
        "curves of their own, summed over tokens whatever the loss reads, and a run says when the chosen fell 10 nats.",
        (
            Break(
                "The rejected one's curve mirrors the chosen one's",
                SECOND,
                "desktop_rlhf/policy/dpo/train.py",
                '"rewards/rejected": rejected',
                '"rewards/rejected": -chosen',
            ),
            Break(
                "How far the chosen fell is told in implicit rewards",
                "tests/policy/test_dpo_watch.py::"
                "test_that_chosen_that_fall_ten_nats_are_told_of_once_and_at_their_step",
                "desktop_rlhf/policy/dpo/watch.py",
                'event.metrics["rewards/chosen"] / beta',
                'event.metrics["rewards/chosen"]',
            ),
            Break(
                "Nobody watches the chosen",
                "tests/policy/test_dpo_watch.py::test_that_a_run_of_dpo_watches_its_chosen",
                "desktop_rlhf/policy/dpo/train.py",
                "yield from told_when_chosen_fall(taken, spec.beta)",
                "yield from taken",
            ),
        ),
    ),
    Row(
        "D9",
        "Losses and gradients are those that TRL has: here by the closed forms of both; the comparison with TRL itself "
        "on the same weights and batches is `python3 packaging/dev.py parity`.",
        (
            Break(
                "The loss uses half of beta",
                BY_HAND,
                "desktop_rlhf/policy/dpo/loss.py",
                "    scaled = beta * margins\n    return -(1",
                "    scaled = beta / 2 * margins\n    return -(1",
            ),
        ),
    ),
)
