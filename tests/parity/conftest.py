"""The same tiny weights, texts and batch on both sides: the program's own training run, and TRL's trainer.

TRL is imported where it is used, so that these files can be collected in an environment without it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from desktop_rlhf.adapters.optimizer import AdamW
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.records.comparisons import JudgedCompletion, PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.reward.model import RewardHead
from desktop_rlhf.runs.algorithm import resolve
from desktop_rlhf.runs.common import LoraSpec
from desktop_rlhf.runs.events import Noted, StepTaken
from desktop_rlhf.runs.stop import StopToken

TOLERANCE = 1e-5
"""Of losses and rewards in their own units, of gradients as a share of the largest entry of all of them."""
RANK, ALPHA = 4, 8
SHAPE = {"lora_rank": RANK, "lora_alpha": ALPHA, "max_grad_norm": 1e9, "max_length": 128}

Draw: TypeAlias = Callable[[str, Sequence[int], float], Tensor]
"""A weight's name, shape and scale to its numbers."""

OF_TRL = ("`is_gradient_checkpointing` is deprecated",)
"""Beginnings of warnings at what TRL itself calls, of which this side can change nothing."""


@pytest.hookimpl(tryfirst=True)  # before the tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("parity")
            for beginning in OF_TRL:
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{beginning}"))


def drawn(name: str, shape: Sequence[int], scale: float) -> Tensor:
    """Normal numbers that hang on the name alone, so that both sides draw the same for the same weight."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode()))) * scale


def started(name: str, shape: Sequence[int], scale: float) -> Tensor:
    """The weights of an adapter that training continues from."""
    return drawn(f"started {name}", shape, scale)


def make(family: str, head: str) -> Any:
    """A random two-layer model with ``head`` ForCausalLM or ForSequenceClassification over the same trunk."""
    import transformers

    common = {"vocab_size": 258, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "num_labels": 1}
    if family == "gpt2":
        config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, **common)
        classes = {"ForCausalLM": transformers.GPT2LMHeadModel}
        classes["ForSequenceClassification"] = transformers.GPT2ForSequenceClassification
    else:
        name = {"llama": "Llama", "qwen2": "Qwen2"}[family]
        config = getattr(transformers, f"{name}Config")(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=128, tie_word_embeddings=family == "qwen2", **common,
        )  # fmt: skip
        classes = {kind: getattr(transformers, name + kind) for kind in ("ForCausalLM", "ForSequenceClassification")}
    with torch.random.fork_rng():
        model = classes[head](config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(drawn(name, parameter.shape, 0.2) + is_norm)
    return model.eval()


@dataclass(frozen=True)
class Measured:
    """One batch's numbers: losses and rewards by the curve's name, and the gradient of every trained weight."""

    metrics: Mapping[str, float]
    gradients: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


class Prepared(ResidentModel):
    """A resident model on which the adapter to be trained has ``drawn`` weights at once, as if trained already."""

    def new_adapter(self, name: str, *, rank: int, alpha: int, seed: int) -> None:
        super().new_adapter(name, rank=rank, alpha=alpha, seed=seed)
        self.draw(name, drawn)

    def attach(self, name: str, path: Path) -> None:
        super().attach(name, path)
        if name.startswith("policy-"):
            self.draw(name, drawn)

    def draw(self, name: str, draw: Draw) -> None:
        with torch.no_grad():
            for key, parameter in self._adapter_parameters(name):
                parameter.copy_(draw(place_of(key, name), parameter.shape, 0.1))


def place_of(key: str, adapter: str) -> str:
    """The name of a LoRA weight, the same for both sides."""
    return key.removeprefix("base_model.model.").replace(f".{adapter}.", ".")


class PreparedHead(RewardHead):
    """A reward head with the weights that TRL's gets."""

    def __init__(self, hidden_size: int, pooling: str) -> None:
        super().__init__(hidden_size, pooling)
        with torch.no_grad():
            self.weight.copy_(drawn("score.weight", (1, hidden_size), 0.2)[0])


