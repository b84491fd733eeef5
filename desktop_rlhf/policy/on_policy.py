"""The loop that PPO, RLOO and GRPO share: write, score, learn, again."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from desktop_rlhf.adapters.checkpoint import State, restore_parameters
from desktop_rlhf.adapters.optimizer import AdamW, lay_out_gradients
from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs, start_adapter
from desktop_rlhf.policy.rollout import (
    LEARNING,
    SCORING,
    WRITING,
    Episode,
    Rollouts,
    by_prompt,
    evaluate,
    kl_in_doubt,
    mean_kl,
    packs,
    usable_prompts,
)
from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.records.errors import NotEnoughDataError, NotFiniteError
from desktop_rlhf.reward.model import RewardModel
from desktop_rlhf.runs.events import (
    AdapterSaved,
    Event,
    Halted,
    Noted,
    Planned,
    Progressed,
    SampleShown,
    StepTaken,
)
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


class Learner(Protocol):
    """What one algorithm adds to the loop.

    Attributes:
        critic:        from hidden states [..., H] to values [...], or None.
        trains_policy: whether the policy learns from the present rollout, or the critic alone.
    """

    @property
    def critic(self) -> nn.Module | None: ...

    @property
    def trains_policy(self) -> bool: ...

    def begin(self, step: int, episodes: Sequence[Episode]) -> None:
        """Work out the advantages of a new rollout."""

    def weight(self, episode: Episode) -> int:
        """What an episode counts in a mean over the rollout: its tokens, or its completions."""

    def loss(self, index: int, logprobs: Tensor, values: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of the rollout's episode ``index``, and measurements; all are means over what ``weight`` counts."""

    def finish(self) -> Mapping[str, float]:
        """End an update: the metrics of its rollout, beside what ``loss`` measured and ``grad_norm``."""

    def state(self) -> Mapping[str, float]:
        """What it carries from one rollout to the next, beside the critic's weights."""

    def restore(self, state: Mapping[str, float]) -> None:
        """Carry what ``state`` gave."""


class Memoryless:
    """The part of a learner that carries nothing from one rollout to the next, and learns from each."""

    trains_policy = True

    def state(self) -> Mapping[str, float]:
        return {}

    def restore(self, state: Mapping[str, float]) -> None:
        pass


def learn(spec: RolloutSpec, inputs: TrainingInputs, stop: StopToken, learner: Learner) -> Iterator[Event]:
    """Yield the events of one run; see ``runs.algorithm.Algorithm``. One step is one update of the policy.

    It goes on from the newest checkpoint where there is one. An update whose loss, gradient or scores are NaN or
    infinite is left, ``Halted`` is said, and whoever goes on does so with the next one.

    Raises:
        NotEnoughDataError: no reward model or no training prompt was given.
    """
    if inputs.reward_path is None:
        raise NotEnoughDataError(f"{spec.title} needs a reward model.", "Train one on the Reward model page first.")
    if not inputs.prompts:
        raise NotEnoughDataError(f"{spec.title} needs prompts to write to, and there is none.", "Import some.")
    model = inputs.model
    usable, learned = usable_prompts(spec, model, inputs.prompts, inputs.left_out, stop)
    if not usable:
        raise NotEnoughDataError(
            f"No prompt leaves room for {spec.max_new_tokens} tokens.{learned.why}",
            "Write fewer tokens, or import shorter prompts.",
        )
    yield from learned.notes
    reward_model = RewardModel.attach(model, f"judge-{inputs.output_path.name}", inputs.reward_path)
    policy, reference = start_adapter(
        inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter")
    )
    model.take_role(Role(policy, trainable=True))
    # A critic starts from nothing beside a trained policy, so it may learn faster.
    trained = [(model.trainable_parameters(), spec.learning_rate)]
    if learner.critic is not None:
        trained.append((list(learner.critic.parameters()), 10 * spec.learning_rate))
    optimizer = AdamW(trained, eps=1e-5)
    rollouts = Rollouts(spec, model, usable, policy, reference, reward_model, learner.critic)
    at = _Place()
    shares = {"writing": WRITING, "scoring": SCORING, "learning": LEARNING}
    yield Planned({stage: share * spec.updates for stage, share in shares.items()})

    def state() -> State:
        """Where the last step left everything, with the rollout that is being learned from."""
        return {
            "place": {"step": at.step, "taken": at.taken, "epoch": at.epoch, "alarmed": at.alarmed},
            "measured": at.measured.sums,
            "episodes": [episode.state() for episode in at.episodes],
            "rollouts": rollouts.state(),
            "learner": learner.state(),
            "parameters": [parameter for own, _ in trained for parameter in own],
            "optimizer": optimizer.state(),
        }

    if (stored := inputs.checkpoints.load()) is not None:
        restore_parameters([parameter for own, _ in trained for parameter in own], stored["parameters"])
        optimizer.restore(stored["optimizer"])
        learner.restore(stored["learner"])
        rollouts.restore(stored["rollouts"])
        episodes = [Episode.restored(episode, model.device) for episode in stored["episodes"]]
        at = _Place(**stored["place"], measured=Averages(stored["measured"]), episodes=episodes)
        if at.episodes:
            learner.begin(at.step, at.episodes)

    while at.step < spec.updates and not stop.requested:
        try:
            if not at.episodes:
                drawn = yield from rollouts.draw(at.step, stop)
                if drawn is None:
                    break
                kl = mean_kl(drawn)
                if kl_in_doubt(drawn) and not at.alarmed:
                    at.alarmed = True
                    yield Noted(
                        f"KL from the reference is {kl:.2f} nats, and it should not be below 0: what was sampled and "
                        "what was scored disagree. Do not trust this run."
                    )
                if 0 < spec.stop_kl < kl:
                    yield Noted(
                        f"KL from the reference reached {kl:.1f} nats, above {spec.stop_kl:g}, so the run ended here."
                    )
                    break
                at.episodes = drawn
                learner.begin(at.step, drawn)
            for group, (_, rate) in zip(optimizer.groups, trained, strict=True):
                group.rate = rate * (1 - at.step / spec.updates) if spec.anneal else rate
            while at.epoch < spec.ppo_epochs:
                began = at.step + WRITING + SCORING + LEARNING * at.epoch / spec.ppo_epochs
                model.take_role(Role(policy, trainable=learner.trains_policy))
                reached = trained if learner.trains_policy else trained[1:]
                lay_out_gradients(parameter for parameters, _ in reached for parameter in parameters)
                measured = yield from _gradients(
                    spec, inputs, stop, learner, at.episodes, began, rollouts.take_forward()
                )
                if stop.requested:
                    break
                norms = [torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm) for parameters, _ in trained]
                if not all(norm.isfinite() for norm in norms):  # one of no gradients at all is on the CPU
                    raise NotFiniteError("The gradient is not a number any more.")
                optimizer.step()
                optimizer.zero_gradients()
                measured.add({"grad_norm": norms[0]}, 1)
                at.measured.take_in(measured)
                at.epoch += 1
                if inputs.checkpoints.due:
                    yield from inputs.checkpoints.keep(state)
        except NotFiniteError as error:
            optimizer.zero_gradients()
            halted = Halted(
                f"{error.sentence} It happened in update {at.step + 1}.",
                "Resume to go on with other prompts, or stop to keep what was learned before it; then try a lower "
                "learning rate.",
            )
            at.next()
            yield from inputs.checkpoints.keep(state)
            yield halted
            continue
        if stop.requested:
            break
        first, metrics = at.episodes[0], {**learner.finish(), **at.measured.means()}
        at.next()
        at.taken += 1
        yield StepTaken(at.step, spec.updates, metrics)
        text = model.completion_text(first.drawn[0].completion_ids)
        yield SampleShown(at.step, first.prompt, text, first.scores[0].item())

    if stop.requested:
        yield from inputs.checkpoints.keep(state)
    sha256 = model.save_adapter(policy, inputs.output_path) if at.taken else None
    for name in (policy, reference, reward_model.name):
        if name is not None:
            model.detach(name)
    if sha256:  # a run stopped before its first update learned nothing
        yield AdapterSaved(str(inputs.output_path), sha256, {"updates": at.taken, **learned.report()})


