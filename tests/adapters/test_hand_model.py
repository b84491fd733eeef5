"""Log-probabilities under a model of four tokens whose logits stand in a table."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel

NEXT = [
    # logits of what follows token 0, 1, 2, 3
    [0.0, 1.0, 2.0, 3.0],
    [1.0, 1.0, 0.0, -1.0],
    [-2.0, 0.5, 0.0, 0.25],
    [0.0, 0.0, 0.0, 4.0],
]


def follows(token: int, last: int) -> float:
    """Log-probability of ``token`` behind ``last``, by hand."""
    return NEXT[last][token] - math.log(sum(math.exp(x) for x in NEXT[last]))


@pytest.fixture(params=["its own", "fused"])
def table_model(request) -> ResidentModel:
    """One layer that adds nothing, so that a state is the token's own and the head reads the table's row off it."""
    base = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
            num_key_value_heads=1, max_position_embeddings=32, bos_token_id=0, eos_token_id=1, pad_token_id=None,
            tie_word_embeddings=False,
        )
    )  # fmt: skip
    with torch.no_grad():
        base.model.layers[0].self_attn.o_proj.weight.zero_()
        base.model.layers[0].mlp.down_proj.weight.zero_()
        base.model.embed_tokens.weight.copy_(torch.eye(4))
        base.lm_head.weight.copy_(torch.tensor(NEXT).t() / 2)  # the norm makes a row of length 1 one of length 2
    model = ResidentModel(base, SimpleNamespace(eos_token_id=1, chat_template=None))
    assert model.fused is not None
    if request.param == "its own":
        model.fused = None
    return model


@torch.no_grad()
def test_that_a_token_is_predicted_by_the_one_before_it(table_model) -> None:
    packed = pack([([2, 0], [[3, 1, 2], [1]]), ([1], [[0, 0]])])
    logprobs = completion_logprobs(table_model, hidden_states(table_model, packed), packed)
    by_hand = [
        [follows(3, 0), follows(1, 3), follows(2, 1)],
        [follows(1, 0), 0.0, 0.0],
        [follows(0, 1), follows(0, 0), 0.0],
    ]
    for row, wanted in zip(logprobs.tolist(), by_hand, strict=True):
        assert row == pytest.approx(wanted, abs=1e-4)
