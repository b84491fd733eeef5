"""`python -m bench.generate_sample INPUTS`: transformers' generate on the same prompts, some at once, padded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.worker import asked, say


def main(inputs: dict[str, Any]) -> None:
    """Prompts of a like length go together, so that little is padded. A few tokens warm up."""
    setting, copies = inputs["setting"], inputs["copies"]
    tokenizer = AutoTokenizer.from_pretrained(inputs["model"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(inputs["model"], dtype=setting["dtype"]).eval()
    rows = sorted((row["prompt_ids"] for row in inputs["prompts"]), key=len)
    batches = [rows[start : start + setting["prompts"]] for start in range(0, len(rows), setting["prompts"])]
    torch.manual_seed(inputs["seed"])
    written(model, tokenizer, rows[:2], copies, 4, inputs)
    began = time.perf_counter()
    tokens = sum(written(model, tokenizer, batch, copies, inputs["new"], inputs) for batch in batches)
    say(time.perf_counter() - began, tokens, setting["name"])


@torch.no_grad()
def written(
    model: Any, tokenizer: Any, rows: Sequence[list[int]], copies: int, new: int, inputs: dict[str, Any]
) -> int:
    """How many tokens were sampled up to each row's end, the end token with it."""
    padded = tokenizer.pad({"input_ids": list(rows)}, return_tensors="pt")
    made = model.generate(
        **padded,
        do_sample=True,
        temperature=inputs["temperature"],
        top_k=0,
        top_p=1.0,
        max_new_tokens=new,
        num_return_sequences=copies,
        pad_token_id=tokenizer.pad_token_id,
    )[:, padded["input_ids"].shape[1] :]
    ends = model.generation_config.eos_token_id
    ended = torch.isin(made, torch.tensor(ends))
    # A row counts up to its first end token and with it; what stands behind that is padding.
    return int((ended.cumsum(-1) - ended.long() == 0).sum())


if __name__ == "__main__":
    main(asked())
