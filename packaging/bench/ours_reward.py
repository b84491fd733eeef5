"""`python -m bench.ours_reward INPUTS`: the program's reward model on the pairs of the inputs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.ours import Row, begin, groups, load, seconds_of, settings
from bench.worker import say
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.reward.spec import FEWEST_COMPARISONS, RewardSpec


def main(inputs: Row) -> None:
    """A run of the fewest pairs that it takes warms up; one of all but the first step's is timed to its last step.

    Nothing is held out, and what the program measures after the last step is not timed: the peer does neither.
    """
    model, first = load(inputs), inputs["batch_size"]
    pairs = groups(model, inputs["pairs"])
    steps, fewest = len(pairs) // first - 1, FEWEST_COMPARISONS
    spec = RewardSpec(**settings(inputs), batch_size=first, held_out_share=0.0)
    with tempfile.TemporaryDirectory() as folder:
        seconds_of(
            spec, TrainingInputs(model, None, pairs[:fewest], (), None, Path(folder) / "warm-up"), fewest // first
        )
        seconds = seconds_of(spec, TrainingInputs(model, None, pairs[first:], (), None, Path(folder) / "timed"), steps)
    say(seconds, steps * first, model.dtype)


if __name__ == "__main__":
    begin(main)
