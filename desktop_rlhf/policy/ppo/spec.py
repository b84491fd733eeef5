"""Settings and curves of PPO."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from desktop_rlhf.policy.rollout_spec import RolloutSpec
from desktop_rlhf.runs.metrics import GRAD_NORM, MEAN_LENGTH, SCORE
from desktop_rlhf.runs.spec import Metric, setting


@dataclass(frozen=True)
class PpoSpec(RolloutSpec):
    """Proximal policy optimisation against a reward model, with a per-token KL penalty towards the reference."""

    name: ClassVar[str] = "ppo"
    title: ClassVar[str] = "PPO"
    sentence: ClassVar[str] = "The policy writes, the reward model scores, and what scored well becomes likelier."
    train: ClassVar[str] = "desktop_rlhf.policy.ppo.train:train"
    metrics: ClassVar[tuple[Metric, ...]] = (
        replace(SCORE, name="objective/scores"),
        Metric(
            "objective/non_score_reward",
            "KL penalty",
            "reward",
            sentence="what the KL penalty adds to the reward: below 0 where the policy has moved from the reference",
            formula="mean over completions of −`kl_coef` Σ k, k being k1 or k3 by `kl_estimator`",
            healthy="just below 0, falls slowly",
            if_not="outweighs what the scores gained: the policy pays more than it gets; fewer updates",
            source="TRL",
            panel="reward",
        ),
        Metric(
            "objective/rlhf_reward",
            "score with KL penalty",
            "reward",
            sentence="reward with the KL penalty added; what PPO maximises",
            formula="mean over completions of R(y) − `kl_coef` Σ k",
            healthy="rises",
            if_not="falls while scores rise: too much KL for what it buys; raise `kl_coef` or stop",
            source="TRL, which does not normalise",
            panel="reward",
        ),
        Metric(
            "objective/kl",
            "KL (k1)",
            "nats",
            sentence="distance from the reference per completion (k1, a sum; single values may be negative)",
            formula="mean over completions of Σ (log old − log ref), whatever `kl_estimator`",
            healthy="0 to 10, rising slowly",
            if_not="above 20: raise `kl_coef`; below 0 for many updates: sampling and scoring disagree, which is a bug",
            source="TRL with k1; Schulman 2020",
            panel="kl",
        ),
        Metric(
            "objective/kl_coef",
            "KL coefficient",
            "per nat",
            sentence="reward lost per nat",
            formula="`kl_coef`; with `adaptive_kl` times 1 + clip(KL / `target_kl` − 1, ± 0.2) n / `kl_horizon` after "
            "each update of n completions",
            healthy="still; with `adaptive_kl` it moves until KL is near `target_kl`",
            if_not="climbs without end: the learning rate is too high for any coefficient",
            source="Ziegler et al. 2019",
            panel="kl",
        ),
        Metric(
            "objective/entropy",
            "entropy",
            "nats",
            sentence="how undecided the policy is over a whole completion, at `temperature`",
            formula="mean over completions of the sum over tokens of −Σ p log p, over the vocabulary under old",
            healthy="falls gently",
            if_not="near 0: it says the same thing always; raise `kl_coef`, take fewer updates",
            source="TRL takes −log old of the token written: the same on average, but noisier",
            panel="entropy",
        ),
        Metric(
            "loss/policy_avg",
            "policy loss",
            "",
            sentence="clipped surrogate",
            formula="mean over tokens and passes of max(−A q, −A clip(q, 1 ± `cliprange`)), q = π / old, A the "
            "advantage by GAE, whitened",
            healthy="hovers around 0, need not fall",
            source="TRL; Schulman et al. 2017",
            panel="loss",
        ),
        Metric(
            "loss/value_avg",
            "value loss",
            "",
            sentence="error of the value function",
            formula="mean over tokens and passes of ½ max((V − G)², (V' − G)²), G = A + V_old before whitening, V' the "
            "value no further than `cliprange_value` from V_old",
            healthy="falls in the first updates",
            if_not="stays high: the scores vary too much, use more completions per prompt",
            source="TRL; Schulman et al. 2017",
            panel="loss",
        ),
        Metric(
            "policy/approxkl_avg",
            "approx KL",
            "nats",
            sentence="how far one update moved the policy, per token",
            formula="mean over tokens and passes of ½ (log π − log old)²",
            healthy="below 0.1",
            if_not="above: lower the learning rate or the passes",
            source="TRL; k2 of Schulman 2020",
            panel="kl",
        ),
        Metric(
            "policy/clipfrac_avg",
            "clip share",
            "share",
            sentence="share of tokens whose ratio was clipped",
            formula="share of tokens, over all passes, where the clipped term of the policy loss is the larger",
            healthy="below 0.3",
            if_not="above: lower the learning rate or the passes",
            source="TRL",
            panel="accuracy",
        ),
        Metric(
            "val/clipfrac_avg",
            "value clip share",
            "share",
            sentence="share of values whose move was clipped",
            formula="share of tokens, over all passes, where the clipped term of the value loss is the larger",
            healthy="below 0.3",
            if_not="above: raise `cliprange_value`, or set `normalise_reward` so that returns are of the clip's size",
            source="TRL",
            panel="accuracy",
        ),
        Metric(
            "val/ratio",
            "ratio",
            "",
            sentence="mean new over old probability",
            formula="mean over tokens and passes of π / old",
            healthy="close to 1",
            if_not="lower the learning rate or the passes",
            source="TRL",
            panel="accuracy",
        ),
        MEAN_LENGTH,
        Metric(
            "val/contain_eos_token",
            "ended",
            "share",
            sentence="share that ended by themselves",
            formula="share of completions with an end token",
            healthy="stays, or rises",
            if_not="falls: length is being rewarded; set `missing_eos_penalty`",
            source="TRL's Online DPO",
            panel="length",
        ),
        replace(GRAD_NORM, formula="mean over passes of √(Σ g²) over the adapter's weights; 0 during `value_warmup`"),
    )

    kl_coef: float = setting(0.05, "Reward lost per nat of KL from the reference.", source="TRL", minimum=0.0)
    kl_estimator: str = setting(
        "k1",
        "KL in the reward: k1 is right on average; k3 is less noisy, but what it optimises is not quite the KL.",
        source="TRL",
        choices=("k1", "k3"),
        advanced=True,
    )
    adaptive_kl: bool = setting(
        False, "kl_coef follows the KL towards target_kl, from where it was set.", source="Ziegler 2019", advanced=True
    )
    target_kl: float = setting(
        6.0, "KL (k1) that adaptive_kl aims at.", unit="nats", source="Ziegler 2019", minimum=0.01, advanced=True
    )
    kl_horizon: int = setting(
        10_000,
        "Completions over which adaptive_kl changes kl_coef by at most about a fifth.",
        unit="completions",
        source="Ziegler 2019",
        minimum=1,
        advanced=True,
    )
    whiten_rewards: bool = setting(
        False,
        "Token rewards are put on deviation 1 with their mean kept, where a rollout has 8 tokens or more.",
        source="TRL",
        advanced=True,
    )
    value_warmup: int = setting(
        0, "First updates that train the value function only.", unit="updates", minimum=0, advanced=True
    )
    cliprange_value: float = setting(0.2, "How far a value may move.", source="TRL", minimum=0.01, advanced=True)
    vf_coef: float = setting(0.1, "Weight of the value loss.", source="TRL", minimum=0.0, advanced=True)
    gamma: float = setting(1.0, "Discount per token.", source="TRL", minimum=0.0, maximum=1.0, advanced=True)
    lam: float = setting(0.95, "GAE's lambda.", source="TRL", minimum=0.0, maximum=1.0, advanced=True)
