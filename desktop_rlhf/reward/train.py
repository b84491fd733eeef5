"""Train a reward model on comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from desktop_rlhf.adapters.packing import hidden_states, pack
from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs, fitting, group_ids, ids_of
from desktop_rlhf.comparisons.pairs import split_by_prompt
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.errors import NotEnoughDataError, NotFiniteError
from desktop_rlhf.records.verdicts import wilson
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
    work = len(train_groups) * spec.epochs + len(held_out)
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
                loss = bradley_terry_loss(chosen, rejected, center=spec.center_rewards_coefficient)
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
    report: dict[str, object] = {"train_comparisons": len(train_groups), "steps": step}
    chosen_scores: list[float] = []
    rejected_scores: list[float] = []
    shares: list[float] = []
    longer = ties_in_length = 0
    for group in held_out:
        if stop.requested:
            break
        scores = trained.score(pack([group_ids(model, group)]))
        lengths = [len(ids_of(model, c)) for c in group.completions]
        shares.append(sum(bool(scores[b] > scores[w]) for b, w in group.pairs) / len(group.pairs))
        for better, worse in group.pairs:
            chosen_scores.append(scores[better].item())
            rejected_scores.append(scores[worse].item())
            longer += lengths[better] > lengths[worse]
            ties_in_length += lengths[better] == lengths[worse]
        done += 1
        yield Progressed("measuring on held-out prompts", done, work)
    pairs, judged = len(chosen_scores), len(shares)
    # Pairs of one ranking hang together, so the interval rests on the comparisons, each with its share of right pairs.
    accuracy = wilson(sum(shares), judged)
    report |= {
        "held_out_accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "n": judged,
        "pairs": pairs,
        "longer_wins": (longer + ties_in_length / 2) / pairs if pairs else 0.5,
        "shorter_wins": (pairs - longer - ties_in_length / 2) / pairs if pairs else 0.5,
        "scores_chosen": chosen_scores,
        "scores_rejected": rejected_scores,
    }
    everything = torch.tensor(chosen_scores + rejected_scores)
    if not torch.isfinite(everything).all():
        raise NotFiniteError("The reward model's scores are not numbers any more.", "Lower the learning rate.")
    if len(everything) >= 8 and everything.std() > 0:
        with torch.no_grad():
            head.gain.copy_(1 / everything.std())
            head.bias.copy_(-everything.mean() / everything.std())
    sha256 = model.save_adapter(name, inputs.output_path, head=head.state_dict()) if step else None
    model.detach(name)
    if sha256:  # a run stopped before its first step learned nothing
        yield AdapterSaved(str(inputs.output_path), sha256, report)


def _paired(scores: Tensor, group: PreferenceGroup) -> tuple[Tensor, Tensor]:
    """[P] chosen and [P] rejected rewards of a comparison's pairs."""
    chosen: Sequence[int] = [better for better, _ in group.pairs]
    rejected: Sequence[int] = [worse for _, worse in group.pairs]
    return scores[list(chosen)], scores[list(rejected)]
