"""Train a policy by PPO against a reward model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from desktop_rlhf.adapters.packing import Packed, completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import TrainingInputs, start_adapter
from desktop_rlhf.completions.sampling import Drawn, sample
from desktop_rlhf.numerics.advantages import gae
from desktop_rlhf.numerics.kl import kl_k1
from desktop_rlhf.numerics.masked import masked_whiten
from desktop_rlhf.policy.ppo.loss import policy_loss, token_rewards, value_loss
from desktop_rlhf.policy.ppo.rollout import Episode, ValueHead, evaluate
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.records.errors import NotEnoughDataError, NotFiniteError
from desktop_rlhf.reward.model import RewardModel
from desktop_rlhf.runs.events import AdapterSaved, Event, Noted, Progressed, SampleShown, StepTaken
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: PpoSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one PPO run; see ``runs.algorithm.Algorithm``. One step is one update of the policy.

    Raises:
        NotEnoughDataError: no reward model or no training prompt was given.
        NotFiniteError: a loss, gradient or reward became NaN or infinite.
    """
    if inputs.reward_path is None:
        raise NotEnoughDataError("PPO needs a reward model.", "Train one on the Reward model page first.")
    if not inputs.prompts:
        raise NotEnoughDataError("PPO needs prompts to write to, and there is none to train on.", "Import some.")
    model = inputs.model
    room = min(spec.max_length, model.longest) - spec.max_new_tokens
    usable = tuple(prompt for prompt in inputs.prompts if len(model.prompt_ids(prompt.messages)) <= room)
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
    value_head = ValueHead(model.hidden_size)
    model.take_role(Role(policy, trainable=True))
    parameters = model.trainable_parameters()
    value_parameters = {"params": list(value_head.parameters()), "lr": 10 * spec.learning_rate}
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "lr": spec.learning_rate}, value_parameters],
        lr=spec.learning_rate,
        weight_decay=0.0,
        eps=1e-5,
    )
    sampler = Sampler(temperature=spec.temperature, max_new_tokens=spec.max_new_tokens)
    shuffle = torch.Generator().manual_seed(derive_seed(spec.seed, "order"))
    queue: list[int] = []

    step = 0
    while step < spec.updates and not stop.requested:
        while len(queue) < spec.prompts_per_update:
            queue += torch.randperm(len(usable), generator=shuffle).tolist()
        prompts = [usable[i] for i in queue[: spec.prompts_per_update]]
        del queue[: spec.prompts_per_update]
        prompt_ids = [model.prompt_ids(prompt.messages) for prompt in prompts]
        count = spec.completions_per_prompt
        seeds = [derive_seed(spec.seed, "rollout", step, i) for i in range(len(prompts) * count)]

        sampling = sample(model, policy, prompt_ids, seeds, sampler, stop)
        drawn: list[Drawn] | None = None
        while True:
            try:
                part = next(sampling)
            except StopIteration as finished:
                drawn = cast("list[Drawn] | None", finished.value)
                break
            yield Progressed("writing", step + 0.4 * part.done / part.total, spec.updates)
        if drawn is None:
            break

        episodes: list[Episode] = []
        for i, ids in enumerate(prompt_ids):
            if stop.requested:
                break
            own = drawn[i * count : (i + 1) * count]
            packed = pack([(ids, [d.completion_ids for d in own])])
            model.take_role(Role(policy, trainable=True))
            episodes.append(_episode(spec, model, reward_model, value_head, reference, prompts[i].text, own, packed))
            yield Progressed("scoring", step + 0.4 + 0.2 * len(episodes) / len(prompts), spec.updates)
        if stop.requested:
            break

        advantages, returns = _advantages(spec, episodes)
        stats: dict[str, list[tuple[float, int]]] = {}
        for epoch in range(spec.ppo_epochs):
            if stop.requested:
                break
            model.take_role(Role(policy, trainable=True))
            tokens = sum(int(e.packed.mask.sum()) for e in episodes)
            for i, episode in enumerate(episodes):
                if stop.requested:
                    break
                share = int(episode.packed.mask.sum()) / tokens
                _backward(spec, model, value_head, episode, advantages[i], returns[i], share, stats)
                done = (epoch * len(episodes) + i + 1) / (spec.ppo_epochs * len(episodes))
                yield Progressed("learning", step + 0.6 + 0.4 * done, spec.updates)
            if stop.requested:
                break
            grad_norm = torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm)
            if not torch.isfinite(grad_norm):
                raise NotFiniteError("The gradient is not a number any more.", "Lower the learning rate.")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if stop.requested:
            break
        step += 1
        yield StepTaken(step, spec.updates, _metrics(spec, episodes, stats))
        shown = episodes[0]
        yield SampleShown(
            step, shown.prompt, model.completion_text(shown.drawn[0].completion_ids), shown.scores[0].item()
        )

    sha256 = model.save_adapter(policy, inputs.output_path) if step else None
    for name in (policy, reference, reward_model.name):
        if name is not None:
            model.detach(name)
    if sha256:  # a run stopped before its first update learned nothing
        yield AdapterSaved(str(inputs.output_path), sha256, {"updates": step})


