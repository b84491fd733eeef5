"""Rollouts: what the policy wrote, and what policy, reference, critic and reward model said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from desktop_rlhf.adapters.batches import Ids, micro_batches, tokens_at_once
from desktop_rlhf.adapters.checkpoint import State
from desktop_rlhf.adapters.packing import (
    Packed,
    completion_logprobs,
    completion_scores,
    hidden_states,
    laid_out,
    pack,
    predicting_states,
)
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.completions.sampling import Drawn, sample
from desktop_rlhf.numerics.kl import kl_k1
from desktop_rlhf.numerics.running import RunningMoments
from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.errors import NotFiniteError
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.reward.model import RewardModel
from desktop_rlhf.runs.events import Progressed
from desktop_rlhf.runs.learned import Learned, Reason, sifted
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import NEVER, StopToken

LOWEST_KL = -0.5  # nats; a mean closer to 0 is not worth an alarm
MOST_TOKENS = 192
"""In one forward with its backward, on the CPU in float32. Fewer than stored data is allowed: that spares a third of a
gigabyte and costs a tenth of the time of learning."""

WRITING, SCORING, LEARNING = 0.4, 0.2, 0.4  # shares of an update's time, for the progress bar


@dataclass(frozen=True, slots=True)
class Episode:
    """The completions of one prompt; N of them, the longest of C tokens. Tensors are [N, C] unless said otherwise.

    Attributes:
        scores:  [N] from the reward model, less the penalty of those that were cut; what a person is shown.
        rewards: [N] the same after normalising and clipping; what the policy learns from.
        entropy: of the policy's distribution at each token.
    """

    prompt: str
    prompt_ids: Sequence[int]
    drawn: Sequence[Drawn]
    packed: Packed
    scores: Tensor
    rewards: Tensor
    old_logprobs: Tensor
    reference_logprobs: Tensor
    old_values: Tensor
    entropy: Tensor

    def state(self) -> State:
        """For a checkpoint: all but the packing, which follows from the ids."""
        texts = {"prompt": self.prompt, "prompt_ids": self.prompt_ids}
        drawn = [[drawn.completion_ids, drawn.ended] for drawn in self.drawn]
        return texts | {"drawn": drawn} | {name: getattr(self, name) for name in _MEASURED}

    @classmethod
    def restored(cls, state: State, device: torch.device) -> Episode:
        drawn = [Drawn(tuple(ids), ended) for ids, ended in state["drawn"]]
        measured = {name: state[name].to(device) for name in _MEASURED}
        packed = pack([_ids(state["prompt_ids"], drawn)], device)
        return cls(**state | measured | {"drawn": drawn, "packed": packed})


_MEASURED = ("scores", "rewards", "old_logprobs", "reference_logprobs", "old_values", "entropy")


def _ids(prompt_ids: Sequence[int], drawn: Sequence[Drawn]) -> Ids:
    return prompt_ids, [one.completion_ids for one in drawn]


def rollout_tokens(model: ResidentModel, spec: RolloutSpec) -> int:
    """How many tokens of a rollout may share a forward."""
    return tokens_at_once(model, spec.max_length, MOST_TOKENS)


def packs(
    spec: RolloutSpec, written: Sequence[tuple[Sequence[int], Sequence[Drawn]]], model: ResidentModel
) -> Iterator[tuple[range, Packed]]:
    """The micro-batches of a rollout, (prompt ids, completions) by prompt: places of neighbours, packed together.

    Scored and learned from in the same ones, a completion has the same log-probabilities to the last bit.
    """
    examples = [_ids(*one) for one in written]
    for places in micro_batches(model, examples, rollout_tokens(model, spec)):
        yield places, pack(examples[places.start : places.stop], model.device)


def by_prompt(values: Tensor, packed: Packed) -> list[Tensor]:
    """[N, C] or [N] values of a micro-batch taken apart: each prompt's, as long as its own longest completion."""
    parts = values.split([len(lengths) for _, lengths in packed.lengths])
    return [
        part[:, : max(own)] if part.dim() > 1 else part for part, (_, own) in zip(parts, packed.lengths, strict=True)
    ]


