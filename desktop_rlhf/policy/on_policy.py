"""The loop that PPO, RLOO and GRPO share: write, score, learn, again."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs, start_adapter
from desktop_rlhf.policy.rollout import LEARNING, SCORING, WRITING, Episode, Rollouts, evaluate, mean_kl, usable_prompts
from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.records.errors import NotEnoughDataError, NotFiniteError
from desktop_rlhf.reward.model import RewardModel
from desktop_rlhf.runs.events import AdapterSaved, Event, Noted, Progressed, SampleShown, StepTaken
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken

LOWEST_KL = -0.5  # nats; k1 averages to something positive, so less than this is a fault and not chance


class Learner(Protocol):
    """What one algorithm adds to the loop.

    Attributes:
        critic: from hidden states [..., H] to values [...], or None.
    """

    @property
    def critic(self) -> nn.Module | None: ...

    def begin(self, step: int, episodes: Sequence[Episode]) -> None:
        """Work out the advantages of a new rollout."""

    def weight(self, episode: Episode) -> int:
        """What an episode counts in a mean over the rollout: its tokens, or its completions."""

    def loss(self, index: int, logprobs: Tensor, values: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of the rollout's episode ``index``, and measurements; all are means over what ``weight`` counts."""

    def finish(self) -> Mapping[str, float]:
        """End an update: the metrics of its rollout, beside what ``loss`` measured and ``grad_norm``."""


def learn(spec: RolloutSpec, inputs: TrainingInputs, stop: StopToken, learner: Learner) -> Iterator[Event]:
    """Yield the events of one run; see ``runs.algorithm.Algorithm``. One step is one update of the policy.

    Raises:
        NotEnoughDataError: no reward model or no training prompt was given.
        NotFiniteError: a loss, gradient or score became NaN or infinite.
    """
    if inputs.reward_path is None:
        raise NotEnoughDataError(f"{spec.title} needs a reward model.", "Train one on the Reward model page first.")
    if not inputs.prompts:
        raise NotEnoughDataError(f"{spec.title} needs prompts to write to, and there is none.", "Import some.")
    model = inputs.model
    usable = usable_prompts(spec, model, inputs.prompts)
    if not usable:
        raise NotEnoughDataError(
            f"No prompt leaves room for {spec.max_new_tokens} tokens.", "Write fewer tokens, or import shorter prompts."
        )
    if len(usable) < len(inputs.prompts):
        yield Noted(f"{len(inputs.prompts) - len(usable)} prompts are too long and were left out.")
    reward_model = RewardModel.attach(model, f"judge-{inputs.output_path.name}", inputs.reward_path)
    policy, reference = start_adapter(
        inputs, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter")
    )
    model.take_role(Role(policy, trainable=True))
    # A critic starts from nothing beside a trained policy, so it may learn faster.
    trained = [(model.trainable_parameters(), spec.learning_rate)]
    if learner.critic is not None:
        trained.append((list(learner.critic.parameters()), 10 * spec.learning_rate))
    optimizer = torch.optim.AdamW([{"params": p, "lr": rate} for p, rate in trained], weight_decay=0.0, eps=1e-5)
    rollouts = Rollouts(spec, model, usable, policy, reference, reward_model, learner.critic)

    step = 0
    alarmed = False
    while step < spec.updates and not stop.requested:
        episodes = yield from rollouts.draw(step, stop)
        if episodes is None:
            break
        kl = mean_kl(episodes)
        if kl < LOWEST_KL and not alarmed:
            alarmed = True
            yield Noted(
                f"KL from the reference is {kl:.2f} nats, and it should not be below 0: what was sampled and what was "
                "scored disagree. Do not trust this run."
            )
        if 0 < spec.stop_kl < kl:
            yield Noted(f"KL from the reference reached {kl:.1f} nats, above {spec.stop_kl:g}, so the run ended here.")
            break
        for group, (_, rate) in zip(optimizer.param_groups, trained, strict=True):
            group["lr"] = rate * (1 - step / spec.updates) if spec.anneal else rate
        learner.begin(step, episodes)
        measured = Averages()
        for epoch in range(spec.ppo_epochs):
            began = step + WRITING + SCORING + LEARNING * epoch / spec.ppo_epochs
            model.take_role(Role(policy, trainable=True))
            yield from _gradients(spec, inputs, stop, learner, episodes, measured, began)
            if stop.requested:
                break
            norms = [torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm) for parameters, _ in trained]
            if not torch.isfinite(torch.stack(norms)).all():
                raise NotFiniteError("The gradient is not a number any more.", "Lower the learning rate.")
            measured.add({"grad_norm": norms[0]}, 1)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if stop.requested:
            break
        step += 1
        yield StepTaken(step, spec.updates, {**learner.finish(), **measured.means()})
        first = episodes[0]
        text = model.completion_text(first.drawn[0].completion_ids)
        yield SampleShown(step, first.prompt, text, first.scores[0].item())

    sha256 = model.save_adapter(policy, inputs.output_path) if step else None
    for name in (policy, reference, reward_model.name):
        if name is not None:
            model.detach(name)
    if sha256:  # a run stopped before its first update learned nothing
        yield AdapterSaved(str(inputs.output_path), sha256, {"updates": step})


class Averages:
    """Weighted means of named measurements."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, values: Mapping[str, Tensor], weight: float) -> None:
        for name, value in values.items():
            total, weights = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (total + value.item() * weight, weights + weight)

    def means(self) -> dict[str, float]:
        return {name: total / weights for name, (total, weights) in self._sums.items()}


def _gradients(
    spec: RolloutSpec,
    inputs: TrainingInputs,
    stop: StopToken,
    learner: Learner,
    episodes: Sequence[Episode],
    measured: Averages,
    began: float,
) -> Generator[Progressed, None, None]:
    """One pass over a rollout, prompt by prompt; the gradients add up to that of the mean over the whole of it."""
    total = sum(map(learner.weight, episodes))
    role = inputs.model.role
    for i, episode in enumerate(episodes):
        if stop.requested:
            return
        inputs.model.take_role(role)  # a job served in between may have taken another
        logprobs, values, _ = evaluate(inputs.model, episode.packed, spec.temperature, learner.critic)
        loss, seen = learner.loss(i, logprobs, values)
        if not torch.isfinite(loss):
            raise NotFiniteError("The loss is not a number any more.", "Lower the learning rate.")
        weight = learner.weight(episode)
        (weight / total * loss).backward()
        measured.add(seen, weight)
        yield Progressed("learning", began + LEARNING / spec.ppo_epochs * (i + 1) / len(episodes), spec.updates)