class Ours:
    """The program's side: one run of one step over everything that it is given."""

    def __init__(self, family: str, tokenizer: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = Prepared(make(family, "ForCausalLM"), tokenizer)
        self._path = path
        self._runs = 0
        self._taken: dict[str, Tensor] = {}
        monkeypatch.setattr("desktop_rlhf.reward.train.RewardHead", PreparedHead)
        monkeypatch.setattr(AdamW, "step", lambda optimizer: self._take(optimizer))

    def start(self) -> Path:
        """A saved adapter with the weights ``started``."""
        self.model.new_adapter("start", rank=RANK, alpha=ALPHA, seed=0)
        self.model.draw("start", started)
        self.model.save_adapter("start", self._path / "start")
        self.model.detach("start")
        return self._path / "start"

    def _take(self, optimizer: AdamW) -> None:
        """Instead of a step: look at the gradients and change nothing."""
        names = {id(parameter): name for name, parameter in self.model.base.named_parameters()}
        adapter = self.model.role.adapter
        parameters = list(optimizer.parameters())
        self._taken = {
            place_of(names[id(p)], adapter) if id(p) in names else "score.weight": p.grad.clone() for p in parameters
        }

    def __call__(
        self,
        spec_class: type[LoraSpec],
        settings: Mapping[str, Any],
        *,
        groups: Sequence[PreferenceGroup] = (),
        judged: Sequence[JudgedCompletion] = (),
        start_path: Path | None = None,
    ) -> Measured:
        self._runs += 1
        spec = spec_class(**SHAPE | {"batch_size": len(groups) or len(judged)} | settings)
        out = self._path / f"run-{self._runs}"
        inputs = TrainingInputs(self.model, start_path, tuple(groups), (), None, out, tuple(judged))
        events = list(resolve(spec_class)(spec, inputs, StopToken()))
        (step,) = [event for event in events if isinstance(event, StepTaken)]
        notes = tuple(event.sentence for event in events if isinstance(event, Noted))
        return Measured(step.metrics, self._taken, notes)


class Theirs:
    """TRL's side: a trainer made over a data set of texts, and its loss of the one batch that its loader gives."""

    def __init__(self, family: str, tokenizer: Any, path: Path) -> None:
        self._family = family
        self.tokenizer = tokenizer
        self._path = path

    def trainer(
        self,
        trainer_class: type,
        config_class: type,
        rows: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Any],
        *,
        head: str = "ForCausalLM",
        continued: bool = False,
    ) -> Any:
        """A trainer whose adapter has ``drawn`` weights.

        Args:
            continued: the adapter is a trained one, whose weights were ``started``, so that these are the reference.
        """
        from datasets import Dataset
        from peft import LoraConfig, get_peft_model

        model = make(self._family, head)
        lora = LoraConfig(
            r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear",
            fan_in_fan_out=self._family == "gpt2",
            task_type="CAUSAL_LM" if head == "ForCausalLM" else "SEQ_CLS",
            modules_to_save=None if head == "ForCausalLM" else ["score"],
        )  # fmt: skip
        if continued:
            model = get_peft_model(model, lora)
            fill(model, started)
        made = trainer_class(
            model=model,
            args=config_class(
                **{
                    "output_dir": str(self._path / "trl"), "per_device_train_batch_size": len(rows), "max_length": 128,
                    "bf16": False, "use_cpu": True, "activation_checkpointing": False, "report_to": "none",
                    "dataloader_drop_last": False, "disable_tqdm": True,
                }
                | settings
            ),
            train_dataset=Dataset.from_list([dict(row) for row in rows]),
            processing_class=self.tokenizer,
            peft_config=None if continued else lora,
        )  # fmt: skip
        fill(made.model, drawn)
        return made

    def measured(self, trainer: Any, loss_of: Callable[[Any, Any, Any], Tensor] | None = None) -> Measured:
        """Loss, what TRL logs of the batch, and gradients.

        Args:
            loss_of: (trainer, model, batch) -> loss, in place of the trainer's own.
        """
        model = trainer.model.train()
        (batch,) = trainer.get_train_dataloader()
        model.zero_grad()
        loss = trainer.compute_loss(model, batch) if loss_of is None else loss_of(trainer, model, batch)
        loss.backward()
        logged = trainer._metrics if hasattr(trainer, "_metrics") else trainer._stored_metrics
        gradients = {
            place_of(name, "default").replace(".modules_to_save", ""): parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        metrics = {name: values[-1] for name, values in logged["train"].items()}
        return Measured(metrics | {"loss": loss.item()}, gradients)


def fill(model: Any, draw: Draw) -> None:
    """Give the adapter that is to be trained, which peft calls the default, its weights."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name and ".ref." not in name:
                parameter.copy_(draw(place_of(name, "default"), parameter.shape, 0.1))


def sum_of(parts: Sequence[tuple[float, Measured]]) -> Measured:
    """The weighted sum of several batches' numbers."""
    names = set.intersection(*(set(one.metrics) for _, one in parts))
    places = parts[0][1].gradients
    return Measured(
        {name: sum(weight * one.metrics[name] for weight, one in parts) for name in names},
        {place: sum(weight * one.gradients[place] for weight, one in parts) for place in places},
    )


def assert_alike(ours: Measured, theirs: Measured, names: Sequence[str]) -> None:
    """Losses and rewards in ``names`` and every gradient are the same within ``TOLERANCE``, and there are gradients."""
    apart = {name: abs(ours.metrics[name] - theirs.metrics[name]) for name in names}
    assert max(apart.values()) <= TOLERANCE, apart
    assert ours.gradients.keys() == theirs.gradients.keys()
    largest = max(gradient.abs().max().item() for gradient in theirs.gradients.values())
    assert largest > 1e-3
    for place, gradient in theirs.gradients.items():
        mine = ours.gradients[place].reshape(gradient.shape)
        assert (mine - gradient).abs().max().item() <= TOLERANCE * largest, place


BEGIN = "<s>"
"""The token that begins every prompt, by the template on our side; TRL's ORPO would add it."""


@dataclass(frozen=True)
class Texts:
    """A prompt, and its completions, the best first. The end token is not in the texts: both sides add it."""

    prompt: str
    completions: tuple[str, ...]
    strength: int | None = None

    def group(self, number: int) -> PreferenceGroup:
        """As the program takes it."""
        prompt = Prompt(f"p{number}", (Message("user", self.prompt),))
        completions = tuple(
            Completion(f"c{number}.{place}", prompt.id, "g", None, text, (), True, Sampler(), 0)
            for place, text in enumerate(self.completions)
        )
        count = len(completions)
        pairs = tuple((better, worse) for better in range(count) for worse in range(better + 1, count))
        return PreferenceGroup(f"g{number}", prompt, completions, pairs, self.strength)

    def rows(self) -> list[dict[str, str]]:
        """As TRL takes it: a row for each pair."""
        return [
            {"prompt": BEGIN + self.prompt, "chosen": better, "rejected": worse}
            for place, better in enumerate(self.completions)
            for worse in self.completions[place + 1 :]
        ]


PAIRS = (
    Texts("one", ("yes, is", "no"), 1),
    Texts("and two? ", ("b", "longer"), 4),
    Texts("3", ("some", "more"), 2),
    Texts("what is four", ("fourth.", "4 4"), 3),
    Texts("5", ("is odd", "?")),
    Texts("six of them", ("", "6"), 4),
    Texts("seventh", ("7th", "8th, or"), 3),
    Texts("8", ("eight", "ate"), 1),
)
"""Pairs of different lengths, so that both sides pad."""


class Bench:
    """Everything that a comparison takes."""

    Texts = Texts
    begin = BEGIN
    texts = PAIRS
    few = PAIRS[:4]

    alike = staticmethod(assert_alike)
    sum_of = staticmethod(sum_of)

    def __init__(self, ours: Ours, theirs: Theirs) -> None:
        self.ours = ours
        self.theirs = theirs

    @staticmethod
    def groups(texts: Sequence[Texts]) -> list[PreferenceGroup]:
        return [one.group(number) for number, one in enumerate(texts)]

    def cut(self, group: PreferenceGroup, length: int) -> PreferenceGroup:
        """A group whose completions were broken off where they reached ``length`` tokens with their prompt."""
        left = length - len(self.ours.model.prompt_ids(group.prompt.messages))
        return replace(group, completions=tuple(replace(c, completion_ids=ids[:left]) for c, ids in self.ids(group)))

    def ids(self, group: PreferenceGroup) -> list[tuple[Completion, tuple[int, ...]]]:
        """Each completion of a group with its ids, the end token last."""
        return [(c, tuple(self.ours.model.completion_ids(c.text))) for c in group.completions]

    @staticmethod
    def rows(texts: Sequence[Texts]) -> list[dict[str, str]]:
        return [row for one in texts for row in one.rows()]


@pytest.fixture(params=["gpt2", "llama", "qwen2"])
def bench(request, tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """With absolute positions; with rotary ones; with rotary ones and embeddings that are the projection too."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")  # ORPO and CPO are among TRL's experimental trainers
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_path)
    tokenizer.chat_template = BEGIN + "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.pad_token = "<s>"
    return Bench(Ours(request.param, tokenizer, tmp_path, monkeypatch), Theirs(request.param, tokenizer, tmp_path))
