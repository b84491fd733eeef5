"""Tiny models for the whole suite: a byte tokenizer and two random layers, made here and never downloaded."""

from __future__ import annotations

import os
import threading

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["DESKTOP_RLHF_DEVICE"] = "cpu"  # what is promised to the last bit is promised there; tests/gpu asks others

from pathlib import Path

import pytest

from desktop_rlhf import settings

settings.go_offline()

CHAT_TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1} | {letter: i + 2 for i, letter in enumerate(alphabet)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<s>", "</s>"])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    made.chat_template = CHAT_TEMPLATE
    return made


FAMILIES = ("llama", "gpt2", "qwen2", "gemma2", "gemma3")
"""Each shape of decoder. Every second layer of Gemma's looks back at eight tokens only."""


def make_base(family: str):
    """A two-layer random model of one of ``FAMILIES``, always the same."""
    import torch
    from transformers import (
        Gemma2Config,
        Gemma2ForCausalLM,
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    shape = {
        "vocab_size": 258, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 0,
        "eos_token_id": 1, "pad_token_id": 1, "initializer_range": 0.2,
    }  # fmt: skip
    windowed = shape | {"head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if family == "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=True))
        if family == "gemma2":
            return Gemma2ForCausalLM(Gemma2Config(**windowed))
        if family == "gemma3":
            return Gemma3ForCausalLM(Gemma3TextConfig(**windowed))
        if family == "llama":
            return LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True))
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=258, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=0, eos_token_id=1,
                initializer_range=0.2,
            )
        )  # fmt: skip


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind():
    """Every thread that a test starts has ended with it."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in set(threading.enumerate()) - before if not thread.daemon]
    for thread in left:
        thread.join(5)
    assert not [thread for thread in left if thread.is_alive()]


@pytest.fixture(params=FAMILIES)
def resident(request):
    """A resident model of each family."""
    from desktop_rlhf.adapters.resident import ResidentModel

    return ResidentModel(make_base(request.param), _tokenizer())


@pytest.fixture
def fresh_llama():
    """Makes a tiny resident Llama with nothing attached, always the same, in the format that is asked for."""
    import torch

    from desktop_rlhf.adapters.resident import ResidentModel

    return lambda dtype=torch.float32: ResidentModel(make_base("llama").to(dtype), _tokenizer())


@pytest.fixture
def fresh():
    """Makes a tiny resident model of a family on a device, always the same, in the format that is asked for."""
    import torch

    from desktop_rlhf.adapters.resident import ResidentModel

    def make(family: str, device: torch.device | str, dtype: torch.dtype = torch.float32) -> ResidentModel:
        base = make_base(family)
        for parameter in base.parameters():  # and not the angles of rotations, which are float32 in every model
            parameter.data = parameter.data.to(dtype)
        return ResidentModel(base.to(device), _tokenizer())

    return make


@pytest.fixture(scope="session", autouse=True)
def kept_apart(tmp_path_factory):
    """What the suite finds by trial and what it logs is not kept with what the program found and logged."""
    tried, log = tmp_path_factory.mktemp("tried"), tmp_path_factory.mktemp("log") / "log.txt"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(settings, "tried_path", lambda: tried)
        patched.setattr(settings, "log_path", lambda: log)
        yield


@pytest.fixture
def llama(fresh_llama):
    return fresh_llama()


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory) -> Path:
    """A saved tiny Llama with its tokenizer, as a project's base."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    make_base("llama").save_pretrained(path)
    _tokenizer().save_pretrained(path)
    return path
