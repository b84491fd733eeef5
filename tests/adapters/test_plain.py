"""The models' own forwards for packed rows: what each completion is told is what it is told alone."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, Lfm2Config, Lfm2ForCausalLM, MistralConfig, MistralForCausalLM

from desktop_rlhf.adapters.batches import micro_batches
from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.plain import PlainTrunk
from desktop_rlhf.adapters.resident import ResidentModel, Role

SHAPE = dict(
    vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    initializer_range=0.2,
)  # fmt: skip
APART = {
    "a mask that Bloom cannot read": lambda: BloomForCausalLM(
        BloomConfig(vocab_size=258, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2)
    ),
    "layers of LFM 2 that read on": lambda: Lfm2ForCausalLM(
        Lfm2Config(**SHAPE, conv_L_cache=3, layer_types=["conv", "full_attention"])
    ),
    "a window of Mistral's": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8)),
}
GROUPS = [
    ([5, 6, 7, 8, 9], [[10, 11, 12], [13], [14, 15, 16, 17, 18, 19]]),
    ([20], [[21, 22]]),
    ([30, 31, 32], [[33, 34], [35, 36, 37, 38]]),
]


def model_of(maker, tokenizer) -> ResidentModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidentModel(maker(), tokenizer)


def measured(model: ResidentModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of all completions, and the gradient of their weighted sum, as one vector."""
    packed = pack(GROUPS)
    logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
    weights = torch.linspace(0.5, 1.5, logprobs.numel()).view_as(logprobs)
    gradients = torch.autograd.grad((logprobs * weights).sum(), model.trainable_parameters())
    return logprobs.detach(), torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("maker", APART.values(), ids=APART)
def test_that_completions_stand_apart_where_a_model_would_mix_them(maker, llama, caplog) -> None:
    model = model_of(maker, llama.tokenizer)
    packed = pack(GROUPS)
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        told = completion_logprobs(model, hidden_states(model, packed), packed)
        assert not model.packs
        rows = iter(told)
        for prompt, completions in GROUPS:
            for completion in completions:
                logits = model.base(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
                alone = logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]
                assert torch.allclose(next(rows)[: len(completion)], alone, atol=1e-5)
    assert "behind a prompt of its own" in caplog.text


def test_that_a_model_that_hides_completions_from_one_another_packs_them(fresh, caplog) -> None:
    for family in ("llama", "gpt2", "qwen2"):
        assert PlainTrunk(fresh(family, "cpu").base).packs
    assert "behind a prompt of its own" not in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_that_each_shape_is_tried_in_each_format(fresh, dtype) -> None:
    for family, packs in (("llama", True), ("gpt2", True), ("qwen2", True), ("gemma2", False), ("gemma3", False)):
        assert PlainTrunk(fresh(family, "cpu").base.to(dtype)).packs == packs


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_that_packed_and_apart_learn_the_same(family, fresh) -> None:
    model = fresh(family, "cpu")
    model.fused = None
    model.new_adapter("a", rank=4, alpha=8, seed=0)
    model.take_role(Role("a", trainable=True))
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(0.05)
    packed, packed_gradient = measured(model)
    model.plain.packs = False
    apart, apart_gradient = measured(model)
    assert torch.allclose(packed, apart, atol=1e-5)
    assert torch.allclose(packed_gradient, apart_gradient, atol=1e-4, rtol=1e-4)
    assert apart_gradient.abs().max() > 0.1


def test_that_a_prompt_counts_once_for_each_completion_that_stands_apart(fresh) -> None:
    model = fresh("gpt2", "cpu")
    examples = [([1] * 10, [[2] * 5, [3] * 5])] * 2  # 20 tokens each packed, and 30 apart
    assert micro_batches(model, examples, 40) == [range(2)]
    model.plain.packs = False
    assert micro_batches(model, examples, 40) == [range(1), range(1, 2)]
