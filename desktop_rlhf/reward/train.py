"""Train a reward model on comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

import torch
from torch import Tensor

from desktop_rlhf.adapters.batches import group_batches, micro_batches, tokens_at_once
from desktop_rlhf.adapters.packing import pack
from desktop_rlhf.adapters.passes import Head, Part, passes
from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs, fitting, ids_of
from desktop_rlhf.comparisons.pairs import split_by_prompt
from desktop_rlhf.records.comparisons import PreferenceGroup, strength_margin
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.errors import NotEnoughDataError, NotFiniteError
from desktop_rlhf.records.prompts import Prompt
from desktop_rlhf.reward.calibration import Scored, gain_and_bias, reference_ids, report_on
from desktop_rlhf.reward.loss import bradley_terry_loss
from desktop_rlhf.reward.model import RewardHead, RewardModel
from desktop_rlhf.reward.spec import FEWEST_COMPARISONS, RewardSpec
from desktop_rlhf.runs.events import AdapterSaved, Event, Progressed
from desktop_rlhf.runs.learned import Reason
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.stop import StopToken

MEASURING, SCALING = "measuring on held-out prompts", "putting scores on a common scale"
"""The stages after training."""


def train(spec: RewardSpec, inputs: TrainingInputs, stop: StopToken) -> Iterator[Event]:
    """Yield the events of one reward-model run; see ``runs.algorithm.Algorithm``.

    Raises:
        NotEnoughDataError: fewer comparisons than a reward model can learn from.
        NotFiniteError: the trained model's scores are NaN or infinite.
    """
    model = inputs.model
    groups, learned = fitting(model, inputs.groups, spec.max_length, inputs.left_out, stop)
    if len(groups) < FEWEST_COMPARISONS:
        raise NotEnoughDataError(
            f"A reward model needs at least {FEWEST_COMPARISONS} comparisons with a winner; there are {len(groups)}."
            f"{learned.why}",
            "Label some more, then train again.",
        )
    train_groups, held_out = split_by_prompt(groups, spec.held_out_share, spec.seed)
    learned = learned.without(Reason.HELD_OUT, len(held_out))
    yield from learned.notes
    name = f"reward-{inputs.output_path.name}"
    model.new_adapter(name, rank=spec.lora_rank, alpha=spec.lora_alpha, seed=derive_seed(spec.seed, "adapter"))
    head = RewardHead(model.hidden_size, spec.pooling).to(model.device)
    # The held-out ones first: their scores are needed anyway, and no training has spread them apart.
    reference = reference_ids([*held_out, *train_groups])
    more_samples = _not_yet_scored(train_groups, reference - {c.id for group in held_out for c in group.completions})
    after = {MEASURING: float(len(held_out)), SCALING: float(len(more_samples))}

    def parts(batch: Sequence[PreferenceGroup]) -> Iterator[Part]:
        for _, some in group_batches(model, batch, spec.max_length):
            scores = head.rewards(model, some.packed)
            chosen, rejected = some.paired(scores)
            margins = [strength_margin(group.strength, spec.margin_scale) for group in some.groups]
            losses = bradley_terry_loss(
                chosen,
                rejected,
                center=spec.center_rewards_coefficient,
                margin=some.by_pair(margins if spec.margin_from_strength else [0.0] * len(margins)),
            )
            apart = (chosen - rejected).detach()
            measured = {
                "accuracy": some.total((apart > 0).float()),
                "margin": some.total(apart),
                "mean_reward": sum(own.mean() for own in scores.detach().split(some.sizes)),
            }
            means = {name: value / len(batch) for name, value in measured.items()}
            yield Part(some.total(losses) / len(batch), means, work=len(some.groups))

    steps = yield from passes(
        inputs, spec, name, train_groups, parts, stop, batch_size=spec.batch_size, epochs=spec.epochs,
        head=Head(head.weight, spec.head_learning_rate), decay=True, afterwards=after,
    )  # fmt: skip

    done = len(train_groups) * spec.epochs
    work = done + sum(after.values())
    trained = RewardModel(model, name, head)
    model.take_role(Role(name))
    scored: list[Scored] = []
    samples: dict[str, float] = {}
    for _, some in group_batches(model, held_out, spec.max_length):
        if stop.requested:
            break
        found = trained.score(some.packed).split(some.sizes)
        for group, scores in zip(some.groups, map(_finite, found), strict=True):
            lengths = tuple(len(ids_of(model, c)) for c in group.completions)
            scored.append(Scored(tuple(scores), lengths, group.pairs, group.strength))
            samples |= {c.id: s for c, s in zip(group.completions, scores, strict=True) if c.id in reference}
        done += len(some.groups)
        yield Progressed(MEASURING, done, work)
    ids = [(model.prompt_ids(prompt.messages), [ids_of(model, c) for c in own]) for prompt, own in more_samples]
    for places in micro_batches(model, ids, tokens_at_once(model, spec.max_length)):
        if stop.requested:
            break
        found = _finite(trained.score(pack(ids[places.start : places.stop], model.device)))
        samples |= zip((c.id for place in places for c in more_samples[place][1]), found, strict=True)
        done += len(places)
        yield Progressed(SCALING, done, work)
    gain, bias = gain_and_bias(list(samples.values()))
    head.gain.fill_(gain)
    head.bias.fill_(bias)
    counts = {"train_comparisons": len(train_groups), "steps": steps, "scale_samples": len(samples)}
    report = counts | report_on(scored) | learned.report()
    sha256 = model.save_adapter(name, inputs.output_path, head=head.state_dict()) if steps else None
    model.detach(name)
    if sha256:  # a run stopped before its first step learned nothing
        yield AdapterSaved(str(inputs.output_path), sha256, report)


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