@torch.no_grad()
def _episode(
    spec: PpoSpec,
    model: ResidentModel,
    reward_model: RewardModel,
    value_head: ValueHead,
    reference: str | None,
    prompt: str,
    drawn: list[Drawn],
    packed: Packed,
) -> Episode:
    """Score one prompt's completions under every role; the model's role is put back."""
    role = model.role
    logprobs, values, entropy = evaluate(model, value_head, packed, spec.temperature)
    model.take_role(Role(reference))
    reference_logprobs = completion_logprobs(model, hidden_states(model, packed), packed, spec.temperature)
    model.take_role(role)
    cut = torch.tensor([0.0 if d.ended else spec.missing_eos_penalty for d in drawn])
    scores = reward_model.score(packed) - cut
    if not torch.isfinite(scores).all():
        raise NotFiniteError("The reward model gave a score that is not a number.", "Train the reward model again.")
    return Episode(prompt, drawn, packed, scores, logprobs, reference_logprobs, values, entropy)


def _advantages(spec: PpoSpec, episodes: list[Episode]) -> tuple[list[Tensor], list[Tensor]]:
    """Whitened advantages and returns of every episode, [N, C] each; whitened over the whole rollout."""
    raw = [
        gae(
            token_rewards(e.scores, e.old_logprobs, e.reference_logprobs, e.packed.mask, spec.kl_coef),
            e.old_values,
            e.packed.mask,
            gamma=spec.gamma,
            lam=spec.lam,
        )
        for e in episodes
    ]
    returns = [a + e.old_values for a, e in zip(raw, episodes, strict=True)]
    kept = torch.cat([a[e.packed.mask] for a, e in zip(raw, episodes, strict=True)])
    whitened = masked_whiten(kept, torch.ones_like(kept, dtype=torch.bool))
    split = whitened.split([int(e.packed.mask.sum()) for e in episodes])
    advantages = [
        torch.zeros_like(a).masked_scatter(e.packed.mask, w) for a, e, w in zip(raw, episodes, split, strict=True)
    ]
    return advantages, returns


def _backward(
    spec: PpoSpec,
    model: ResidentModel,
    value_head: ValueHead,
    episode: Episode,
    advantages: Tensor,
    returns: Tensor,
    share: float,
    stats: dict[str, list[tuple[float, int]]],
) -> None:
    """One micro-batch's losses and gradients, weighted by its share of the rollout's tokens."""
    mask = episode.packed.mask
    logprobs, values, _ = evaluate(model, value_head, episode.packed, spec.temperature)
    policy = policy_loss(logprobs, episode.old_logprobs, advantages, mask, spec.cliprange)
    value = value_loss(values, episode.old_values, returns, mask, spec.cliprange_value)
    loss = policy + spec.vf_coef * value
    if not torch.isfinite(loss):
        raise NotFiniteError("The loss is not a number any more.", "Lower the learning rate.")
    (share * loss).backward()
    change = (logprobs.detach() - episode.old_logprobs)[mask]
    ratio = change.exp()
    tokens = len(change)
    for key, measured in (
        ("loss/policy_avg", policy.detach()),
        ("loss/value_avg", value.detach()),
        ("policy/approxkl_avg", 0.5 * (change**2).mean()),
        ("policy/clipfrac_avg", ((ratio - 1).abs() > spec.cliprange).float().mean()),
        ("val/ratio", ratio.mean()),
    ):
        stats.setdefault(key, []).append((measured.item(), tokens))


def _metrics(spec: PpoSpec, episodes: list[Episode], stats: dict[str, list[tuple[float, int]]]) -> dict[str, float]:
    """The declared metrics of one update, over real tokens only, every token with the same weight."""
    scores = torch.cat([e.scores for e in episodes])
    kl = torch.cat([kl_k1(e.old_logprobs, e.reference_logprobs, e.packed.mask) for e in episodes])
    entropy = torch.cat([e.entropy.sum(-1) for e in episodes])
    lengths = torch.cat([e.packed.mask.sum(-1) for e in episodes]).float()
    ended = [d.ended for e in episodes for d in e.drawn]
    return {
        "objective/scores": scores.mean().item(),
        "objective/rlhf_reward": (scores - spec.kl_coef * kl).mean().item(),
        "objective/kl": kl.mean().item(),
        "objective/entropy": entropy.mean().item(),
        "completions/mean_length": lengths.mean().item(),
        "val/num_eos_tokens": sum(ended) / len(ended),
    } | {
        key: sum(value * tokens for value, tokens in seen) / sum(tokens for _, tokens in seen)
        for key, seen in stats.items()
    }
