"""Absolute figures of training and decoding, with the share of what the device can do at most."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from bench.ours import seconds_of
from bench.ours_ppo import untrained_reward_model
from desktop_rlhf.adapters.devices import fault, in_words
from desktop_rlhf.adapters.precision import preferred_dtype, wait_for
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.completions.sampling import Written, sample
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.spec import FEWEST_COMPARISONS, RewardSpec
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.stop import StopToken
from desktop_rlhf.workbench.memory import peak_mb, reset_peak

PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
    "L4": 121e12,
    "RTX 3090": 71e12,
}
"""Operations a second on dense bfloat16 products summed in float32, by the makers' data sheets; the first name that a
card's name has in it counts."""


@dataclass(frozen=True)
class Plan:
    """A Llama and what is done with it. Lengths are in tokens.

    Attributes:
        pairs_per_step, steps, prompt, completion: of DPO and the reward model; PPO has prompts as long.
        updates:        of PPO.
        rows, new:      completions that are written together, and tokens of each.
        sampled_prompt: before them where only decoding is measured.
        product:        rows and columns of the square matrices whose product measures the device.
        rounds:         how often each figure is taken; the median counts.
    """

    vocabulary: int = 49_152
    hidden: int = 2048
    between: int = 8192
    layers: int = 24
    heads: int = 32
    key_heads: int = 8
    rank: int = 16
    pairs_per_step: int = 16
    steps: int = 8
    prompt: int = 256
    completion: int = 128
    rows: int = 64
    sampled_prompt: int = 128
    new: int = 128
    product: int = 8192
    updates: int = 2
    rounds: int = 3


LARGE = Plan()
SMALL = Plan(
    vocabulary=300, hidden=64, between=128, layers=2, heads=4, key_heads=2, rank=4, pairs_per_step=2, steps=4,
    prompt=12, completion=6, rows=4, sampled_prompt=8, new=6, product=128, updates=1, rounds=1,
)  # fmt: skip


class Numbers:
    """As much of a tokenizer as is asked for: a text is its ids, written out."""

    eos_token_id = 0
    chat_template = None

    def __call__(self, text: str, **asked: bool) -> dict[str, list[int]]:
        return {"input_ids": list(map(int, text.split()))}

    def decode(self, ids: list[int], **asked: bool) -> str:
        return " ".join(map(str, ids))


def figures(plan: Plan, device: torch.device) -> dict[str, Any]:
    """Everything that is measured, by name."""
    dtype = _format(plan, device)
    measured_peak = product_rate(plan, device, dtype)
    stated_peak = next((peak for name, peak in PEAKS.items() if name in in_words(device)), None)
    peak = stated_peak if stated_peak and dtype is torch.bfloat16 else measured_peak
    model = made(plan, device, dtype)
    work = {}
    for figure in (dpo, reward, ppo, decoding):
        work[figure.__name__] = figure(plan, model, peak)
        print(f"{figure.__name__}: {work[figure.__name__]}", file=sys.stderr, flush=True)
    return {
        "device": in_words(device),
        "dtype": model.dtype,
        "torch": torch.__version__,
        "parameters": model.parameters,
        "plan": asdict(plan),
        "peak_flops": peak,
        "peak_is": "stated" if peak is stated_peak else "measured",
        "measured_product_flops": measured_peak,
        **work,
    }


def made(plan: Plan, device: torch.device, dtype: torch.dtype) -> ResidentModel:
    """A random Llama, made where it is to live: it never passes through the CPU's memory."""
    config = LlamaConfig(
        vocab_size=plan.vocabulary, hidden_size=plan.hidden, intermediate_size=plan.between,
        num_hidden_layers=plan.layers, num_attention_heads=plan.heads, num_key_value_heads=plan.key_heads,
        max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), device:
        torch.manual_seed(0)
        return ResidentModel(AutoModelForCausalLM.from_config(config, dtype=dtype), Numbers())


