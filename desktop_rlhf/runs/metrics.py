"""Curves that several algorithms draw; where one reads a curve differently, it replaces that part."""

from __future__ import annotations

from desktop_rlhf.runs.spec import Metric

GRAD_NORM = Metric(
    "grad_norm",
    "gradient norm",
    "",
    sentence="length of the gradient before it is cut to `max_grad_norm`",
    formula="√(Σ g²) over the adapter's weights",
    healthy="steady, within a few times its median",
    if_not="spikes: lower the learning rate",
    source="transformers",
    panel="gradient",
)

# Of algorithms that learn from pairs.
CHOSEN_GAIN = Metric(
    "rewards/chosen",
    "chosen",
    "nats",
    sentence="implicit reward of the chosen: how much likelier it became, times `beta`",
    formula="mean over pairs of β Δ(c)",
    healthy="around 0, may fall a little",
    if_not="falls far: good completions become unlikely as well; fewer steps, a higher `beta`, or an `rpo_alpha` above "
    "0. The run says so once it is 10 nats times `beta` below 0",
    source="TRL",
    panel="reward",
)
REJECTED_GAIN = Metric(
    "rewards/rejected",
    "rejected",
    "nats",
    sentence="the same for the rejected",
    formula="mean over pairs of β Δ(r)",
    healthy="falls",
    if_not="rises with the chosen: only style was learnt",
    source="TRL",
    panel="reward",
)
MARGIN = Metric(
    "rewards/margins",
    "margin",
    "nats",
    sentence="the chosen's reward less the rejected's",
    formula="mean over pairs of β (Δ(c) − Δ(r))",
    healthy="grows from 0",
    if_not="stays at 0: too few steps or too low a learning rate",
    source="TRL",
    panel="reward",
)
PAIR_ACCURACY = Metric(
    "rewards/accuracies",
    "accuracy",
    "share",
    sentence="share of pairs with a positive margin",
    formula="share of pairs with Δ(c) > Δ(r)",
    healthy="0.6 to 0.9",
    if_not="1.0 early: learnt by heart",
    source="TRL",
    panel="accuracy",
)

# Of algorithms that learn from what the policy writes.
SCORE = Metric(
    "reward",
    "score",
    "reward",
    sentence="mean score by the reward model",
    formula="mean over completions of s(y), less `missing_eos_penalty` where y was cut",
    healthy="rises, then levels off",
    if_not="rises without end while samples get odd: the reward model is being fooled",
    source="TRL",
    panel="reward",
)
SPREAD = Metric(
    "reward_std",
    "spread",
    "reward",
    sentence="how far the completions of one prompt differ in score",
    formula="mean over prompts of the deviation (n − 1) of its scores",
    healthy="well above 0",
    if_not="near 0: nothing to learn from; raise `temperature` or `completions_per_prompt`",
    source="TRL until it took the deviation over all prompts together (1.16)",
    panel="reward",
)
NO_SPREAD = Metric(
    "frac_reward_zero_std",
    "no spread",
    "share",
    sentence="share of prompts whose completions all score alike",
    formula="share of prompts with a deviation below 1e-6",
    healthy="0 to 0.3",
    if_not="above 0.8: raise `completions_per_prompt` or `temperature`",
    source="TRL",
    panel="accuracy",
)
ENTROPY = Metric(
    "entropy",
    "entropy",
    "nats/token",
    sentence="how undecided the policy is when it writes, at `temperature`",
    formula="mean over tokens of −Σ p log p, over the vocabulary under old",
    healthy="falls gently",
    if_not="near 0: it says the same thing always; raise `beta`",
    source="TRL, which measures it in each pass",
    panel="entropy",
)
MEAN_LENGTH = Metric(
    "completions/mean_length",
    "length",
    "tokens",
    sentence="how long completions are, the end token among them",
    formula="mean over completions of the number of tokens",
    healthy="moves a little",
    if_not="creeps to the limit: length is being rewarded; set `missing_eos_penalty`, or label more pairs where the "
    "shorter one wins",
    source="TRL",
    panel="length",
)
CUT = Metric(
    "completions/clipped_ratio",
    "cut",
    "share",
    sentence="share cut at the limit",
    formula="share of completions without an end token",
    healthy="below 0.3",
    if_not="rises: length is being rewarded; set `missing_eos_penalty`",
    source="TRL",
    panel="length",
)
