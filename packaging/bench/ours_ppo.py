"""`python -m bench.ours_ppo INPUTS`: the program's PPO on the prompts of the inputs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from bench.ours import Row, begin, load, prompts, seconds_of, settings
from bench.worker import say
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.reward.model import RewardHead


def main(inputs: Row) -> None:
    """A run of one update warms up; a second one, on all other prompts, is timed to its last update."""
    model, episodes = load(inputs), inputs["episodes"]
    asking = prompts(model, inputs["prompts"])
    updates = len(asking) // episodes - 1

    def spec(updates: int) -> PpoSpec:
        return PpoSpec(
            **settings(inputs),
            updates=updates,
            prompts_per_update=episodes,
            completions_per_prompt=1,
            max_new_tokens=inputs["new"],
            ppo_epochs=inputs["epochs"],
            temperature=inputs["temperature"],
        )

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judge = untrained_reward_model(model, folder / "judge", inputs)
        seconds_of(spec(1), TrainingInputs(model, None, (), asking[:episodes], judge, folder / "warm-up"), 1)
        seconds = seconds_of(
            spec(updates), TrainingInputs(model, None, (), asking[episodes:], judge, folder / "timed"), updates
        )
    say(seconds, updates * episodes, model.dtype)


def untrained_reward_model(model: ResidentModel, path: Path, inputs: Row) -> Path:
    """A reward model of the usual shape whose scores mean nothing; scoring takes as long as with a trained one."""
    model.new_adapter("judge", rank=inputs["rank"], alpha=inputs["alpha"], seed=inputs["seed"])
    head = RewardHead(model.hidden_size)
    with torch.no_grad():
        head.weight.normal_(std=0.02, generator=torch.Generator().manual_seed(inputs["seed"]))
    model.save_adapter("judge", path, head=head.state_dict())
    model.detach("judge")
    return path


if __name__ == "__main__":
    begin(main)
