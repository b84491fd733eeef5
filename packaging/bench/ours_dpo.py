"""`python -m bench.ours_dpo INPUTS`: the program's DPO on the pairs of the inputs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.ours import Row, begin, groups, load, seconds_of, settings
from bench.worker import say
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.dpo.spec import DpoSpec


def main(inputs: Row) -> None:
    """A run of the first pairs warms up; a second one, of all the others, is timed whole."""
    model, first = load(inputs), inputs["batch_size"]
    pairs = groups(model, inputs["pairs"])
    steps = len(pairs) // first - 1
    spec = DpoSpec(**settings(inputs), batch_size=first)
    with tempfile.TemporaryDirectory() as folder:
        seconds_of(spec, TrainingInputs(model, None, pairs[:first], (), None, Path(folder) / "warm-up"), 1)
        seconds = seconds_of(spec, TrainingInputs(model, None, pairs[first:], (), None, Path(folder) / "timed"), steps)
    say(seconds, steps * first, model.dtype)


if __name__ == "__main__":
    begin(main)
