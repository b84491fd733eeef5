from __future__ import annotations

import logging

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from desktop_rlhf.adapters.fused import FusedTrunk
from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel, Role

SHAPE = dict(
    vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    initializer_range=0.2,
)  # fmt: skip


def biased(model):
    """The model with biases that say something; they begin at 0."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(0, 0.5)
    return model


MAKERS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama with biases and stretched positions": lambda: biased(
        LlamaForCausalLM(
            LlamaConfig(
                **SHAPE, attention_bias=True, mlp_bias=True,
                rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
            )
        )
    ),
    "qwen2": lambda: biased(Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True))),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None)),
}  # fmt: skip
GROUPS = [
    ([5, 6, 7, 8, 9], [[10, 11, 12], [13], [14, 15, 16, 17, 18, 19]]),
    ([20], [[21, 22]]),
    ([30, 31, 32], [[33, 34], [35, 36, 37, 38]]),
]
OPENING = [40, 41, 42, 43, 44, 45, 46, 47, 48, 49]
OPENED = [([*OPENING, *prompt], completions) for prompt, completions in GROUPS]


def made(maker, tokenizer, dtype: torch.dtype = torch.float32) -> ResidentModel:
    """A resident model with an adapter that changes something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ResidentModel(maker().to(dtype), tokenizer)
        for name in ("one", "other"):
            model.new_adapter(name, rank=4, alpha=8, seed=1)
            with torch.no_grad():
                for _, parameter in model._adapter_parameters(name):
                    parameter.normal_(0, 0.1)
    return model


