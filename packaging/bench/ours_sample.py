"""`python -m bench.ours_sample INPUTS`: the program samples the prompts of the inputs, all together."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.ours import Row, begin, load, prompts
from bench.worker import say
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.completions.sampling import Written, sample
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.runs.stop import StopToken


def main(inputs: Row) -> None:
    """A few tokens warm up; a token counts when it was kept, the end token with it."""
    model = load(inputs)
    ids = [model.prompt_ids(prompt.messages) for prompt in prompts(model, inputs["prompts"])]
    written(model, ids[:2], inputs["copies"], 4, inputs)
    began = time.perf_counter()
    tokens = written(model, ids, inputs["copies"], inputs["new"], inputs)
    say(time.perf_counter() - began, tokens, model.dtype)


def written(model: ResidentModel, ids: Sequence[list[int]], copies: int, new: int, inputs: Row) -> int:
    """How many tokens were sampled."""
    sampler = Sampler(temperature=inputs["temperature"], max_new_tokens=new)
    seeds = range(inputs["seed"], inputs["seed"] + len(ids) * copies)
    events = sample(model, None, ids, seeds, sampler, StopToken())
    return sum(len(one.completion_ids) for event in events if isinstance(event, Written) for one in event.drawn)


if __name__ == "__main__":
    begin(main)