def evaluate(
    model: ResidentModel, packed: Packed, temperature: float, critic: nn.Module | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, values and token entropies, each [N, C], under the model's present role.

    Old and new log-probabilities both come from here and from the same packing, so the first ratio is exactly 1. The
    values are 0 without a critic, a module from [..., H] to [...]. On a processor little is kept for the backward; a
    card that has room for the tokens has it for what is kept of them.
    """
    hidden = hidden_states(model, packed, sparing=model.device.type == "cpu")
    scores = completion_scores(model, hidden, packed, temperature)
    logprobs, entropy = laid_out(scores.logprobs, packed), laid_out(scores.entropy, packed)
    if critic is None:
        return logprobs, torch.zeros_like(entropy), entropy
    return logprobs, torch.where(packed.mask, critic(predicting_states(hidden, packed)), 0.0), entropy


def usable_prompts(
    spec: RolloutSpec,
    model: ResidentModel,
    prompts: Sequence[Prompt],
    before: Mapping[Reason, int],
    stop: StopToken = NEVER,
) -> tuple[tuple[Prompt, ...], Learned]:
    """The prompts that leave room for a whole completion, and their count; ``before`` was left out already."""
    room = min(spec.max_length, model.longest) - spec.max_new_tokens

    def why(prompt: Prompt) -> Reason | None:
        return Reason.NO_ROOM if len(model.prompt_ids(prompt.messages)) > room else None

    usable, learned = sifted(prompts, lambda prompt: prompt.id, why, before, stop)
    return usable, dataclasses.replace(learned, what="prompt")


class Rollouts:
    """Draws one rollout after another; every prompt comes once before any comes again."""

    def __init__(
        self,
        spec: RolloutSpec,
        model: ResidentModel,
        prompts: Sequence[Prompt],
        policy: str,
        reference: str | None,
        reward_model: RewardModel,
        critic: nn.Module | None,
    ) -> None:
        self.spec = spec
        self.model = model
        self.prompts = prompts
        self.policy = policy
        self.reference = reference
        self.reward_model = reward_model
        self.critic = critic
        self.sampler = Sampler(temperature=spec.temperature, max_new_tokens=spec.max_new_tokens)
        self.scores_seen = RunningMoments()
        self._shuffle = torch.Generator().manual_seed(derive_seed(spec.seed, "order"))
        self._queue: list[int] = []
        self._forward: tuple[Tensor, Tensor] | None = None

    def draw(self, step: int, stop: StopToken) -> Generator[Progressed, None, list[Episode] | None]:
        """Write and score one rollout; the generator returns its episodes, or None when it was stopped.

        Raises:
            NotFiniteError: a score is NaN or infinite; the next rollout is of other prompts.
        """
        spec, total = self.spec, self.spec.updates
        prompts = self._next_prompts()
        prompt_ids = [self.model.prompt_ids(prompt.messages) for prompt in prompts]
        count = spec.completions_per_prompt
        seeds = [derive_seed(spec.seed, "rollout", step, i) for i in range(len(prompts) * count)]
        sampling = sample(self.model, self.policy, prompt_ids, seeds, self.sampler, stop)
        drawn: list[Drawn] | None = None
        while True:
            try:
                part = next(sampling)
            except StopIteration as finished:
                drawn = finished.value
                break
            if isinstance(part, Progressed) and part.done:
                yield Progressed("writing", step + WRITING * part.done / part.total, total)
        if drawn is None:
            return None
        episodes: list[Episode] = []
        written = [(ids, drawn[i * count : (i + 1) * count]) for i, ids in enumerate(prompt_ids)]
        for places, packed in packs(spec, written, self.model):
            if stop.requested:
                return None
            try:
                judged = self._judged(packed)
            except NotFiniteError:
                self._leave(prompts)
                raise
            # Before the policy's forward, which may be kept to be learned from: nothing waits while it is.
            yield Progressed("scoring", step + WRITING + SCORING * places.stop / len(prompts), total)
            if stop.requested:
                return None
            asked = [prompts[place].text for place in places]
            whole = len(places) == len(prompts)
            episodes += self._score(asked, written[places.start : places.stop], packed, judged, whole)
        if stop.requested:
            return None
        self._leave(prompts)
        return self._rewarded(episodes)

    def take_forward(self) -> tuple[Tensor, Tensor] | None:
        """The newest rollout's log-probabilities and values, to learn from once, if one forward made them all.

        They are what ``evaluate`` would make of it before the first step, which need not be computed again then.
        """
        forward, self._forward = self._forward, None
        return forward

    def state(self) -> State:
        """What goes from one rollout to the next; one that was begun and not finished changed nothing of it."""
        return {"queue": self._queue, "order": self._shuffle.get_state(), "scores_seen": self.scores_seen.state()}

    def restore(self, state: State) -> None:
        """Go on from what ``state`` gave."""
        self._queue = list(state["queue"])
        self._shuffle.set_state(state["order"])
        self.scores_seen = RunningMoments(*state["scores_seen"])

    def _next_prompts(self) -> list[Prompt]:
        while len(self._queue) < self.spec.prompts_per_update:
            self._queue += torch.randperm(len(self.prompts), generator=self._shuffle).tolist()
        return [self.prompts[i] for i in self._queue[: self.spec.prompts_per_update]]

    def _leave(self, prompts: Sequence[Prompt]) -> None:
        self._queue = self._queue[len(prompts) :]

    @torch.no_grad()
    def _judged(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """[N] scores of the reward model, and [N, C] nats under the reference."""
        model = self.model
        scores = self.reward_model.score(packed)
        if not torch.isfinite(scores).all():
            raise NotFiniteError("The reward model gave a score that is not a number.")
        model.take_role(Role(self.reference))
        return scores, completion_logprobs(model, hidden_states(model, packed), packed, self.spec.temperature)

    @torch.no_grad()
    def _score(
        self,
        prompts: Sequence[str],
        written: Sequence[tuple[Sequence[int], Sequence[Drawn]]],
        packed: Packed,
        judged: tuple[Tensor, Tensor],
        whole: bool,
    ) -> list[Episode]:
        """The completions of some prompts, packed together, with what the policy says of them.

        Args:
            judged: what ``_judged`` gave of them.
            whole:  whether they are all of the rollout, whose forward is kept then, with its graph.
        """
        model, temperature = self.model, self.spec.temperature
        scores, reference_logprobs = judged
        model.take_role(Role(self.policy, trainable=True))
        with torch.set_grad_enabled(whole):
            logprobs, values, entropy = evaluate(model, packed, temperature, self.critic)
        if whole:
            self._forward = logprobs, values
        logprobs, values = logprobs.detach(), values.detach()
        measured = (scores, scores, logprobs, reference_logprobs, values, entropy)
        return [
            Episode(prompt, ids, drawn, pack([_ids(ids, drawn)], model.device), *own)
            for prompt, (ids, drawn), own in zip(
                prompts, written, zip(*(by_prompt(each, packed) for each in measured), strict=True), strict=True
            )
        ]

    def _rewarded(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes with penalties in their scores, and with the rewards that follow from all scores so far."""
        for episode in episodes:
            self.scores_seen.add(episode.scores)
        limit = self.spec.reward_clip or torch.inf
        done = []
        for episode in episodes:
            raw = episode.scores
            rewards = (self.scores_seen.normalised(raw) if self.spec.normalise_reward else raw).clamp(-limit, limit)
            penalties = [0.0 if d.ended else self.spec.missing_eos_penalty for d in episode.drawn]
            cut = torch.tensor(penalties).to(raw.device)
            done.append(dataclasses.replace(episode, scores=raw - cut, rewards=rewards - cut))
        return done


def mean_kl(episodes: Sequence[Episode]) -> float:
    """Mean k1 KL from the reference, nats per completion; 0 in expectation where the two are the same."""
    return _kls(episodes).mean().item()


def kl_in_doubt(episodes: Sequence[Episode]) -> bool:
    """Whether the KL lies further below 0 than chance takes it.

    k1 averages to something positive, but of a few completions it may well be negative: so it has to be clearly below,
    and by more than four standard errors.
    """
    kls = _kls(episodes)
    error = kls.std().item() / len(kls) ** 0.5 if len(kls) > 1 else 0.0
    return kls.mean().item() < min(LOWEST_KL, -4 * error)


def _kls(episodes: Sequence[Episode]) -> Tensor:
    """[N] k1 of every completion, nats."""
    return torch.cat([kl_k1(e.old_logprobs, e.reference_logprobs, e.packed.mask) for e in episodes])


def mean_length(episodes: Sequence[Episode]) -> float:
    """Mean length of the completions in tokens."""
    return torch.cat([e.packed.mask.sum(-1) for e in episodes]).cpu().double().mean().item()


def share_ended(episodes: Sequence[Episode]) -> float:
    """Share of the completions that ended by themselves."""
    ended = [d.ended for e in episodes for d in e.drawn]
    return sum(ended) / len(ended)


def mean_entropy(episodes: Sequence[Episode]) -> float:
    """Mean entropy of the policy, nats per token; every token counts the same."""
    return torch.cat([e.entropy[e.packed.mask] for e in episodes]).mean().item()
