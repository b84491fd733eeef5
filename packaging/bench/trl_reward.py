"""`python -m bench.trl_reward INPUTS`: TRL's RewardTrainer on the pairs of the inputs."""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from bench.trl_side import StepClock, lora, pair_arguments, tokenizer
from bench.worker import asked, say


def main(inputs: dict[str, Any]) -> None:
    """The first step warms up; those after it are timed."""
    clock = StepClock()
    rows = [{name: row["prompt_ids"] + row[name] for name in ("chosen_ids", "rejected_ids")} for row in inputs["pairs"]]
    with tempfile.TemporaryDirectory() as folder:
        RewardTrainer(
            model=AutoModelForSequenceClassification.from_pretrained(
                inputs["model"], num_labels=1, dtype=inputs["setting"]["dtype"]
            ),
            args=RewardConfig(**pair_arguments(inputs, folder), center_rewards_coefficient=0.01),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer(inputs),
            peft_config=lora(inputs, task_type="SEQ_CLS", modules_to_save=["score"]),
            callbacks=[clock],
        ).train()
    say(clock.seconds, clock.steps * inputs["batch_size"], inputs["setting"]["name"])


if __name__ == "__main__":
    main(asked())