def measured(
    model: ResidentModel, adapter: str | None, groups: list = GROUPS, sparing: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities, and the gradient of their sum in the adapter's weights, as one vector."""
    model.take_role(Role(adapter, trainable=adapter is not None))
    packed = pack(groups)
    logprobs = completion_logprobs(model, hidden_states(model, packed, sparing), packed)
    if adapter is None:
        return logprobs.detach(), torch.zeros(1)
    weights = torch.linspace(0.5, 1.5, logprobs.numel()).view_as(logprobs)
    gradients = torch.autograd.grad((logprobs * weights).sum(), model.trainable_parameters())
    return logprobs.detach(), torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("groups", [GROUPS, OPENED], ids=["", "opened"])
@pytest.mark.parametrize("adapter", [None, "one", "other"])
@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_that_the_fused_forward_says_what_the_models_own_says(maker, adapter, groups, llama) -> None:
    model = made(maker, llama.tokenizer)
    assert model.fused is not None
    logprobs, gradient = measured(model, adapter, groups)
    model.fused = None
    plain_logprobs, plain_gradient = measured(model, adapter, groups)
    assert torch.allclose(logprobs, plain_logprobs, atol=1e-5)
    assert torch.allclose(gradient, plain_gradient, atol=1e-4, rtol=1e-4)
    assert adapter is None or gradient.abs().max() > 0.1


@pytest.mark.parametrize("groups", [GROUPS, OPENED], ids=["", "opened"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_that_what_is_made_again_is_the_same_to_the_last_bit(maker, dtype, groups, llama) -> None:
    model = made(maker, llama.tokenizer, dtype)
    logprobs, gradient = measured(model, "one", groups)
    again, gradient_again = measured(model, "one", groups, sparing=True)
    assert torch.equal(again, logprobs)
    assert gradient.count_nonzero() > 1000
    assert torch.equal(gradient_again, gradient)
    assert torch.equal(measured(model, None, groups, sparing=True)[0], measured(model, None, groups)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_that_little_is_kept_of_what_is_made_again(dtype, llama) -> None:
    model = made(MAKERS["llama"], llama.tokenizer, dtype)
    model.take_role(Role("one", trainable=True))
    packed = pack(GROUPS)
    own = {parameter.data_ptr() for parameter in model.base.parameters()}

    def kept(sparing: bool) -> int:
        """Numbers that lie somewhere for the backward, beside the model's."""
        places: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            places[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = hidden_states(model, packed, sparing)
        assert states.requires_grad
        return sum(count for place, count in places.items() if place not in own)

    assert kept(sparing=True) < 0.5 * kept(sparing=False)


@pytest.mark.parametrize("groups", [GROUPS, OPENED], ids=["", "opened"])
def test_that_the_fused_forward_in_bfloat16_stays_near_float32(groups, llama) -> None:
    logprobs, gradient = measured(made(MAKERS["llama"], llama.tokenizer, torch.bfloat16), "one", groups)
    wide_logprobs, wide_gradient = measured(made(MAKERS["llama"], llama.tokenizer), "one", groups)
    assert (logprobs - wide_logprobs).abs().max() < 0.15
    assert (gradient - wide_gradient).norm() < 0.1 * wide_gradient.norm()
    assert logprobs.dtype == gradient.dtype == torch.float32


@pytest.mark.parametrize("groups", [GROUPS, OPENED], ids=["", "opened"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_that_states_that_nobody_asks_for_are_left_out_and_the_others_are_the_same(dtype, groups, llama) -> None:
    model = made(MAKERS["llama"], llama.tokenizer, dtype)
    model.take_role(Role("one", trainable=True))
    packed = pack(groups)
    ids, positions = packed.input_ids[packed.computed], packed.position_ids[packed.computed]
    found = []
    for wanted in (None, packed.wanted):
        states = model.fused(ids, positions, packed.lengths, "one", packed.opening, wanted).float()
        asked = states[packed.wanted]
        weights = torch.linspace(0.5, 1.5, asked.numel()).view_as(asked)
        gradients = torch.autograd.grad((asked * weights).sum(), model.trainable_parameters())
        found.append((states, asked, torch.cat([gradient.flatten() for gradient in gradients])))
    (whole, plain, plain_gradient), (states, asked, gradient) = found
    near = {torch.float32: 1e-5, torch.bfloat16: 0.01}[dtype]
    assert (asked - plain).norm() < near * plain.norm()
    assert (gradient - plain_gradient).norm() < near * plain_gradient.norm()
    left_out = torch.ones(len(states), dtype=torch.bool).index_fill(0, packed.wanted, False)
    assert left_out.sum() > 3
    assert (states[left_out] == 0).all()
    assert (whole[left_out] != 0).any(-1).all()


@pytest.mark.parametrize("groups", [GROUPS, OPENED], ids=["", "opened"])
def test_that_what_stands_beside_a_row_changes_nothing_of_it(groups, llama) -> None:
    llama.new_adapter("one", rank=4, alpha=8, seed=1)
    llama.take_role(Role("one"))
    with torch.no_grad():
        packed, alone = pack(groups), pack(groups[:1])
        together = completion_logprobs(llama, hidden_states(llama, packed), packed)
        assert torch.allclose(together[:3], completion_logprobs(llama, hidden_states(llama, alone), alone), atol=1e-5)


def test_that_other_decoders_use_their_own_forward_and_the_log_says_so(llama, caplog) -> None:
    config = Gemma2Config(**SHAPE, head_dim=8, sliding_window=8)
    with caplog.at_level(logging.INFO):
        model = made(lambda: Gemma2ForCausalLM(config), llama.tokenizer)
    assert model.fused is None
    assert "no fused forward: a gemma2 model is not built as Llama is" in caplog.text
    assert torch.isfinite(measured(model, "one")[1]).all()


def test_that_a_window_that_slides_is_left_to_the_model(llama, caplog) -> None:
    with caplog.at_level(logging.INFO):
        model = made(lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8)), llama.tokenizer)
    assert model.fused is None
    assert "no fused forward: the model's layers look back through a window" in caplog.text


def test_that_a_format_that_it_does_not_cover_is_left_to_the_model(llama, caplog) -> None:
    with caplog.at_level(logging.INFO):
        assert FusedTrunk.of(LlamaForCausalLM(LlamaConfig(**SHAPE)).eval().to(torch.float16)) is None
    assert "no fused forward: the model is in torch.float16" in caplog.text


def test_that_a_model_that_differs_in_secret_is_found_out_when_it_is_read(llama, caplog) -> None:
    base = LlamaForCausalLM(LlamaConfig(**SHAPE, hidden_act="gelu"))
    with caplog.at_level(logging.WARNING):
        assert FusedTrunk.of(base.eval()) is None
    assert "differs" in caplog.text


@pytest.mark.parametrize(("activation", "used"), [("silu", True), ("gelu", False)])
def test_that_weights_are_moved_only_where_the_fused_forward_is_used(activation, used) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = LlamaForCausalLM(LlamaConfig(**SHAPE, hidden_act=activation)).to(torch.bfloat16).eval()
    weight = base.model.layers[0].mlp.down_proj.weight
    place = weight.data_ptr()
    assert (FusedTrunk.of(base) is not None) is used
    assert (weight.data_ptr() != place) is used


def test_that_adapters_on_a_short_base_are_kept_and_saved_wide(llama, tmp_path) -> None:
    model = made(MAKERS["llama"], llama.tokenizer, torch.bfloat16)
    model.save_adapter("one", tmp_path / "a")
    model.attach("again", tmp_path / "a")
    for name in ("one", "again"):
        assert {parameter.dtype for _, parameter in model._adapter_parameters(name)} == {torch.float32}
    assert torch.equal(measured(model, "again")[0], measured(model, "one")[0])
