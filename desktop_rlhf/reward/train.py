"""Train a reward model on comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

import torch
from torch import Tensor

from desktop_rlhf.adapters.packing import hidden_states, pack
from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs, fitting, group_ids, ids_of
from desktop_rlhf.comparisons.pairs import split_by_prompt
from desktop_rlhf.records.comparisons import PreferenceGroup, strength_margin
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.errors import NotEnoughDataError, NotFiniteError
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.reward.calibration import Scored, gain_and_bias, reference_ids, report_on
from desktop_rlhf.reward.loss import bradley_terry_loss
from desktop_rlhf.reward.model import RewardHead, RewardModel
from desktop_rlhf.reward.spec import FEWEST_COMPARISONS, RewardSpec
from desktop_rlhf.runs.events import AdapterSaved, Event, Noted, Progressed, StepTaken
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken


def train(spec: RewardSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one reward-model run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: fewer comparisons than a reward model can learn from.
        NotFiniteError: the loss or a gradient became NaN or infinite.
    """
    model = inputs.model
    groups, too_long = fitting(model, inputs.groups, spec.max_length)
    if len(groups) < FEWEST_COMPARISONS:
        raise NotEnoughDataError(
            f"A reward model needs at least {FEWEST_COMPARISONS} comparisons with a winner; there are {len(groups)}.",
            "Label some more, then train again.",
        )
    if too_long:
        yield Noted(f"{too_long} comparisons are longer than {spec.max_length} tokens and were left out.")
    train_groups, held_out = split_by_prompt(groups, spec.held_out_share, spec.seed)
    name = f"reward-{inputs.output_path.name}"
    model.new_adapter(name, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter"))
    head = RewardHead(model.hidden_size, spec.pooling)
    model.take_role(Role(name, trainable=True))
    parameters = [*model.trainable_parameters(), head.weight]
    rates = (spec.learning_rate, spec.head_learning_rate)
    optimizer = torch.optim.AdamW(
        [{"params": parameters[:-1], "lr": rates[0]}, {"params": parameters[-1:], "lr": rates[1]}], weight_decay=0.0
    )
    shuffle = torch.Generator().manual_seed(derive_seed(spec.seed, "order"))
    steps_per_epoch = -(-len(train_groups) // spec.batch_size)
    total_steps = steps_per_epoch * spec.epochs
    # The held-out ones first: their scores are needed anyway, and no training has spread them apart.
    reference = reference_ids([*held_out, *train_groups])
    more_samples = _not_yet_scored(train_groups, reference - {c.id for group in held_out for c in group.completions})
    work = len(train_groups) * spec.epochs + len(held_out) + len(more_samples)
    yield Noted(f"{len(train_groups)} comparisons to learn from, {len(held_out)} held out by prompt.")

    step, done = 0, 0
    for _ in range(spec.epochs):
        order = torch.randperm(len(train_groups), generator=shuffle).tolist()
        for start in range(0, len(order), spec.batch_size):
            batch = [train_groups[i] for i in order[start : start + spec.batch_size]]
            totals = {"loss": 0.0, "accuracy": 0.0, "margin": 0.0, "mean_reward": 0.0}
            for group in batch:
                if stop.requested:
                    break
                packed = pack([group_ids(model, group)])
                scores = head(hidden_states(model, packed), packed)
                chosen, rejected = _paired(scores, group)
                apart = strength_margin(group.strength, spec.margin_scale) if spec.margin_from_strength else 0.0
                loss = bradley_terry_loss(chosen, rejected, center=spec.center_rewards_coefficient, margin=apart)
                (loss / len(batch)).backward()
                margin = (chosen - rejected).detach()
                for key, value in (
                    ("loss", loss.detach()),
                    ("accuracy", (margin > 0).float().mean()),
                    ("margin", margin.mean()),
                    ("mean_reward", scores.detach().mean()),
                ):
                    totals[key] += value.item() / len(batch)
                done += 1
                yield Progressed("training", done, work)
            if stop.requested:
                break
            grad_norm = torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm).item()
            if not (torch.isfinite(torch.tensor([totals["loss"], grad_norm])).all()):
                raise NotFiniteError("The loss or its gradient is not a number any more.", "Lower the learning rate.")
            for part, rate in zip(optimizer.param_groups, rates, strict=True):
                part["lr"] = rate * (1 - step / total_steps)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            yield StepTaken(step, total_steps, totals | {"grad_norm": grad_norm})
        if stop.requested:
            break

    trained = RewardModel(model, name, head)
    model.take_role(Role(name))
    scored: list[Scored] = []
    samples: dict[str, float] = {}
    for group in held_out:
        if stop.requested:
            break
        scores = _finite(trained.score(pack([group_ids(model, group)])))
        lengths = tuple(len(ids_of(model, c)) for c in group.completions)
        scored.append(Scored(tuple(scores), lengths, group.pairs, group.strength))
        samples |= {c.id: s for c, s in zip(group.completions, scores, strict=True) if c.id in reference}
        done += 1
        yield Progressed("measuring on held-out prompts", done, work)
    for prompt, completions in more_samples:
        if stop.requested:
            break
        packed = pack([(model.prompt_ids(prompt.messages), [ids_of(model, c) for c in completions])])
        samples |= zip((c.id for c in completions), _finite(trained.score(packed)), strict=True)
        done += 1
        yield Progressed("putting scores on a common scale", done, work)
    gain, bias = gain_and_bias(list(samples.values()))
    head.gain.fill_(gain)
    head.bias.fill_(bias)
    report = {"train_comparisons": len(train_groups), "steps": step, "scale_samples": len(samples)} | report_on(scored)
    sha256 = model.save_adapter(name, inputs.output_path, head=head.state_dict()) if step else None
    model.detach(name)
    if sha256:  # a run stopped before its first step learned nothing
        yield AdapterSaved(str(inputs.output_path), sha256, report)


def _paired(scores: Tensor, group: PreferenceGroup) -> tuple[Tensor, Tensor]:
    """[P] chosen and [P] rejected rewards of a comparison's pairs."""
    chosen: Sequence[int] = [better for better, _ in group.pairs]
    rejected: Sequence[int] = [worse for _, worse in group.pairs]
    return scores[list(chosen)], scores[list(rejected)]


def _not_yet_scored(groups: Sequence[PreferenceGroup], wanted: Set[str]) -> list[tuple[Prompt, tuple[Completion, ...]]]:
    """The wanted completions with their prompts, each in the first group it stands in."""
    found, left = [], set(wanted)
    for group in groups:
        kept = tuple(completion for completion in group.completions if completion.id in left)
        left -= {completion.id for completion in kept}
        if kept:
            found.append((group.prompt, kept))
    return found


def _finite(scores: Tensor) -> list[float]:
    """[N] scores as numbers."""
    if not torch.isfinite(scores).all():
        raise NotFiniteError("The reward model's scores are not numbers any more.", "Lower the learning rate.")
    return scores.tolist()
