"""TRL's side of every paired work. Runs where TRL is installed, and knows nothing of the program's trainers."""

from __future__ import annotations

import time
from typing import Any

from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback


class StepClock(TrainerCallback):
    """When each optimiser step, for PPO each update, ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """From the end of the first step, which warms up, to the end of the last."""
        return self.ends[-1] - self.ends[0]

    @property
    def steps(self) -> int:
        """How many of them that time holds."""
        return len(self.ends) - 1


def lora(inputs: dict[str, Any], **more: Any) -> LoraConfig:
    """An adapter on every linear layer, of the shape that the program's has."""
    return LoraConfig(
        r=inputs["rank"], lora_alpha=inputs["alpha"], lora_dropout=0.0, target_modules="all-linear", **more
    )


def tokenizer(inputs: dict[str, Any]) -> Any:
    """The model's, whose padding is not its end token: TRL looks for padding to see where a completion ends."""
    made = AutoTokenizer.from_pretrained(inputs["model"], padding_side="left")
    if made.pad_token is None or made.pad_token == made.eos_token:
        made.pad_token = made.unk_token or made.bos_token
    return made


def arguments(inputs: dict[str, Any], folder: str) -> dict[str, Any]:
    """What every trainer is told: the optimiser as the program's, nothing logged, nothing saved, on the processor."""
    return {
        "output_dir": folder,
        "learning_rate": inputs["learning_rate"],
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "num_train_epochs": 1,
        "seed": inputs["seed"],
        "use_cpu": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def pair_arguments(inputs: dict[str, Any], folder: str) -> dict[str, Any]:
    """The same for trainers that read pairs: in their order, so that the first step takes those that warm up."""
    setting = inputs["setting"]
    return arguments(inputs, folder) | {
        "per_device_train_batch_size": inputs["batch_size"],
        "max_length": inputs["max_length"],
        "train_sampling_strategy": "sequential",
        "bf16": setting["bf16"],
        "activation_checkpointing": setting["checkpointing"],
    }
