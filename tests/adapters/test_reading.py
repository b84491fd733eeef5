"""What is read from a model's folder is what the library itself would have read, without the file mapped beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from desktop_rlhf.adapters import reading
from desktop_rlhf.adapters.reading import StoredWeight, read_base
from desktop_rlhf.records.errors import ModelFolderError

SMALL = {
    "vocab_size": 258, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
KINDS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=False)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=258, n_embd=16, n_layer=2, n_head=2, n_positions=64)),
    "qwen": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL, tie_word_embeddings=True)),
    "gemma": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8)),
}


@pytest.fixture
def saved(tiny_model_path, tmp_path):
    """Saves a model beside the tiny one's tokenizer, in pieces of so many bytes."""

    def save(kind: str, largest: int | str = "5GB") -> Path:
        model = KINDS[kind]()
        model.generation_config.eos_token_id = [1, 7]
        model.save_pretrained(tmp_path, max_shard_size=largest)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name).write_bytes((tiny_model_path / name).read_bytes())
        return tmp_path

    return save


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("largest", ["5GB", "8KB"])
@pytest.mark.parametrize("kind", KINDS)
def test_that_it_is_the_model_that_the_library_reads(saved, kind, largest, dtype, monkeypatch) -> None:
    folder = saved(kind, largest)
    assert ("index" in " ".join(file.name for file in folder.iterdir())) == (largest == "8KB")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)  # it is not asked
    read, tokenizer = read_base(str(folder), dtype)
    assert type(read) is type(plain)
    own, its = dict(read.named_parameters()), dict(plain.named_parameters())
    assert own.keys() == its.keys()
    assert all(torch.equal(own[name], its[name]) and own[name].dtype == its[name].dtype for name in its)
    assert (read.get_output_embeddings().weight is read.get_input_embeddings().weight) == (
        plain.get_output_embeddings().weight is plain.get_input_embeddings().weight
    )
    assert read.generation_config.eos_token_id == [1, 7]
    assert read.name_or_path == plain.name_or_path
    assert not read.training
    ids = torch.tensor([tokenizer("Hello")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(read(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "qwen"])
def test_that_a_model_that_is_put_together_here_is_neither_drawn_nor_left_to_the_library(
    saved, kind, dtype, monkeypatch
) -> None:
    folder = saved(kind)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    monkeypatch.setattr(type(plain), "from_pretrained", None)
    before = torch.random.get_rng_state()
    read, _ = read_base(str(folder), dtype)
    assert torch.equal(torch.random.get_rng_state(), before)
    own, its = dict(read.named_buffers()), dict(plain.named_buffers())
    assert own.keys() == its.keys()
    assert all(torch.equal(own[name], its[name]) and own[name].dtype == its[name].dtype for name in its)


@pytest.mark.parametrize("change", ["one more", "one of no weights", "one less", "another shape"])
def test_that_files_with_other_weights_than_the_models_are_left_to_the_library(saved, change, monkeypatch) -> None:
    folder = saved("llama")
    weights = load_file(folder / "model.safetensors")
    first = "model.layers.0.self_attn.q_proj.weight"
    if change == "one more":
        weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    elif change == "one of no weights":
        weights["model.layers.0.self_attn.steps"] = torch.tensor([3])
    elif change == "one less":
        del weights[first]
    else:
        weights[first] = weights[first][:8].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    asked = []
    own = LlamaForCausalLM.from_pretrained

    def watched(*arguments: Any, **named: Any) -> Any:
        asked.append(named["state_dict"])
        return own(*arguments, **named | {"ignore_mismatched_sizes": True})

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", watched)
    read_base(str(folder), torch.float32)
    assert len(asked) == 1


def test_that_weights_are_read_through_as_little_as_there_is(tmp_path) -> None:
    stored = torch.arange(1000, dtype=torch.float32).view(10, 100)
    save_file({"a": stored, "b": stored.bfloat16()}, tmp_path / "weights")
    for weight in reading._weights(tmp_path / "weights").values():
        for dtype in (torch.float32, torch.bfloat16):
            out = torch.zeros(10, 100, dtype=dtype)
            weight.copy_to(out, torch.zeros(28, dtype=torch.uint8))
            assert torch.equal(out, stored.to(weight.dtype).to(dtype))


MAPS = Path("/proc/self/maps")
"""Where Linux tells what is mapped."""


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_that_no_file_is_mapped_while_weights_are_read(saved, kind, monkeypatch) -> None:
    folder = saved(kind)
    read = []
    own = StoredWeight._fill

    def watched(*arguments: Any) -> None:
        read.append(MAPS.exists() and "model.safetensors" in MAPS.read_text())
        own(*arguments)

    monkeypatch.setattr(StoredWeight, "_fill", watched)
    read_base(str(folder), torch.float32)
    assert len(read) > 10
    assert not any(read)


def test_that_other_threads_get_a_turn_before_each_long_call(tiny_model_path, monkeypatch) -> None:
    turns = []
    monkeypatch.setattr(reading.time, "sleep", turns.append)
    before = sys.getprofile()
    with reading.giving_way():
        json.loads("{}")
        assert turns == [reading.TURN]
        Tokenizer.from_file(str(tiny_model_path / "tokenizer.json"))
        assert turns == [reading.TURN] * 2
    with pytest.raises(ValueError, match="no JSON"), reading.giving_way():
        raise ValueError("no JSON")
    json.loads("{}")
    assert len(turns) == 2
    assert sys.getprofile() is before


def test_that_formats_of_no_weights_are_left_to_the_library(tmp_path) -> None:
    kept = {"steps": torch.tensor([3, 5]), "scale": torch.tensor(0.5), "none": torch.empty(0, 4)}
    save_file(kept, tmp_path / "model.safetensors")
    stored = reading._weights(tmp_path / "model.safetensors")
    assert {name for name, weight in stored.items() if isinstance(weight, StoredWeight)} == {"scale", "none"}
    for name, tensor in kept.items():
        assert torch.equal(stored[name][...], tensor)
        assert stored[name][...].dtype == tensor.dtype


def test_that_a_file_that_ends_too_early_is_an_error(tmp_path) -> None:
    (tmp_path / "weights").write_bytes(bytes(15))
    assert torch.equal(StoredWeight(tmp_path / "weights", 3, (3,), torch.float32)[1:], torch.zeros(2))
    with pytest.raises(OSError, match="ends too early"):
        StoredWeight(tmp_path / "weights", 8, (2,), torch.float32)[...]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"no weights"),
        ("model.safetensors.index.json", b"{}"),
        ("model.safetensors.index.json", json.dumps({"weight_map": {"a": "missing.safetensors"}}).encode()),
        ("model-00001.safetensors", b"no weights, and nothing that names it"),
    ],
)
def test_that_a_spoiled_folder_is_told_as_one(saved, name, content) -> None:
    folder = saved("llama")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match="could not be loaded"):
        read_base(str(folder), torch.float32)
