"""Rows on log-probabilities, the base that everything else stands on."""

from __future__ import annotations

from breaks.row import Advice, Break, Row

HAND = "tests/adapters/test_hand_model.py::test_that_a_token_is_predicted_by_the_one_before_it"
PACKING = "tests/adapters/test_packing.py::test_that_packing_changes_no_logprob"
RAGGED = "tests/completions/test_sampling.py::"
RAGGED += "test_that_two_hundred_ragged_prompts_are_answered_as_each_would_be_alone"
CHAT = "tests/adapters/test_chat.py::"
WHOLE = CHAT + "test_that_prompt_and_completion_are_the_conversation_as_the_template_writes_it"
WRITTEN = CHAT + "test_that_a_written_completion_is_shown_as_it_was_written"
TOO_LONG = "tests/policy/test_batches.py::test_that_what_is_longer_than_allowed_is_left_out_whole_and_told"

LOGPROBS: tuple[Row | Advice, ...] = (
    Row(
        "L1",
        "A token's log-probability is read off the logits of the token before it; for a completion's first token that "
        "is the prompt's last.",
        (
            Break(
                "Each token is read off its own logits",
                HAND,
                "desktop_rlhf/adapters/packing.py",
                "[size - 1, *range(start, end - 1)]",
                "[*range(start, end)]",
            ),
            Break(
                "A completion behind a sibling is predicted by the sibling's last token",
                HAND,
                "desktop_rlhf/adapters/packing.py",
                "[size - 1, *range(start, end - 1)]",
                "[*range(start - 1, end - 1)]",
            ),
        ),
    ),
    Row(
        "L2",
        "DPO compares sums over the completion's tokens, without the prompt's and without padding; the losses that "
        "are defined by means take means.",
        (
            Break(
                "DPO takes the mean over the row",
                "tests/policy/test_dpo_run.py::"
                "test_that_the_second_loss_is_that_of_the_sums_over_the_completions_tokens",
                "desktop_rlhf/policy/dpo/train.py",
                "ratios=(logprobs - reference).sum(dim=-1)[batch.pairs]",
                "ratios=(logprobs - reference).mean(dim=-1)[batch.pairs]",
            ),
            Break(
                "Padding counts as if it were a token",
                PACKING,
                "desktop_rlhf/adapters/packing.py",
                "values.new_zeros(packed.mask.shape)",
                "values.new_ones(packed.mask.shape)",
            ),
            Break(
                "IPO takes sums",
                "tests/policy/test_dpo_losses.py::test_that_every_loss_equals_a_table_worked_by_hand",
                "desktop_rlhf/policy/dpo/loss.py",
                'if loss_type in ("ipo", "sigmoid_norm") else',
                'if loss_type in ("sigmoid_norm",) else',
            ),
        ),
    ),
    Row(
        "L3",
        "Neither padding nor what stands beside a completion changes its log-probabilities, and neither does computing "
        "once what several prompts begin with, under absolute and under "
        "rotary positions: within 1e-5 nats in float32, the format of everything behind the trunk. A trunk in bfloat16 "
        "is held to 0.15 nats of that in float32 on a tiny random model.",
        (
            Break(
                "Positions of a second completion go on from the first",
                PACKING,
                "desktop_rlhf/adapters/packing.py",
                "torch.arange(size, size + length)",
                "torch.arange(start, end)",
            ),
            Break(
                "In the model's own forward a completion sees those before it",
                PACKING,
                "desktop_rlhf/adapters/attention.py",
                "parts.unsqueeze(1) == parts.unsqueeze(2)",
                "parts.unsqueeze(1) <= parts.unsqueeze(2)",
            ),
            Break(
                "In the fused forward a token sees those after it",
                "tests/adapters/test_fused.py::test_that_the_fused_forward_says_what_the_models_own_says",
                "desktop_rlhf/adapters/attention.py",
                "torch.full((length, length), -torch.inf).triu(1)",
                "torch.zeros(length, length)",
            ),
            Break(
                "In tiles of bfloat16 a token sees the one after it",
                "tests/adapters/test_attention.py::test_that_tiles_see_what_the_librarys_kernel_sees",
                "desktop_rlhf/adapters/attention.py",
                "unseen = torch.arange(width) > last[:, None, None, :, None]",
                "unseen = torch.arange(width) > 1 + last[:, None, None, :, None]",
            ),
            Break(
                "In tiles of bfloat16 padding has the gradient of some token",
                "tests/adapters/test_attention.py::test_that_tiles_see_what_the_librarys_kernel_sees",
                "desktop_rlhf/adapters/attention.py",
                "torch.where(own < 0, count * heads, rows)",
                "rows",
            ),
            Break(
                "In tiles of bfloat16 heads that share keys read those of others",
                "tests/adapters/test_attention.py::test_that_tiles_see_what_the_librarys_kernel_sees",
                "desktop_rlhf/adapters/attention.py",
                "batch.keys.unsqueeze(1) * key_heads + key_head",
                "batch.keys.unsqueeze(1) * key_heads + key_head.flip(0)",
            ),
            Break(
                "What is computed once for all rows is seen by the first one only",
                "tests/adapters/test_packing.py::test_that_an_opening_computed_once_changes_no_logprob",
                "desktop_rlhf/adapters/attention.py",
                "found.append(_Piece(range(start, end), shared))",
                "found.append(_Piece(range(start, end), range(0)))",
            ),
            Break(
                "Behind what is computed once a token is read off the logits of one further on",
                "tests/adapters/test_packing.py::test_that_an_opening_computed_once_changes_no_logprob",
                "desktop_rlhf/adapters/packing.py",
                "ahead = done - (opening if row else 0)",
                "ahead = done",
            ),
            Break(
                "A decoder gives what it read once to the first prompt only",
                "tests/adapters/test_decoding.py::"
                "test_that_a_decoder_says_what_the_models_own_forward_says_whoever_leaves_and_enters",
                "desktop_rlhf/adapters/decoding.py",
                "kept[starts[0] : after, :, :opening]",
                "kept[starts[0] : starts[0] + copies, :, :opening]",
            ),
            Break(
                "On a GPU a token sees the one after it",
                "tests/adapters/test_attention.py::test_that_whole_rows_see_what_the_pieces_see",
                "desktop_rlhf/adapters/attention.py",
                "is_causal=mask is None",
                "is_causal=False",
            ),
            Break(
                "On a GPU a row stands where another does",
                "tests/adapters/test_attention.py::test_that_whole_rows_see_what_the_pieces_see",
                "desktop_rlhf/adapters/attention.py",
                "laid_out += width",
                "laid_out += sizes[number] // 2",
            ),
            Break(
                "In bfloat16 what an adapter adds meets a product that was rounded already",
                "tests/adapters/test_decoding.py::"
                "test_that_a_short_base_does_not_lose_the_little_that_an_adapter_says_at_first",
                "desktop_rlhf/adapters/linears.py",
                "_beside(own, up, base.bias).addmm_(x, base.weight.t())",
                "linear(x, base.weight, base.bias).addmm_(own, up.t())",
            ),
            Break(
                "In bfloat16 rows are written under what another adapter left behind the weights",
                "tests/adapters/test_linears.py::test_that_rows_are_written_as_ever_while_others_learn_and_write",
                "desktop_rlhf/adapters/linears.py",
                "if ups and self._speaker() is not speaker:",
                "if ups and ranks != self._ranks:",
            ),
            Break(
                "In bfloat16 a layer's product has columns of another adapter in it",
                "tests/adapters/test_linears.py::test_that_what_lay_behind_the_weights_before_changes_nothing",
                "desktop_rlhf/adapters/linears.py",
                "behind.zero_()",
                "behind.detach()",
            ),
            Break(
                "In the model's own forward padding is seen",
                "tests/adapters/test_packing.py::test_that_padding_changes_no_logprob",
                "desktop_rlhf/adapters/attention.py",
                "(of_prompt | alike) & torch.ones(width, width, dtype=torch.bool, device=like.device).tril()",
                "of_prompt | alike | (parts.unsqueeze(1) < 0)",
            ),
        ),
    ),
    Row(
        "L4",
        "Decoders pass position ids and masks of their own, the plain one over prompts padded on the left, the fused "
        "one without padding; 200 prompts together are answered greedily as each would be alone, up to a tie of 1e-4.",
        (
            Break(
                "Positions of a prompt count its padding",
                RAGGED,
                "desktop_rlhf/adapters/decoding.py",
                "(self._mask.cumsum(-1) - 1).clamp(min=0)",
                "torch.arange(width).expand_as(ids)",
            ),
            Break(
                "Positions of what is drawn count it",
                RAGGED,
                "desktop_rlhf/adapters/decoding.py",
                "self._positions = torch.tensor([len(prompt) for prompt in prompts])",
                "self._positions = torch.tensor([width for _ in prompts])",
            ),
            Break(
                "Padding is seen",
                RAGGED,
                "desktop_rlhf/adapters/decoding.py",
                "mask[row, width - len(prompt) :] = 1",
                "mask[row] = 1",
            ),
            Break(
                "In the fused decoder the room behind a shorter row is seen",
                RAGGED,
                "desktop_rlhf/adapters/decoding.py",
                "unseen = torch.arange(width, device=self._device) > places.unsqueeze(1)",
                "unseen = torch.arange(width, device=self._device) > places.max().expand(len(ids), 1)",
            ),
            Break(
                "The spare rows of a recorded step write over one that lives",
                "tests/adapters/test_decoding.py::"
                "test_that_a_decoder_says_what_the_models_own_forward_says_whoever_leaves_and_enters",
                "desktop_rlhf/adapters/decoding.py",
                "spare = (0, rounded_up(self._rows, ROWS_TOGETHER) - self._rows)",
                "spare = (rounded_up(self._rows, ROWS_TOGETHER) - self._rows, 0)",
            ),
            Break(
                "The fused decoder reads memory that nobody wrote",
                "tests/adapters/test_decoding.py::test_that_memory_that_nobody_wrote_is_not_read",
                "desktop_rlhf/adapters/decoding.py",
                "weight.new_zeros(shape), weight.new_zeros(shape)",
                "weight.new_empty(shape), weight.new_empty(shape)",
            ),
        ),
    ),
    Row(
        "L5",
        "The temperature is part of the policy: what was sampled at it is scored at it, by the policy and by the "
        "reference.",
        (
            Break(
                "The policy's log-probabilities are taken at temperature 1",
                "tests/policy/test_behaviour.py::"
                "test_that_a_rollout_is_scored_under_the_distribution_it_was_drawn_from",
                "desktop_rlhf/policy/rollout.py",
                "completion_scores(model, hidden, packed, temperature)",
                "completion_scores(model, hidden, packed)",
            ),
            Break(
                "The reference's are",
                "tests/policy/test_behaviour.py::test_that_the_reference_is_scored_at_the_temperature_of_the_policy",
                "desktop_rlhf/policy/rollout.py",
                "completion_logprobs(model, hidden_states(model, packed), packed, self.spec.temperature)",
                "completion_logprobs(model, hidden_states(model, packed), packed)",
            ),
        ),
    ),
    Row(
        "L6",
        "A rollout is drawn from the whole distribution: no top-k, no top-p, no penalty, whatever the model's folder "
        "says of sampling.",
        (
            Break(
                "Rollouts keep only the likelier tokens",
                "tests/policy/test_behaviour.py::test_that_a_rollout_is_drawn_from_the_whole_distribution",
                "desktop_rlhf/policy/rollout.py",
                "Sampler(temperature=spec.temperature,",
                "Sampler(top_p=0.9, temperature=spec.temperature,",
            ),
            Break(
                "The temperature in the model's folder counts",
                "tests/completions/test_sampling.py::test_that_what_a_model_folder_says_of_sampling_changes_nothing",
                "desktop_rlhf/completions/sampling.py",
                "filtered_weights(logits, self._sampler)",
                "filtered_weights(logits / (self._model.base.generation_config.temperature or 1), self._sampler)",
            ),
        ),
    ),
    Row(
        "L7",
        "Logits are made float32 before the softmax, and no log-probability is above 0. Where a base in bfloat16 "
        "rounds them, the target's own is taken off first: a log-probability is within a 256th of itself and "
        "0.002 nats of that of the same hidden state in float64.",
        (
            Break(
                "The softmax is taken in bfloat16",
                "tests/numerics/test_logprobs.py::"
                "test_that_logprobs_of_short_logits_are_those_of_the_same_numbers_in_float64",
                "desktop_rlhf/numerics/logprobs.py",
                "logits = narrow if narrow.dtype.itemsize >= 4 else narrow.float()",
                "logits = narrow",
            ),
            Break(
                "Logits are rounded as they are",
                "tests/adapters/test_vocabulary.py::test_that_scores_of_a_short_base_are_not_rounded_as_its_logits_are",
                "desktop_rlhf/adapters/vocabulary.py",
                "_filled_up(-of_targets.to(weight.dtype), weight)",
                "_filled_up(0 * of_targets.to(weight.dtype), weight)",
            ),
            Break(
                "The likeliest tokens are drawn by rounded logits",
                "tests/adapters/test_vocabulary.py::test_that_the_likeliest_logits_of_a_short_base_are_not_rounded",
                "desktop_rlhf/adapters/vocabulary.py",
                "logits.scatter_(-1, likeliest, (weight[likeliest]",
                "logits.scatter_add_(-1, likeliest, 0 * (weight[likeliest]",
            ),
            Break(
                "The largest logit is taken for the logarithm of the sum",
                "tests/numerics/test_logprobs.py::"
                "test_that_logprobs_of_short_logits_are_those_of_the_same_numbers_in_float64",
                "desktop_rlhf/numerics/logprobs.py",
                "log_sum = largest - probabilities.amax(dim=-1).log()",
                "log_sum = largest",
            ),
        ),
    ),
    Row(
        "L8",
        "Padding is masked by its place and never by its token, so an end token that pads as well is learned from, "
        "and a policy taught where to stop stops.",
        (
            Break(
                "The mask leaves out whatever equals the padding token",
                "tests/policy/test_behaviour.py::test_that_a_policy_taught_where_to_stop_stops",
                "desktop_rlhf/adapters/packing.py",
                "mask[n, :length] = ids, True",
                "mask[n, :length] = ids, ids != 1",
            ),
            Break(
                "It does, where it is looked at itself",
                "tests/adapters/test_packing.py::test_that_the_end_token_is_kept_though_it_equals_the_pad_token",
                "desktop_rlhf/adapters/packing.py",
                "mask[n, :length] = ids, True",
                "mask[n, :length] = ids, ids != 1",
            ),
        ),
    ),
    Row(
        "L9",
        "What was sampled is learned from by its stored ids and never tokenized again from its text.",
        (
            Break(
                "The text is tokenized again",
                CHAT + "test_that_the_ids_that_were_sampled_are_the_ids_that_are_trained_on",
                "desktop_rlhf/adapters/training.py",
                "return list(completion.completion_ids) or model.completion_ids(completion.text)",
                "return model.completion_ids(completion.text)",
            ),
            Break(
                "A rollout is learned from without its last token",
                "tests/policy/test_behaviour.py::test_that_a_rollout_is_learned_from_by_the_ids_that_were_sampled",
                "desktop_rlhf/policy/rollout.py",
                "[one.completion_ids for one in drawn]",
                "[one.completion_ids[:-1] or one.completion_ids for one in drawn]",
            ),
        ),
    ),
    Row(
        "L10",
        "Prompt and completion are tokenized apart and joined as ids, so the prompt is the beginning of every row; for "
        "six families of templates, a row read as text is the conversation as the template writes it.",
        (
            Break(
                "A completion loses the spaces around it",
                WHOLE,
                "desktop_rlhf/adapters/chat.py",
                "self._plain(self._lead + text)",
                "self._plain(self._lead + text.strip())",
            ),
            Break(
                "A special token that is spelled out in a completion becomes one",
                WRITTEN,
                "desktop_rlhf/adapters/chat.py",
                "self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)",
                "self.tokenizer(text, add_special_tokens=False)",
            ),
        ),
    ),
    Row(
        "L11",
        "For six families of templates, a prompt ends where the model is to speak, a completion ends with the token "
        "that ends a turn, and there is as many a beginning as the family has, whether the template writes it or the "
        "tokenizer.",
        (
            Break(
                "The prompt ends before the turn of the model",
                CHAT + "test_that_a_prompt_is_the_familys_layout_up_to_where_the_model_is_to_speak",
                "desktop_rlhf/adapters/chat.py",
                '{"add_generation_prompt": True}',
                '{"add_generation_prompt": False}',
            ),
            Break(
                "The tokenizer's beginning is put before the template's",
                CHAT + "test_that_a_prompt_begins_once_and_what_is_written_in_it_is_never_a_special_token",
                "desktop_rlhf/adapters/chat.py",
                "return list(self._apply(_turns(messages), tokenize=True, sanitize_control_tokens=True, "
                "return_dict=False))",
                'return list(self.tokenizer(self._apply(_turns(messages), tokenize=False))["input_ids"])',
            ),
            Break(
                "A turn ends with the tokenizer's end, whatever the template writes",
                CHAT + "test_that_a_turn_ends_as_the_template_ends_it_and_sampling_stops_there",
                "desktop_rlhf/adapters/chat.py",
                "return next((number for number in ids if number in self._added), self.tokenizer.eos_token_id)",
                "return self.tokenizer.eos_token_id if ids else None",
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
        "L12",
        "Nothing is cut to fit: what is longer than allowed is left out whole and told, what was cut in sampling gets "
        "no end token, and a completion without a token reaches no loss.",
        (
            Break(
                "A comparison stays when its shorter completion fits",
                TOO_LONG,
                "desktop_rlhf/adapters/training.py",
                "longest = max(len(ids_of",
                "longest = min(len(ids_of",
            ),
            Break(
                "One that just fits is left out",
                TOO_LONG,
                "desktop_rlhf/adapters/training.py",
                "Reason.TOO_LONG if prompt + longest > limit else None",
                "Reason.TOO_LONG if prompt + longest >= limit else None",
            ),
            Break(
                "A completion that was cut gets an end token",
                "tests/adapters/test_tokens.py::test_that_a_completion_that_was_cut_gets_no_end",
                "desktop_rlhf/adapters/training.py",
                "return list(completion.completion_ids) or",
                "return [*completion.completion_ids, model.tokenizer.eos_token_id] or",
            ),
            Break(
                "A comparison with a completion without a token is learned from",
                "tests/comparisons/test_pairs.py::test_that_a_completion_without_a_token_is_learned_from_by_nobody",
                "desktop_rlhf/comparisons/pairs.py",
                "return all(completion.completion_ids or completion.text for completion in completions)",
                "return bool(completions)",
            ),
        ),
    ),
)