def dpo(plan: Plan, model: ResidentModel, peak: float) -> dict[str, float]:
    """DPO as the program runs it from a run's beginning to its last step, the reference's forwards in it.

    A token costs 2 operations a weight in a forward and 2 in a backward that goes through frozen weights, where one
    that trains them would cost 4; the reference's forward costs 2 more. So it is 6 for each weight of the trunk's
    products and token, and 6 for each of the vocabulary's projection and token of a completion. An adapter's own
    weights are trained, 6 as well. Attention over the tokens before is left out. Every pair has the same length.
    """
    spec = DpoSpec(**_settings(plan), batch_size=plan.pairs_per_step)
    rate = plan.pairs_per_step / _seconds_a_step(plan, model, spec)
    completions = 2 * plan.completion
    trunk, projection = weights(model)
    flops = 6 * (trunk + _adapter(plan, model)) * (plan.prompt + completions) + 6 * projection * completions
    return _figure(model, peak, "pairs_per_s", rate, plan.prompt + completions, flops)


def reward(plan: Plan, model: ResidentModel, peak: float) -> dict[str, float]:
    """The reward model as the program trains it: no vocabulary and no reference, so 4 where DPO has 6."""
    spec = RewardSpec(**_settings(plan), batch_size=plan.pairs_per_step, held_out_share=0.0)
    rate = plan.pairs_per_step / _seconds_a_step(plan, model, spec)
    length = plan.prompt + 2 * plan.completion
    trunk, _ = weights(model)
    flops = 4 * trunk * length + 6 * _adapter(plan, model) * length
    return _figure(model, peak, "pairs_per_s", rate, length, flops)


