"""A model of eight tokens, so that the optimum of a policy can be written down."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from desktop_rlhf.adapters.packing import Packed, hidden_states, pack, predicting_states
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.reward.model import RewardModel

VOCABULARY = 8
PROMPT_IDS = [3, 5, 2]


class EightTokens(SimpleNamespace):
    """As much of a tokenizer as training asks for: every prompt is the same three ids, a text is its digits."""

    eos_token_id = 1
    chat_template = None

    def __call__(self, text: str, **asked: bool) -> dict[str, list[int]]:
        return {"input_ids": list(PROMPT_IDS)}

    def decode(self, ids: list[int], **asked: bool) -> str:
        return " ".join(map(str, ids))


@pytest.fixture
def eight() -> ResidentModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=1,
            tie_word_embeddings=True, initializer_range=0.2,
        )  # fmt: skip
        return ResidentModel(LlamaForCausalLM(config), EightTokens())


@pytest.fixture
def next_logprobs():
    """[V] log-probabilities of the one token after the prompt, under an attached adapter or the base."""

    def measure(model: ResidentModel, adapter: str | None) -> torch.Tensor:
        model.take_role(Role(adapter))
        packed = pack([(PROMPT_IDS, [[0]])])
        with torch.no_grad():
            states = predicting_states(hidden_states(model, packed), packed)
            return model.vocabulary.logits(states[0])[0].log_softmax(-1)

    return measure


class TableReward:
    """A reward model that looks a completion's first token up."""

    name = None

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table

    def score(self, packed: Packed) -> torch.Tensor:
        return self.table[packed.targets[:, 0]]


@pytest.fixture
def table_reward(monkeypatch):
    def use(table: torch.Tensor) -> None:
        monkeypatch.setattr(RewardModel, "attach", lambda *_: TableReward(table))

    return use
