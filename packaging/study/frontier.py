"""The reward-KL frontier: how much utility a policy gains for each nat that it moves away from the base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import torch

from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.adapters.training import ids_of
from desktop_rlhf.records.adapters import Adapter
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Prompt, Split
from desktop_rlhf.runs.seeds import derive_seed
from desktop_rlhf.runs.spec import Value
from study.bench import Bench
from study.plan import FIXED, SAMPLER, SEED, STRENGTH, Plan
from study.reward_curve import Question, plain_prompts
from study.utility import Utility

NEEDS_REWARD = ("ppo", "rloo")


def mean_and_error(by_prompt: Sequence[float]) -> tuple[float, float]:
    """Mean over prompts and its standard error; what one prompt got counts as one observation."""
    return fmean(by_prompt), stdev(by_prompt) / math.sqrt(len(by_prompt))


@torch.no_grad()
def log_ratios(
    model: ResidentModel, policy: str | None, prompt: Prompt, completions: Sequence[Completion]
) -> list[float]:
    """log policy(completion) - log base(completion), nats, one per completion.

    Over completions that the policy itself sampled their mean estimates KL(policy || base) without bias (Schulman's
    k1, summed over the tokens).
    """
    packed = pack([(model.prompt_ids(prompt.messages), [ids_of(model, c) for c in completions])], model.device)
    sums = []
    for role in (Role(policy), Role(None)):
        model.take_role(role)
        logprobs = completion_logprobs(model, hidden_states(model, packed), packed, SAMPLER.temperature)
        sums.append(logprobs.double().sum(-1))
    return (sums[0] - sums[1]).tolist()


def best_of_n(scores: Sequence[float], values: Sequence[float], n: int) -> float:
    """Expected value of the best-scored of ``n`` drawn without replacement from a prompt's completions.

    Exact: with N completions ordered by score, the one at rank r (from 1) is the best in C(r - 1, n - 1) of C(N, n)
    draws. Equal scores are ordered as they come.
    """
    ordered = sorted(range(len(scores)), key=scores.__getitem__)
    total = math.comb(len(scores), n)
    return sum(math.comb(rank, n - 1) / total * values[place] for rank, place in enumerate(ordered))


def best_of_n_kl(n: int) -> float:
    """An upper bound on KL(best of n || base), nats: log n - (n - 1) / n.

    Source: Stiennon et al. (2020); Beirami et al. (2024) show that it is a bound.
    """
    return math.log(n) - (n - 1) / n


def selected(
    utility: Utility, questions: Sequence[Question], scored: Sequence[Sequence[float]]
) -> dict[str, list[dict[str, float]]]:
    """Best of n among the base's held-out samples, chosen by a reward model and by the utility itself."""
    by_prompt: dict[str, list[tuple[float, float]]] = {}
    for asked, both in zip(questions, scored, strict=True):
        own = by_prompt.setdefault(asked.prompt.id, [])
        own += [(score, utility(c.text)) for score, c in zip(both, asked.completions, strict=True)]
    most = min(map(len, by_prompt.values()))
    sizes = [2**power for power in range(1, most.bit_length()) if 2**power <= most]
    found: dict[str, list[dict[str, float]]] = {"reward model": [], "utility": []}
    for n in sizes:
        for name, rows in found.items():
            gained = []
            for own in by_prompt.values():
                values = [value for _, value in own]
                by = [score for score, _ in own] if name == "reward model" else values
                gained.append(best_of_n(by, values, n) - fmean(values))
            gain, error = mean_and_error(gained)
            base = fmean(fmean(value for _, value in own) for own in by_prompt.values())
            rows.append({"n": n, "kl": best_of_n_kl(n), "utility": base + gain, "utility_error": error})
    return found


def base_utilities(utility: Utility, questions: Sequence[Question]) -> dict[str, float]:
    """Mean utility of the base's samples by held-out prompt."""
    own: dict[str, list[float]] = {}
    for asked in questions:
        own.setdefault(asked.prompt.id, []).extend(utility(c.text) for c in asked.completions)
    return {prompt_id: fmean(values) for prompt_id, values in own.items()}


def point(
    bench: Bench,
    plan: Plan,
    utility: Utility,
    base: Mapping[str, float],
    reward: Adapter,
    algorithm: str,
    value: Value,
) -> dict[str, Any]:
    """Train one algorithm at one strength on the labels that stand, and measure what it then writes."""
    prompts = [prompt for prompt in plain_prompts(bench, Split.HELD_OUT) if prompt.id in base]
    name = f"{algorithm}, {STRENGTH[algorithm]} {value}"
    settings = {**FIXED[algorithm], STRENGTH[algorithm]: value}
    adapter, _ = bench.trained(name, algorithm, settings, reward.id if algorithm in NEEDS_REWARD else None)
    groups = bench.sampled(
        f"samples of {name}",
        [p.id for p in prompts],
        plan.fresh_per_prompt,
        SAMPLER,
        derive_seed(SEED, "fresh"),
        adapter.id,
    )
    measured = bench.remembered(
        f"utility and KL of {name}", lambda: _measured(bench, utility, base, adapter, prompts, groups)
    )
    return {"strength": value, **measured}


def _measured(
    bench: Bench,
    utility: Utility,
    base: Mapping[str, float],
    adapter: Adapter,
    prompts: Sequence[Prompt],
    groups: Sequence[Sequence[Completion]],
) -> dict[str, float]:
    """Utility and KL of a policy's fresh samples, one group for each prompt, with standard errors over prompts.

    The error of the utility is that of the difference from the base on the same prompts: how prompts differ from one
    another is common to all policies and is taken out.
    """
    bench.model.attach("policy", bench.path_of(adapter))
    try:
        ratios = [log_ratios(bench.model, "policy", p, own) for p, own in zip(prompts, groups, strict=True)]
    finally:
        bench.model.detach("policy")
    utilities = [fmean(utility(c.text) for c in own) for own in groups]
    gain, error = mean_and_error([u - base[p.id] for u, p in zip(utilities, prompts, strict=True)])
    kl, kl_error = mean_and_error([fmean(own) for own in ratios])
    everything = [completion for own in groups for completion in own]
    return {
        "kl": kl,
        "kl_error": kl_error,
        "utility": fmean(utilities),
        "utility_error": error,
        "gain": gain,
        "n": len(everything),
        "tokens": fmean(len(c.completion_ids) for c in everything),
        "ended": fmean(c.ended for c in everything),
    }
