"""TRL's RewardTrainer on a folder that the study made: train.jsonl, held_out.jsonl and settings.json.

Runs in an environment of its own, in which TRL is installed. The adapter's shape, the learning rate and its line to 0,
batch, passes, centring and longest length are the program's; the scoring head is TRL's: it reads the last token and
learns at the adapter's rate. Writes right.json: for each held-out pair whether the chosen one scored higher.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from trl import RewardConfig, RewardTrainer


def main(folder: Path) -> None:
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    columns = ["prompt", "chosen", "rejected"]
    data = {
        name: load_dataset("json", data_files=str(folder / f"{name}.jsonl"), split="train").select_columns(columns)
        for name in ("train", "held_out")
    }
    trainer = RewardTrainer(
        model=settings["model"],
        args=RewardConfig(
            output_dir=str(folder / "trl"),
            learning_rate=settings["learning_rate"],
            lr_scheduler_type="linear",
            weight_decay=0.0,
            max_grad_norm=settings["max_grad_norm"],
            num_train_epochs=settings["epochs"],
            per_device_train_batch_size=settings["batch_size"],
            per_device_eval_batch_size=1,
            max_length=settings["max_length"],
            center_rewards_coefficient=settings["center_rewards_coefficient"],
            seed=settings["seed"],
            train_sampling_strategy="group_by_length",  # less padding, so less time
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            logging_steps=10,
            save_strategy="no",
            report_to="none",
            model_init_kwargs={"dtype": "float32"},
        ),
        train_dataset=data["train"],
        eval_dataset=data["held_out"],
        peft_config=LoraConfig(
            task_type="SEQ_CLS",
            r=settings["lora_rank"],
            lora_alpha=settings["lora_alpha"],
            lora_dropout=0.0,
            target_modules="all-linear",
            modules_to_save=["score"],
        ),
    )
    if len(trainer.train_dataset) != len(data["train"]) or len(trainer.eval_dataset) != len(data["held_out"]):
        print("TRL left pairs out as too long, so the two splits are not the same.", file=sys.stderr)
    # The sampler reads this column, so it has to be there and must not be dropped as unknown.
    trainer._signature_columns = ["chosen_ids", "rejected_ids", "length"]
    trainer.train_dataset = trainer.train_dataset.map(
        lambda pair: {"length": max(len(pair["chosen_ids"]), len(pair["rejected_ids"]))}
    )
    trainer.train()
    trainer.args.train_sampling_strategy = "sequential"  # the held-out pairs are answered in their own order
    predicted = trainer.predict(trainer.eval_dataset).predictions
    right = [bool(chosen > rejected) for chosen, rejected in predicted.reshape(-1, 2).tolist()]
    (folder / "right.json").write_text(json.dumps(right), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
