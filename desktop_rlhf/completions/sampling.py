"""Sampling: many prompts at once, several completions each, every completion with a seed of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from desktop_rlhf.adapters.decoding import decoder
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.runs.events import Progressed
from desktop_rlhf.runs.stop import StopToken

MOST_STEPS = 8
MOST_TOKENS = 128
"""Steps and tokens between two yields, so that other work waits for a fraction of a second."""

MOST_ROWS = 64
"""Decoded at once; beyond it a step takes longer in proportion, and more memory."""

MOST_READ = 1024
"""Tokens of prompts that are read at once, or a single longer prompt."""

MOST_KEPT = 32_768
"""Tokens of all rows together, each as long as the longest may become: their keys and values are laid out at once."""

CHUNK = 256  # of the vocabulary
WITHOUT_DOUBLE = ("mps",)  # devices that lack double precision; the CPU draws for them


@dataclass(frozen=True, slots=True)
class Drawn:
    """One sampled completion: its ids with the end token when there is one, and whether the model ended by itself."""

    completion_ids: tuple[int, ...]
    ended: bool


@dataclass(frozen=True, slots=True)
class Written:
    """All completions of the prompt at ``place`` are done."""

    place: int
    drawn: tuple[Drawn, ...]


Sampling: TypeAlias = Generator[Progressed | Written, None, list[Drawn] | None]


def most_rows(completions: int, copies: int, longest: int) -> int:
    """How many rows of up to ``longest`` tokens are decoded at once; ``copies`` of one prompt are never parted."""
    return min(completions, max(copies, min(MOST_ROWS, MOST_KEPT // longest)))


class _Decode:
    """The state between yields. A row is one completion; finished rows leave, and waiting ones enter."""

    def __init__(
        self,
        model: ResidentModel,
        adapter: str | None,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampler: Sampler,
    ) -> None:
        self._model = model
        self._sampler = sampler
        self._prompts = prompts
        self._copies = copies = len(seeds) // len(prompts)
        self._waiting = deque(range(len(prompts)))
        longest = max(map(len, prompts)) + sampler.max_new_tokens
        self._decoder = decoder(model, adapter, most_rows(len(seeds), copies, longest), longest)
        self._alive: list[int] = []  # the completion in each of the decoder's rows
        self._hidden: Tensor | None = None
        draws = [torch.rand(sampler.max_new_tokens, generator=torch.Generator().manual_seed(s)) for s in seeds]
        self._uniforms = torch.stack(draws)
        self._written: list[list[int]] = [[] for _ in seeds]
        self._ended = [False] * len(seeds)
        self._left = [copies] * len(prompts)  # completions of each prompt that are not done
        self._tokens_done = 0

    @property
    def finished(self) -> bool:
        return not self._alive and not self._waiting

    @property
    def progress(self) -> Progressed:
        alive = sum(len(self._written[index]) for index in self._alive)
        return Progressed("sampling", self._tokens_done + alive, len(self._written) * self._sampler.max_new_tokens)

    @property
    def drawn(self) -> list[Drawn]:
        return [Drawn(tuple(ids), ended) for ids, ended in zip(self._written, self._ended, strict=True)]

    @torch.no_grad()
    def advance(self) -> list[Written]:
        """Draw some tokens for every row, and give the prompts that are done with them."""
        if self._admit() and self._may_admit:
            return []  # the others in the next piece
        done: list[Written] = []
        for _ in range(max(1, min(MOST_STEPS, MOST_TOKENS // len(self._alive)))):
            done += self._step()
            if not self._alive:
                break
        return done

    @property
    def _may_admit(self) -> bool:
        """Whether prompts wait and there is room for several: reading one alone costs nearly as much."""
        count = min(len(self._waiting), self._decoder.room // self._copies)
        return count > 0 and (not self._alive or count >= min(len(self._waiting), MOST_ROWS // 4 // self._copies))

    def _admit(self) -> bool:
        """Let some waiting prompts in, and tell whether any came."""
        if not self._may_admit:
            return False
        places: list[int] = []
        tokens = 0
        for _ in range(self._decoder.room // self._copies):
            if not self._waiting or (places and tokens + len(self._prompts[self._waiting[0]]) > MOST_READ):
                break
            places.append(self._waiting.popleft())
            tokens += len(self._prompts[places[-1]])
        hidden = self._decoder.admit([self._prompts[place] for place in places], self._copies)
        self._hidden = hidden if self._hidden is None else torch.cat((self._hidden, hidden))
        self._alive += [place * self._copies + copy for place in places for copy in range(self._copies)]
        return True

    def _step(self) -> list[Written]:
        assert self._hidden is not None, "rows are admitted first"
        steps = torch.tensor([len(self._written[index]) for index in self._alive])
        uniforms = self._uniforms[self._alive, steps].to(self._model.device)
        tokens = self._draw(self._model.vocabulary.logits(self._hidden.float()), uniforms)
        staying, done = [], []
        for row, (index, token) in enumerate(zip(self._alive, tokens.tolist(), strict=True)):
            self._written[index].append(token)
            self._ended[index] = token in self._model.end_ids
            if not self._ended[index] and len(self._written[index]) < self._sampler.max_new_tokens:
                staying.append(row)
            else:
                done += self._finish(index)
        if len(staying) < len(self._alive):
            order = self._decoder.keep(staying)
            self._alive = [self._alive[row] for row in order]
            tokens = tokens[torch.tensor(order, dtype=torch.long).to(tokens.device)]
        self._hidden = self._decoder.step(tokens) if self._alive else None
        return done

    def _finish(self, index: int) -> list[Written]:
        self._tokens_done += self._sampler.max_new_tokens
        place = index // self._copies
        self._left[place] -= 1
        if self._left[place]:
            return []
        own = range(place * self._copies, (place + 1) * self._copies)
        return [Written(place, tuple(Drawn(tuple(self._written[i]), self._ended[i]) for i in own))]

    def _draw(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """[R] the next token of each row, by inverting its distribution at that row's next uniform."""
        if self._sampler.temperature == 0:
            return logits.argmax(-1)
        return inverted(filtered_weights(logits, self._sampler), uniforms)


