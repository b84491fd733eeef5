"""Settings that every algorithm which trains a LoRA adapter shares."""

from __future__ import annotations

from dataclasses import dataclass

from desktop_rlhf.runs.spec import AlgorithmSpec, setting

SHAPE = ("lora_rank", "lora_alpha")
"""Settings that an adapter keeps when it is trained on."""


@dataclass(frozen=True)
class LoraSpec(AlgorithmSpec):
    """Shape of the adapter, optimiser and seed."""

    learning_rate: float = setting(
        1e-4, "Step size of Adam; LoRA takes 10 to 100 times what full training takes.", minimum=0.0, maximum=1.0
    )
    lora_rank: int = setting(16, "Rank of the adapter's matrices.", source="TRL ModelConfig", minimum=1, maximum=256)
    lora_alpha: int = setting(
        32, "The adapter's output is scaled by alpha / rank.", source="TRL ModelConfig", minimum=1
    )
    max_grad_norm: float = setting(
        1.0, "Gradients longer than this are shortened to it.", minimum=1e-6, advanced=True, source="transformers"
    )
    max_length: int = setting(
        1024,
        "Longest prompt with its longest completion; what is longer is left out and counted.",
        unit="tokens",
        source="TRL",
        minimum=8,
        advanced=True,
    )
    seed: int = setting(0, "Everything random in the run is drawn from it.", minimum=0, advanced=True)
