from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from desktop_rlhf.adapters.resident import ResidentModel, Role, hash_adapter, load_head
from desktop_rlhf.records.errors import ModelFolderError
from desktop_rlhf.records.prompts import Message

IDS = torch.tensor([[5, 9, 200, 17, 30]])


@torch.no_grad()
def logits(resident: ResidentModel) -> torch.Tensor:
    return resident.base(IDS).logits


def shake(resident: ResidentModel) -> None:
    """Make the trainable adapter do something."""
    with torch.no_grad():
        for i, parameter in enumerate(resident.trainable_parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))


def test_that_a_fresh_adapter_changes_nothing(resident) -> None:
    before = logits(resident)
    resident.new_adapter("a", rank=4, alpha=8, seed=0)
    resident.take_role(Role("a"))
    assert torch.equal(logits(resident), before)


def test_that_the_reference_is_the_base_bit_for_bit_and_only_the_role_is_trainable(resident) -> None:
    before, sha256 = logits(resident), resident.base_sha256()
    resident.new_adapter("a", rank=4, alpha=8, seed=0)
    resident.new_adapter("b", rank=4, alpha=8, seed=1)
    resident.take_role(Role("a", trainable=True))
    shake(resident)
    assert not torch.equal(logits(resident), before)
    names = {n for n, p in resident.base.named_parameters() if p.requires_grad}
    assert names
    assert all(".a." in n for n in names)
    resident.take_role(Role(None))
    assert torch.equal(logits(resident), before)
    assert not any(p.requires_grad for p in resident.base.parameters())
    assert resident.base_sha256() == sha256


def test_that_a_saved_adapter_speaks_the_same_when_attached_again(resident, tmp_path) -> None:
    resident.new_adapter("a", rank=4, alpha=8, seed=0)
    resident.take_role(Role("a", trainable=True))
    shake(resident)
    said = logits(resident)
    sha256 = resident.save_adapter("a", tmp_path / "saved")
    assert sha256 == hash_adapter(tmp_path / "saved")
    resident.detach("a")
    assert resident.role == Role(None)
    resident.attach("again", tmp_path / "saved")
    resident.take_role(Role("again"))
    assert torch.equal(logits(resident), said)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_that_a_later_adapter_is_what_it_would_be_as_the_first(family, fresh) -> None:
    """The library makes the first one, and finds the layers for it."""
    first, later = fresh(family, "cpu"), fresh(family, "cpu")
    later.new_adapter("a", rank=4, alpha=8, seed=0)
    said = []
    for resident in (first, later):
        resident.new_adapter("b", rank=6, alpha=3, seed=1)
        resident.take_role(Role("b", trainable=True))
        names = [name for name, p in resident.base.named_parameters() if p.requires_grad]
        assert names == [name for name, _ in resident._adapter_parameters("b")]
        assert all(p.dtype == torch.float32 for p in resident.trainable_parameters())
        shake(resident)
        said.append((names, logits(resident).tolist()))
    assert said[0] == said[1]


def test_that_an_adapter_is_on_every_layer_after_one_that_is_on_few(llama, fresh, tmp_path) -> None:
    llama.new_adapter("a", rank=4, alpha=8, seed=0)
    llama.save_adapter("a", tmp_path / "saved")
    config, weights = tmp_path / "saved" / "adapter_config.json", tmp_path / "saved" / "adapter_model.safetensors"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"target_modules": ["q_proj"]}))
    save_file({name: own for name, own in load_file(weights).items() if "q_proj" in name}, weights)
    resident = fresh("llama", "cpu")
    resident.attach("few", tmp_path / "saved")
    resident.new_adapter("all", rank=4, alpha=8, seed=0)
    assert len(resident._adapter_parameters("few")) == len(llama._adapter_parameters("a")) // 7
    assert len(resident._adapter_parameters("all")) == len(llama._adapter_parameters("a"))
    resident.detach("few")
    resident.attach("few", tmp_path / "saved")
    assert len(resident._adapter_parameters("few")) == len(llama._adapter_parameters("a")) // 7


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers
def test_that_another_program_can_load_a_saved_adapter(llama, tiny_model_path, tmp_path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    llama.new_adapter("a", rank=4, alpha=8, seed=0)
    llama.take_role(Role("a", trainable=True))
    shake(llama)
    said = logits(llama)
    llama.save_adapter("a", tmp_path / "saved")
    other = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model_path), str(tmp_path / "saved")
    ).eval()
    with torch.no_grad():
        assert torch.allclose(other(IDS).logits, said, atol=1e-6)


def test_that_a_missing_head_is_an_error(llama, tmp_path) -> None:
    llama.new_adapter("a", rank=4, alpha=8, seed=0)
    llama.save_adapter("a", tmp_path / "saved")
    with pytest.raises(ModelFolderError, match="no reward head"):
        load_head(tmp_path / "saved")


def test_that_an_adapter_of_another_shape_is_refused(llama, tmp_path) -> None:
    llama.new_adapter("a", rank=4, alpha=8, seed=0)
    llama.save_adapter("a", tmp_path / "saved")
    config = tmp_path / "saved" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"r": 3}))
    with pytest.raises(ModelFolderError, match="does not fit"):
        llama.attach("b", tmp_path / "saved")


@pytest.mark.parametrize("first", [True, False])
def test_that_an_adapter_with_more_than_fits_is_refused(llama, tmp_path, first) -> None:
    """The library makes the first one, and this program the others."""
    llama.new_adapter("a", rank=4, alpha=8, seed=0)
    llama.save_adapter("a", tmp_path / "saved")
    if first:
        llama.detach("a")
    weights = tmp_path / "saved" / "adapter_model.safetensors"
    save_file(load_file(weights) | {"base_model.model.lm_head.lora_A.weight": torch.ones(4, 32)}, weights)
    with pytest.raises(ModelFolderError, match="does not fit"):
        llama.attach("b", tmp_path / "saved")
    assert "b" not in llama.attached


def test_that_the_prompt_ends_where_the_model_is_to_speak(llama) -> None:
    ids = llama.prompt_ids([Message("user", "hi")])
    assert llama.tokenizer.decode(ids) == "<s>user\nhi</s>\n<s>assistant\n"
    assert llama.completion_ids("yes")[-1] == llama.tokenizer.eos_token_id
