"""`python -m bench.trl_ppo INPUTS`: TRL 1.12's PPOTrainer, the last that there was, on the prompts of the inputs."""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset
from peft import inject_adapter_in_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from trl.experimental.ppo import PPOConfig, PPOTrainer

from bench.trl_side import StepClock, arguments, lora, tokenizer
from bench.worker import asked, say


def main(inputs: dict[str, Any]) -> None:
    """The first update warms up; those after it are timed.

    Policy and value model learn by an adapter each, the reference is the policy with its adapter off, and the reward
    model is untrained: scoring takes as long as with a trained one.
    """
    dtype, episodes = inputs["setting"]["dtype"], inputs["episodes"]
    clock, reading = StepClock(), tokenizer(inputs)
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(
            inputs["model"], num_labels=1, dtype=dtype, pad_token_id=reading.pad_token_id
        )
        for _ in range(2)
    )
    inject_adapter_in_model(lora(inputs, task_type="SEQ_CLS"), value)  # the task, so that the head gets none
    value.score.requires_grad_(True)
    with tempfile.TemporaryDirectory() as folder:
        PPOTrainer(
            args=PPOConfig(
                **arguments(inputs, folder),
                per_device_train_batch_size=episodes,
                gradient_accumulation_steps=1,
                num_mini_batches=1,
                local_rollout_forward_batch_size=episodes,
                total_episodes=len(inputs["prompts"]),
                num_ppo_epochs=inputs["epochs"],
                response_length=inputs["new"],
                temperature=inputs["temperature"],
                stop_token="eos",
                num_sample_generations=0,
                bf16=False,
            ),
            processing_class=reading,
            model=AutoModelForCausalLM.from_pretrained(inputs["model"], dtype=dtype),
            ref_model=None,
            reward_model=reward,
            value_model=value,
            train_dataset=Dataset.from_list([{"input_ids": row["prompt_ids"]} for row in inputs["prompts"]]),
            peft_config=lora(inputs, task_type="CAUSAL_LM"),
            callbacks=[clock],
        ).train()
    say(clock.seconds, clock.steps * episodes, inputs["setting"]["name"])


if __name__ == "__main__":
    main(asked())