def ppo(plan: Plan, model: ResidentModel, peak: float) -> dict[str, float]:
    """PPO as the program runs it, four completions of each prompt, four epochs.

    Every token costs 2 when it is written, 2 each for policy, reference and reward model when it is scored, and 4 in
    every epoch, an adapter's weights 6; the vocabulary's projection costs as much as the trunk but for the reward
    model. A prompt is shared by four.
    """
    epochs, copies = 4, 4
    spec = PpoSpec(
        **_settings(plan), updates=plan.updates, prompts_per_update=plan.rows // copies, completions_per_prompt=copies,
        max_new_tokens=plan.new, ppo_epochs=epochs,
    )  # fmt: skip
    asked = tuple(group.prompt for group in pairs(plan, plan.rows // copies))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judge = untrained_reward_model(model, folder / "judge", {"rank": plan.rank, "alpha": plan.rank, "seed": 0})

        def seconds(turn: str, own: PpoSpec) -> float:
            wait_for(model.device)
            return seconds_of(own, TrainingInputs(model, None, (), asked, judge, folder / turn), own.updates)

        seconds("warm-up", replace(spec, updates=1))
        reset_peak(model.device)
        rate = plan.updates * plan.rows / median(seconds(f"{turn}", spec) for turn in range(plan.rounds))
    trunk, projection = weights(model)
    length = plan.prompt / copies + plan.new
    of_adapter = (8 + 6 * epochs) * _adapter(plan, model)
    flops = ((8 + 4 * epochs) * trunk + of_adapter) * length + (6 + 4 * epochs) * projection * plan.new
    return _figure(model, peak, "episodes_per_s", rate, length, flops)


def _settings(plan: Plan) -> dict[str, Any]:
    return {"lora_rank": plan.rank, "lora_alpha": 2 * plan.rank, "max_length": 4096}


def _seconds_a_step(plan: Plan, model: ResidentModel, spec: LoraSpec) -> float:
    """The median over the rounds, each a run of its own from its beginning to its last step."""
    per_step = plan.pairs_per_step
    first = max(per_step, FEWEST_COMPARISONS)
    everything = pairs(plan, first + per_step * plan.steps * plan.rounds)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:

        def timed(own: tuple[PreferenceGroup, ...], name: str) -> float:
            wait_for(model.device)
            inputs = TrainingInputs(model, None, own, (), None, Path(folder) / name)
            return seconds_of(spec, inputs, len(own) // per_step)

        timed(everything[:first], "warm-up")
        reset_peak(model.device)
        for turn in range(plan.rounds):
            start = first + per_step * plan.steps * turn
            seconds.append(timed(everything[start : start + per_step * plan.steps], f"run-{turn}"))
    return median(seconds) / plan.steps


def _figure(model: ResidentModel, peak: float, unit: str, rate: float, tokens: float, flops: float) -> dict[str, float]:
    """One work's figures, of examples with so many tokens and operations each."""
    return {
        unit: rate,
        "tokens_per_s": rate * tokens,
        "flops_each": flops,
        "share_of_peak": rate * flops / peak,
        "peak_memory_mb": peak_mb(model.device),
    }


def decoding(plan: Plan, model: ResidentModel, peak: float) -> dict[str, float]:
    """Sampling as the program does it, the reading of the prompts in it. A token costs 2 operations a weight.

    Its bound is not the operations but the reading of all weights at every step, so that rate is given as well.
    """
    prompts = [
        [1 + (row + place) % (plan.vocabulary - 1) for place in range(plan.sampled_prompt)] for row in range(plan.rows)
    ]
    reset_peak(model.device)
    _drawn(model, prompts[:2], 2)
    rates = []
    for turn in range(plan.rounds):
        wait_for(model.device)
        began = time.perf_counter()
        rates.append(_drawn(model, prompts, plan.new, turn) / (time.perf_counter() - began))
    rate, (trunk, projection) = median(rates), weights(model)
    read = (trunk + projection) * (2 if model.dtype == "bfloat16" else 4)
    return {
        "tokens_per_s": rate,
        "steps_per_s": rate / plan.rows,
        "weights_read_gb_per_s": rate / plan.rows * read / 1e9,
        "share_of_peak": rate * 2 * (trunk + projection) / peak,
        "peak_memory_mb": peak_mb(model.device),
    }


def _drawn(model: ResidentModel, prompts: list[list[int]], new: int, seed: int = 0) -> int:
    """How many tokens were sampled, ended or not."""
    seeds = range(seed * len(prompts), (seed + 1) * len(prompts))
    events = sample(model, None, prompts, seeds, Sampler(temperature=1.0, max_new_tokens=new), StopToken())
    return sum(len(one.completion_ids) for event in events if isinstance(event, Written) for one in event.drawn)


def product_rate(plan: Plan, device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of one large product, the best of several: what this device reaches."""
    left, right = (torch.full((plan.product, plan.product), 0.5, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(8):
        wait_for(device)
        began = time.perf_counter()
        left @ right
        wait_for(device)
        seconds.append(time.perf_counter() - began)
    return 2 * plan.product**3 / min(seconds)


def weights(model: ResidentModel) -> tuple[int, int]:
    """Of the trunk's products, and of the projection to the vocabulary."""
    head = model.base.get_output_embeddings()
    return sum(own.in_features * own.out_features for own in _linears(model)), head.weight.numel()


def _adapter(plan: Plan, model: ResidentModel) -> int:
    """Weights of an adapter on every product of the trunk."""
    return sum(plan.rank * (own.in_features + own.out_features) for own in _linears(model))


def _linears(model: ResidentModel) -> list[nn.Linear]:
    """The frozen linears of the trunk, whether or not an adapter is attached."""
    return [m for n, m in model.trunk.named_modules() if isinstance(m, nn.Linear) and ".lora_" not in n]


def pairs(plan: Plan, count: int) -> tuple[PreferenceGroup, ...]:
    """Preferences of made-up ids."""
    generator = torch.Generator().manual_seed(0)

    def ids(size: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, plan.vocabulary, (size,), generator=generator).tolist())

    made_up = []
    for number in range(count):
        prompt = Prompt(f"p{number}", (Message("user", " ".join(map(str, ids(plan.prompt)))),))
        sides = tuple(
            Completion(f"{number}-{side}", prompt.id, "g", None, "", ids(plan.completion), True, Sampler(), 0)
            for side in range(2)
        )
        made_up.append(PreferenceGroup(f"c{number}", prompt, sides, ((0, 1),)))
    return tuple(made_up)


def _format(plan: Plan, device: torch.device) -> torch.dtype:
    """As the program chooses it for a model of this size."""
    if plan is SMALL or (device.type != "cpu" and fault(device, torch.bfloat16)):
        return torch.float32
    return preferred_dtype(device.type)
