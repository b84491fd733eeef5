"""The decoder: many prompts at once, several completions each, every completion with a seed of its own."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.runs.events import Progressed
from desktop_rlhf.runs.stop import StopToken

STEPS_BETWEEN_YIELDS = 8


@dataclass(frozen=True, slots=True)
class Drawn:
    """One sampled completion: its ids with the end token when there is one, and whether the model ended by itself."""

    completion_ids: tuple[int, ...]
    ended: bool


class _Decode:
    """The state of one batch between yields. A row is one completion; finished rows leave the batch."""

    def __init__(
        self, model: ResidentModel, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampler: Sampler
    ) -> None:
        self.model = model
        self.sampler = sampler
        self.drawn: list[list[int]] = [[] for _ in seeds]
        self.ended = [False] * len(seeds)
        self.alive = list(range(len(seeds)))
        draws = [torch.rand(sampler.max_new_tokens, generator=torch.Generator().manual_seed(s)) for s in seeds]
        self.uniforms = torch.stack(draws)
        width = max(map(len, prompts))
        self.mask = torch.zeros(len(prompts), width, dtype=torch.long)
        self.prompt_ids = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, ids in enumerate(prompts):
            self.prompt_ids[row, width - len(ids) :] = torch.tensor(ids)
            self.mask[row, width - len(ids) :] = 1
        self.cache = DynamicCache(config=model.base.config)
        self.positions = torch.tensor([len(ids) for ids in prompts])
        self.hidden: Tensor | None = None
        self.copies = len(seeds) // len(prompts)

    @property
    def finished(self) -> bool:
        return not self.alive

    @torch.no_grad()
    def prefill(self) -> None:
        """Read the prompts once, however many completions each is to get."""
        position_ids = (self.mask.cumsum(-1) - 1).clamp(min=0)
        output = self.model.trunk(
            input_ids=self.prompt_ids,
            attention_mask=self.mask,
            position_ids=position_ids,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.hidden = output.last_hidden_state[:, -1].repeat_interleave(self.copies, dim=0)
        self.cache.batch_repeat_interleave(self.copies)
        self.mask = self.mask.repeat_interleave(self.copies, dim=0)
        self.positions = self.positions.repeat_interleave(self.copies, dim=0)

    @torch.no_grad()
    def advance(self, steps: int) -> None:
        """Draw up to ``steps`` tokens for every row that is alive."""
        for _ in range(steps):
            assert self.hidden is not None, "prefill comes first"
            tokens = self._draw(self.model.base.get_output_embeddings()(self.hidden))
            staying = []
            for row, (index, token) in enumerate(zip(self.alive, tokens.tolist(), strict=True)):
                self.drawn[index].append(token)
                self.ended[index] = token in self.model.end_ids
                if not self.ended[index] and len(self.drawn[index]) < self.sampler.max_new_tokens:
                    staying.append(row)
            if len(staying) < len(self.alive):
                keep = torch.tensor(staying, dtype=torch.long)
                self.alive = [self.alive[row] for row in staying]
                if not self.alive:
                    return
                self.cache.batch_select_indices(keep)
                tokens, self.mask, self.positions = tokens[keep], self.mask[keep], self.positions[keep]
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.alive), 1)], dim=1)
            output = self.model.trunk(
                input_ids=tokens.unsqueeze(1),
                attention_mask=self.mask,
                position_ids=self.positions.unsqueeze(1),
                past_key_values=self.cache,
                use_cache=True,
            )
            self.hidden = output.last_hidden_state[:, -1]
            self.positions = self.positions + 1

    def _draw(self, logits: Tensor) -> Tensor:
        """[R] the next token of each living row, by inverting its distribution at that row's next uniform."""
        logits = logits.float()
        cap = getattr(self.model.base.config.get_text_config(), "final_logit_softcapping", None)
        if cap:
            logits = torch.tanh(logits / cap) * cap
        if self.sampler.temperature == 0:
            return logits.argmax(-1)
        probabilities = filtered_probabilities(logits, self.sampler)
        cumulative = probabilities.double().cumsum(-1)
        step = len(self.drawn[self.alive[0]])
        uniform = self.uniforms[self.alive, step].double().unsqueeze(1) * cumulative[:, -1:]
        return torch.searchsorted(cumulative, uniform, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)


def filtered_probabilities(logits: Tensor, sampler: Sampler) -> Tensor:
    """[R, V] probabilities after temperature, top-k and top-p; what is filtered out has probability 0."""
    logits = logits / sampler.temperature
    if 0 < sampler.top_k < logits.shape[-1]:
        least = logits.topk(sampler.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(-1)
    if sampler.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampler.top_p
        ordered = ordered.masked_fill(beyond, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    return probabilities


def sample(
    model: ResidentModel,
    adapter: str | None,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    sampler: Sampler,
    stop: StopToken,
) -> Generator[Progressed, None, list[Drawn] | None]:
    """Sample ``len(seeds) / len(prompts)`` completions of each prompt, in the prompts' order.

    A completion depends on its prompt, adapter, sampler and seed; its batch changes it only by rounding.

    Yields:
        After the prefill and every few tokens, so that the engine can do other work.

    Returns:
        One per seed, or None when it was stopped.
    """
    assert len(seeds) % len(prompts) == 0, "every prompt gets the same number of completions"
    decode = _Decode(model, prompts, seeds, sampler)
    model.take_role(Role(adapter))
    decode.prefill()
    done = 0
    yield Progressed("sampling", done, sampler.max_new_tokens)
    while not decode.finished:
        if stop.requested:
            return None
        decode.advance(STEPS_BETWEEN_YIELDS)
        done = min(done + STEPS_BETWEEN_YIELDS, sampler.max_new_tokens)
        yield Progressed("sampling", done, sampler.max_new_tokens)
    return [Drawn(tuple(ids), ended) for ids, ended in zip(decode.drawn, decode.ended, strict=True)]