def filtered_weights(logits: Tensor, sampler: Sampler) -> Tensor:
    """[R, V] in proportion to the probabilities after temperature, top-k and top-p; 0 for what is filtered out."""
    logits = logits / sampler.temperature
    if 0 < sampler.top_k < logits.shape[-1]:
        least = logits.topk(sampler.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampler.top_p < 1:
        ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampler.top_p
        return torch.zeros_like(logits).scatter(-1, order, ordered.masked_fill(beyond, 0.0))
    return (logits - logits.amax(-1, keepdim=True)).exp_()


def inverted(weights: Tensor, uniforms: Tensor) -> Tensor:
    """[R] the token at which the running sum of [R, V] weights, in token order, passes a share [R] of their total.

    Sums are taken in double precision, over chunks of the vocabulary first and then within one chunk.
    """
    if weights.device.type in WITHOUT_DOUBLE:
        return inverted(weights.cpu(), uniforms.cpu()).to(weights.device)
    tokens = weights.shape[-1]
    chunks = pad(weights, (0, -tokens % CHUNK)).unflatten(-1, (-1, CHUNK))
    totals = chunks.sum(-1, dtype=torch.double).cumsum(-1)
    wanted = uniforms.double().unsqueeze(1) * totals[:, -1:]
    chunk = torch.searchsorted(totals, wanted, right=True).clamp(max=totals.shape[-1] - 1)
    before = torch.where(chunk > 0, totals.gather(-1, (chunk - 1).clamp(min=0)), 0.0)
    own = chunks[torch.arange(len(chunks), device=chunks.device), chunk.squeeze(1)].double().cumsum(-1)
    within = torch.searchsorted(own, wanted - before, right=True).clamp(max=CHUNK - 1)
    return (chunk * CHUNK + within).squeeze(1).clamp(max=tokens - 1)


def sample(
    model: ResidentModel,
    adapter: str | None,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    sampler: Sampler,
    stop: StopToken,
) -> Sampling:
    """Sample ``len(seeds) / len(prompts)`` completions of each prompt.

    A completion depends on its prompt, adapter, sampler and seed; its neighbours change it only by rounding.

    Yields:
        ``Progressed`` every few tokens, so that the engine can do other work, and each prompt's completions as soon as
        they are done.

    Returns:
        One per seed, in the prompts' order, or None when it was stopped.
    """
    assert len(seeds) % len(prompts) == 0, "every prompt gets the same number of completions"
    decode = _Decode(model, adapter, prompts, seeds, sampler)
    while not decode.finished:
        yield decode.progress
        if stop.requested:
            return None
        yield from decode.advance()
    yield decode.progress
    return decode.drawn
