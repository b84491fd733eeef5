"""One frozen base model in memory; policy, reference, reward and value are adapters and heads on it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from desktop_rlhf.adapters.chat import Chat
from desktop_rlhf.adapters.few_rows import DEFAULT
from desktop_rlhf.adapters.fused import FusedTrunk
from desktop_rlhf.adapters.libraries import Conv1D, LoraConfig, LoraLayer, LoraModel
from desktop_rlhf.adapters.plain import PlainTrunk
from desktop_rlhf.adapters.reading import read_base
from desktop_rlhf.adapters.tensor_file import write_tensors
from desktop_rlhf.adapters.vocabulary import Vocabulary
from desktop_rlhf.records.errors import ModelFolderError
from desktop_rlhf.records.prompts import Message

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
HEAD_FILE = "head.safetensors"
FACTORS = ("lora_A", "lora_B")
PIECE = 1 << 20
"""Bytes of a file that are hashed at a time."""


@dataclass(frozen=True, slots=True)
class Role:
    """Which adapter speaks (None is the bare base) and whether it may be trained now."""

    adapter: str | None
    trainable: bool = False


class ResidentModel:
    """The base and the adapters attached to it. Touched by one thread only."""

    def __init__(self, base: Any, tokenizer: Any) -> None:
        self.base = base.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        head = self.base.get_output_embeddings()
        linear = [(n, m) for n, m in self.base.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
        self._targets = sorted({name.rsplit(".", 1)[-1] for name, _ in linear})
        self._linears = len(linear)
        self._transposed = any(isinstance(module, Conv1D) for _, module in linear)
        self._role = Role(None)
        self._attached: dict[str, LoraConfig] = {}
        self._layers: list[tuple[str, LoraLayer]] = []  # with their names, once there was an adapter
        self._own: dict[str, list[tuple[str, nn.Parameter]]] = {}
        self._tuner: LoraModel | None = None
        self.chat = Chat(tokenizer)
        ends = {tokenizer.eos_token_id, self.chat.turn_end}
        configured = getattr(getattr(self.base, "generation_config", None), "eos_token_id", None)
        ends.update(configured if isinstance(configured, list) else [configured])
        self.fused = FusedTrunk.of(self.base)
        self.vocabulary = Vocabulary(self.base)
        self.end_ids: frozenset[int] = frozenset(e for e in ends if e is not None)

    @classmethod
    def load(cls, source: str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> ResidentModel:
        """Read a base from a local safetensors folder, or from the download cache by its Hugging Face id.

        Args:
            dtype:  what its weights are kept in; adapters, heads and everything behind the trunk are float32.
            device: where it lives, and where whatever is computed with it is.

        Raises:
            ModelFolderError: the folder is missing, incomplete, pickled or carries code.
        """
        base, tokenizer = read_base(source, dtype)
        return cls(base.to(device), tokenizer)

    @property
    def trunk(self) -> Any:
        """The base without its vocabulary projection; gives hidden states."""
        return self.base.base_model

    @property
    def dtype(self) -> str:
        """What the base's weights are kept in, as ``float32``."""
        return str(self.base.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """Where the base's weights are; adapters and heads are there too."""
        return torch.device(self.base.device)

    @property
    def few_go_by(self) -> str:
        """Which way a few rows are multiplied where the fused forward does it; see ``few_rows``."""
        return DEFAULT if self.fused is None else self.fused.few_go_by

    @few_go_by.setter
    def few_go_by(self, way: str) -> None:
        if self.fused is not None:
            self.fused.few_go_by = way

    @cached_property
    def plain(self) -> PlainTrunk:
        """The base's own forward for packed rows; what it can is tried when it is first asked for."""
        return PlainTrunk(self.base)

    @property
    def packs(self) -> bool:
        """Whether a forward computes a prompt once for all its completions."""
        return self.fused is not None or self.plain.packs

    @property
    def hidden_size(self) -> int:
        return int(self.base.config.get_text_config().hidden_size)

    @property
    def longest(self) -> int:
        """How many tokens a prompt and its completion may have together."""
        return int(getattr(self.base.config.get_text_config(), "max_position_embeddings", 1 << 20))

    @property
    def role(self) -> Role:
        return self._role

    def take_role(self, role: Role) -> None:
        """Make ``role.adapter`` the one that speaks, and set exactly its parameters trainable or none."""
        if role != self._role:
            self._set(role)

    def new_adapter(self, name: str, *, rank: int, alpha: int, seed: int) -> None:
        """Attach a fresh adapter on every linear layer; it changes nothing until it is trained."""
        config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=self._targets)
        config.fan_in_fan_out = self._transposed
        self._inject(name, config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, parameter in self._adapter_parameters(name):
                if ".lora_A." in key:
                    # Drawn on the CPU, so that a seed means the same adapter on every device.
                    drawn = torch.empty(parameter.shape)
                    nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
                    parameter.copy_(drawn)
                else:
                    parameter.zero_()

    def attach(self, name: str, path: Path) -> None:
        """Attach a saved adapter under ``name``.

        Raises:
            ModelFolderError: the folder lacks the adapter's files or does not fit this base.
        """
        try:
            config = LoraConfig.from_pretrained(str(path))
            saved = load_file(path / WEIGHTS_FILE)
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelFolderError(f"The adapter in “{path}” could not be read: {error}.") from error
        self._inject(name, config)
        with torch.no_grad():
            for key, parameter in self._adapter_parameters(name):
                stored = saved.pop(_saved_key(key, name), None)
                if stored is None or stored.shape != parameter.shape:
                    self.detach(name)
                    raise ModelFolderError(f"The adapter in “{path}” does not fit this base model.")
                parameter.copy_(stored)
        if saved:  # a bias, or a layer that has no place here: without it the adapter would be another
            self.detach(name)
            raise ModelFolderError(f"The adapter in “{path}” does not fit this base model.")

    def detach(self, name: str) -> None:
        """Forget an adapter and free its memory. The speaking role becomes the base when it was this one."""
        if name not in self._attached:
            return
        role = Role(None) if self._role.adapter == name else self._role
        for _, layer in self._layers:
            layer.set_adapter([])  # peft warns when what it deletes is active
            layer.delete_adapter(name)
        del self._attached[name], self._own[name]
        self._set(role)

    @property
    def attached(self) -> frozenset[str]:
        """Names of the adapters that are attached now."""
        return frozenset(self._attached)

    @property
    def parameters(self) -> int:
        """How many numbers the base holds."""
        return sum(p.numel() for k, p in self.base.named_parameters() if ".lora_" not in k)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters of the role that may be trained now, in a fixed order."""
        return [p for _, p in self._adapter_parameters(self._role.adapter) if p.requires_grad]

    def save_adapter(self, name: str, path: Path, head: dict[str, Tensor] | None = None) -> str:
        """Write an adapter, and a head beside it, to ``path`` all or nothing; return one SHA-256 over its files."""
        aside = path.with_name(path.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        weights = {_saved_key(k, name): p for k, p in self._adapter_parameters(name)}
        write_tensors(weights, aside / WEIGHTS_FILE)
        self._attached[name].save_pretrained(str(aside))
        if head is not None:
            write_tensors(head, aside / HEAD_FILE)
        sha256 = hash_adapter(aside)
        for file in aside.iterdir():
            with file.open("r+b") as written:
                os.fsync(written.fileno())
        os.replace(aside, path)
        return sha256

    def base_sha256(self) -> str:
        """One hash over the bytes of every base tensor, to prove that nothing wrote to it."""
        digest = hashlib.sha256()
        for key, parameter in self.base.named_parameters():
            if ".lora_" not in key:
                digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, up to where the model is to speak; see ``Chat.prompt_ids``."""
        return self.chat.prompt_ids(messages)

    def completion_ids(self, text: str) -> list[int]:
        """Token ids of a whole completion that somebody wrote, with the token that ends a turn."""
        return self.chat.completion_ids(text)

    def completion_text(self, completion_ids: Sequence[int]) -> str:
        """What a person reads: the end and other special tokens left out, everything else as it is."""
        ids = list(completion_ids)
        if ids and ids[-1] in self.end_ids:
            del ids[-1]
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def _inject(self, name: str, config: LoraConfig) -> None:
        assert name not in self._attached, f"an adapter named {name} is attached already"
        role = self._role
        with torch.random.fork_rng(devices=[]):  # peft draws weights, which are written over
            if self._tuner is None:
                self._tuner = LoraModel(self.base, config, name)
            elif len(self._layers) == self._linears and self._is_on_all(config):
                # The library would find the layers anew by the names of all modules, which takes as long again.
                self._tuner.peft_config[name] = config
                for _, layer in self._layers:
                    layer.update_layer(name, config.r, lora_alpha=config.lora_alpha, config=config)
            else:
                self._tuner.peft_config[name] = config
                self._tuner.inject_adapter(self.base, name)
        if len(self._layers) < self._linears:
            self._layers = [(key, own) for key, own in self.base.named_modules() if isinstance(own, LoraLayer)]
        self._attached[name] = config
        self._own[name] = [
            (f"{key}.{factor}.{name}.weight", _in_float32(getattr(layer, factor)[name]))
            for key, layer in self._layers
            for factor in FACTORS
            if name in getattr(layer, factor)
        ]
        if self.fused is not None:
            self.fused.make_room(config.r)
        self.base.eval()
        self._set(role)

    def _is_on_all(self, config: LoraConfig) -> bool:
        """Whether an adapter is on every linear layer, with the same rank everywhere."""
        everywhere = not isinstance(config.target_modules, str) and set(config.target_modules) == set(self._targets)
        return everywhere and not (config.rank_pattern or config.alpha_pattern)

    def _set(self, role: Role) -> None:
        for _, layer in self._layers:
            if role.adapter is not None:
                layer.set_adapter([role.adapter])
            if layer.disable_adapters != (role.adapter is None):
                layer.enable_adapters(role.adapter is not None)
        # peft couples activity with requires_grad, so the trainable set is stated afterwards, whole.
        for name, own in self._own.items():
            for _, parameter in own:
                parameter.requires_grad_(role.trainable and name == role.adapter)
        self._role = role

    def _adapter_parameters(self, name: str | None) -> list[tuple[str, nn.Parameter]]:
        return self._own.get(name, []) if name is not None else []


def load_head(path: Path) -> dict[str, Tensor]:
    """The head saved beside an adapter.

    Raises:
        ModelFolderError: there is none; a fresh head would score at random.
    """
    if not (path / HEAD_FILE).is_file():
        raise ModelFolderError(f"The adapter in “{path}” has no reward head.", "Train the reward model again.")
    try:
        return load_file(path / HEAD_FILE)
    except SafetensorError as error:
        raise ModelFolderError(f"The reward head in “{path}” could not be read: {error}.") from error


def hash_adapter(path: Path) -> str:
    """One SHA-256 over an adapter's weights, head and shape; file order and configuration notes do not matter."""
    digest = hashlib.sha256()
    for name in (WEIGHTS_FILE, HEAD_FILE):
        if (path / name).is_file():
            with (path / name).open("rb") as file:
                while piece := file.read(PIECE):
                    digest.update(piece)
    shape = json.loads((path / CONFIG_FILE).read_text())
    digest.update(f"{shape['r']} {shape['lora_alpha']}".encode())
    return digest.hexdigest()


def _in_float32(part: nn.Linear) -> nn.Parameter:
    """The weight of a part of an adapter; peft takes the base's format for it, in which small steps are lost."""
    part.weight = nn.Parameter(part.weight.detach().float())
    return part.weight


def _saved_key(key: str, name: str) -> str:
    """peft's name on disk for a parameter, so that other programs can load the adapter."""
    return "base_model.model." + key.replace(f".lora_A.{name}.", ".lora_A.").replace(f".lora_B.{name}.", ".lora_B.")