class Averages:
    """Weighted means of named measurements. ``sums`` holds (weighted sum, sum of weights) by name."""

    def __init__(self, sums: Mapping[str, Sequence[float]] | None = None) -> None:
        self.sums = {name: (total, weights) for name, (total, weights) in (sums or {}).items()}

    def add(self, values: Mapping[str, Tensor], weight: float) -> None:
        for name, value in values.items():
            self._add(name, value.item() * weight, weight)

    def take_in(self, others: Averages) -> None:
        """Add everything that others measured."""
        for name, (total, weights) in others.sums.items():
            self._add(name, total, weights)

    def means(self) -> dict[str, float]:
        return {name: total / weights for name, (total, weights) in self.sums.items()}

    def _add(self, name: str, value: float, weight: float) -> None:
        total, weights = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (total + value, weights + weight)


@dataclass(slots=True)
class _Place:
    """How far a run is, between two optimiser steps.

    Attributes:
        step:     updates that are done or were left.
        taken:    updates that were learned from.
        epoch:    passes over the present rollout that are done.
        alarmed:  whether the KL's alarm was given.
        measured: of the passes that are done.
        episodes: the present rollout; empty before it was written.
    """

    step: int = 0
    taken: int = 0
    epoch: int = 0
    alarmed: bool = False
    measured: Averages = field(default_factory=Averages)
    episodes: Sequence[Episode] = ()

    def next(self) -> None:
        """Leave the present rollout behind."""
        self.step, self.epoch, self.measured, self.episodes = self.step + 1, 0, Averages(), ()


def _gradients(
    spec: RolloutSpec,
    inputs: TrainingInputs,
    stop: StopToken,
    learner: Learner,
    episodes: Sequence[Episode],
    began: float,
    forward: tuple[Tensor, Tensor] | None,
) -> Generator[Progressed, None, Averages]:
    """One pass over a rollout; the micro-batches' gradients add up to that of the mean over the whole of it.

    Args:
        forward: log-probabilities and values of all of it, where it is one micro-batch and they are known.
    """
    measured = Averages()
    total = sum(map(learner.weight, episodes))
    role = inputs.model.role
    written = [(episode.prompt_ids, episode.drawn) for episode in episodes]
    for places, packed in packs(spec, written, inputs.model):
        if stop.requested:
            break
        inputs.model.take_role(role)  # a job served in between may have taken another
        logprobs, values = forward or evaluate(inputs.model, packed, spec.temperature, learner.critic)[:2]
        losses = []
        for i, *own in zip(places, by_prompt(logprobs, packed), by_prompt(values, packed), strict=True):
            loss, seen = learner.loss(i, *own)
            weight = learner.weight(episodes[i])
            losses.append(weight / total * loss)
            measured.add(seen, weight)
        together = torch.stack(losses).sum()
        if not torch.isfinite(together):
            raise NotFiniteError("The loss is not a number any more.")
        together.backward()
        yield Progressed("learning", began + LEARNING / spec.ppo_epochs * places.stop / len(episodes), spec.updates)
    return measured
