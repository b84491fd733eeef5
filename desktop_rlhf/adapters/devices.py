"""Where the model lives and in which format: a GPU only after it did the same small work as the CPU, and right."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from desktop_rlhf.adapters.decoding import decoder
from desktop_rlhf.adapters.libraries import LlamaConfig, LlamaForCausalLM
from desktop_rlhf.adapters.packing import completion_logprobs, hidden_states, pack
from desktop_rlhf.adapters.precision import dtype_for
from desktop_rlhf.adapters.resident import ResidentModel, Role
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.settings import asked_device

logger = logging.getLogger(__name__)

KINDS = ("cuda", "mps")
"""Tried in this order."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a device may be from the CPU in float32.

    Attributes:
        logprobs:  nats, the largest difference of a token's log-probability.
        gradients: of each of an adapter's matrices, the difference's length as a share of the gradient's own.
    """

    logprobs: float
    gradients: float


TOLERANCES = {torch.float32: Tolerance(1e-3, 1e-3), torch.bfloat16: Tolerance(0.1, 0.05)}
"""float16 is not among them: its range is too small for gradients that nothing scales."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a base is kept and in which format."""

    device: torch.device
    dtype: torch.dtype


def place_for(model_folder: Path) -> Place:
    """The device for every model here, with the fastest format for this one that is right on it.

    Raises:
        BadInputError: ``DESKTOP_RLHF_DEVICE`` names no device.
    """
    device = chosen_device(asked_device())
    if device.type != "cpu" and (wrong := fault(device, torch.bfloat16)):
        logger.warning("float32 is used on %s: %s", in_words(device), wrong)
        dtype = torch.float32
    else:
        dtype = dtype_for(model_folder, device.type)
    logger.info("the model is kept on %s in %s", in_words(device), dtype)
    return Place(device, dtype)


@cache
def chosen_device(asked: str = "auto") -> torch.device:
    """The first GPU that is right in float32, tried once per process; the CPU where there is none.

    Args:
        asked: ``auto``, or the one kind that comes into question.

    Raises:
        BadInputError: there is no such kind.
    """
    if asked not in ("auto", "cpu", *KINDS):
        raise BadInputError(
            f"DESKTOP_RLHF_DEVICE is “{asked}”, and there is no such device.",
            f"Set it to auto, cpu, {' or '.join(KINDS)}.",
        )
    _leave_out_cudnn_attention()
    for kind in (kind for kind in KINDS if asked in ("auto", kind)):
        if is_there(kind):
            device = torch.device(kind)
            if (wrong := fault(device, torch.float32)) is None:
                return device
            logger.warning("%s is not used: %s", in_words(device), wrong)
        elif asked == kind:
            logger.warning("there is no %s device here; the CPU is used", kind)
    return torch.device("cpu")


def _leave_out_cudnn_attention() -> None:
    """For the whole process. It makes a plan for each new shape, which takes as long as hundreds of calls, and here
    hardly two forwards have the same."""
    torch.backends.cuda.enable_cudnn_sdp(False)


def is_there(kind: str) -> bool:
    """Whether torch can use a device of a kind on this machine."""
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


def in_words(device: torch.device) -> str:
    """A device with its name, as ``cuda (NVIDIA H100)``; the CPU is just ``cpu``."""
    if device.type == "cpu":
        return "cpu"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device.type} ({name})"


def fault(device: torch.device, dtype: torch.dtype) -> str | None:
    """What is wrong with a small forward and backward on a device, and some steps of decoding; None when nothing is.

    It goes through everything that training is made of: linears with an adapter, norms, gates, rotations, attention
    with a mask, the projection to a vocabulary and the softmax over it, and keys and values that are kept from one step
    to the next.
    """
    allowed = TOLERANCES[dtype]
    right = small_work(torch.device("cpu"), torch.float32)
    try:
        found = small_work(device, dtype)
    except (RuntimeError, TypeError) as error:  # an operation or a format that is not there
        return f"the start-up test broke off: {error}"
    said = ((found.logprobs, right.logprobs), (found.decoded, right.decoded))
    apart = torch.stack([(other - own).abs().max() for other, own in said]).max().item()
    pairs = zip(found.gradients, right.gradients, strict=True)
    off = torch.stack([(other - own).norm() / own.norm() for other, own in pairs]).max().item()
    if not (apart <= allowed.logprobs and off <= allowed.gradients):  # NaN is neither more nor less
        return (
            f"in {dtype} log-probabilities differ from the CPU's by {apart:.2g} nats (up to {allowed.logprobs:g} is "
            f"right) and gradients by {off:.2g} of their length (up to {allowed.gradients:g})"
        )
    return None


@dataclass(frozen=True, slots=True)
class Work:
    """What ``small_work`` came to, on the CPU in float32.

    Attributes:
        logprobs:  [N, C] nats.
        gradients: of a weighted sum of them, in each of an adapter's matrices.
        decoded:   [R, 3] nats, the first three tokens of each completion that has as many, written one at a time.
    """

    logprobs: Tensor
    gradients: tuple[Tensor, ...]
    decoded: Tensor


GROUPS = [
    (list(range(100, 137)), [list(range(300, 319)), [7], list(range(900, 860, -1))]),
    ([5, 6], [[11, 12, 13], list(range(40, 52))]),
]
"""Prompts and completions of the test, as ids; with each prompt go two completions of three tokens or more."""


def small_work(device: torch.device, dtype: torch.dtype) -> Work:
    """A forward and backward of an adapter on a small random Llama, then some steps of decoding with it.

    The weights are the same wherever it is done.
    """
    config = LlamaConfig(
        vocab_size=2048, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.05,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = LlamaForCausalLM(config)
    for parameter in base.parameters():  # and not the angles of the rotations, which are float32 in every model
        parameter.data = parameter.data.to(dtype)
    model = ResidentModel(base.to(device), SimpleNamespace(eos_token_id=1, chat_template=None))
    model.new_adapter("tried", rank=4, alpha=8, seed=0)
    model.take_role(Role("tried", trainable=True))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.trainable_parameters():  # half of them start at 0, where a fault would not show
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    packed = pack(GROUPS, device)
    logprobs = completion_logprobs(model, hidden_states(model, packed), packed)
    weights = torch.linspace(0.5, 1.5, logprobs.numel()).view(logprobs.shape).to(device)
    gradients = torch.autograd.grad((logprobs * weights).sum(), model.trainable_parameters())
    return Work(logprobs.detach().cpu(), tuple(gradient.cpu() for gradient in gradients), _decoded(model).cpu())


def _decoded(model: ResidentModel) -> Tensor:
    """``Work.decoded``, still on the model's device: what the prompts say of the first token, and two steps."""
    begun = [ids[:3] for _, completions in GROUPS for ids in completions if len(ids) >= 3]
    tokens = torch.tensor(begun).to(model.device)
    rows = decoder(model, "tried", rows=len(begun), longest=64)
    states = [rows.admit([prompt for prompt, _ in GROUPS], copies=2)]
    states += [rows.step(tokens[:, place]) for place in range(2)]  # on CUDA the second is played back
    hidden = torch.stack(states, dim=1).flatten(0, 1).float()
    return model.vocabulary.scores(hidden, tokens.flatten()).logprobs.view(tokens.shape)
