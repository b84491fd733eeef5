"""`python -m bench.trl_dpo INPUTS`: TRL's DPOTrainer on the pairs of the inputs."""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from bench.trl_side import StepClock, lora, pair_arguments, tokenizer
from bench.worker import asked, say


class TokensGiven(DPOTrainer):
    """Takes pairs that are tokens already, exactly those that the program learns from."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def main(inputs: dict[str, Any]) -> None:
    """The first step warms up; those after it are timed."""
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        TokensGiven(
            model=AutoModelForCausalLM.from_pretrained(inputs["model"], dtype=inputs["setting"]["dtype"]),
            args=DPOConfig(**pair_arguments(inputs, folder)),
            train_dataset=Dataset.from_list([{name: row[name] for name in names} for row in inputs["pairs"]]),
            processing_class=tokenizer(inputs),
            peft_config=lora(inputs, task_type="CAUSAL_LM"),
            callbacks=[clock],
        ).train()
    say(clock.seconds, clock.steps * inputs["batch_size"], inputs["setting"]["name"])


if __name__ == "__main__":
    main(asked())
