"""Adapters behind the weights of a base in bfloat16: whoever lay there before, and however much room there was."""

from __future__ import annotations

from weakref import ref

import pytest
import torch

from desktop_rlhf.adapters.decoding import decoder
from desktop_rlhf.adapters.few_rows import WAYS
from desktop_rlhf.adapters.fused import USUAL_RANK
from desktop_rlhf.adapters.resident import ResidentModel

from .test_fused import MAKERS, made, measured

PROMPTS = [[5, 6, 7, 8, 9], [20], [30, 31, 32]]
RANKS = {"narrow": 2, "wide": USUAL_RANK + 4}


def short(kind: str, tokenizer, dtype: torch.dtype = torch.bfloat16) -> ResidentModel:
    """A model in bfloat16 with adapters of several ranks, all of which change something."""
    model = made(MAKERS[kind], tokenizer, dtype)
    for name, rank in RANKS.items():
        model.new_adapter(name, rank=rank, alpha=2 * rank, seed=2)
        with torch.no_grad():
            for _, parameter in model._adapter_parameters(name):
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(rank))
    return model


@pytest.mark.parametrize("name", ["one", *RANKS])
@pytest.mark.parametrize("kind", MAKERS)
def test_that_a_short_base_says_with_an_adapter_what_a_wide_one_says(kind, name, llama) -> None:
    model = short(kind, llama.tokenizer)
    logprobs, gradient = measured(model, name)
    model.base.float()
    model.fused = None
    wide_logprobs, wide_gradient = measured(model, name)
    assert (logprobs - wide_logprobs).abs().max() < 0.15
    assert (gradient - wide_gradient).norm() < 0.1 * wide_gradient.norm()


def hidden_of(model: ResidentModel, adapter: str | None) -> torch.Tensor:
    """What a decoder says of three rows and one more token of each."""
    rows = decoder(model, adapter, rows=3, longest=20)
    return torch.cat((rows.admit(PROMPTS, copies=1), rows.step(torch.tensor([50, 51, 52]))))


@pytest.mark.parametrize("name", [None, "one", *RANKS])
@pytest.mark.parametrize("kind", MAKERS)
def test_that_a_short_base_writes_what_a_wide_one_writes(kind, name, llama) -> None:
    model = short(kind, llama.tokenizer)
    states = hidden_of(model, name).float()
    wide = short(kind, llama.tokenizer, torch.float32)
    wanted = hidden_of(wide, name)
    assert (states - wanted).norm() < 0.05 * wanted.norm()


@pytest.mark.parametrize("name", [None, "one"])
@pytest.mark.parametrize("kind", MAKERS)
def test_that_few_rows_are_the_same_by_rows_and_by_columns(kind, name, llama) -> None:
    """Within a rounding of bfloat16, since not every processor's library sums both in one order."""
    model = short(kind, llama.tokenizer)
    said = []
    for way in WAYS:
        for layer in model.fused.layers:
            for own in layer.linears:
                own.few_go_by = way
        said.append(hidden_of(model, name).float())
    assert (said[0] - said[1]).norm() < 0.01 * said[0].norm()


@pytest.mark.parametrize("kind", MAKERS)
def test_that_what_lay_behind_the_weights_before_changes_nothing(kind, llama) -> None:
    """To the last bit, among adapters of several ranks, each of which leaves its own numbers there."""
    first = hidden_of(short(kind, llama.tokenizer), "one")
    model = short(kind, llama.tokenizer)
    for before in ("narrow", "wide", "other", None):
        hidden_of(model, before)
        assert torch.equal(hidden_of(model, "one"), first)


@pytest.mark.parametrize("adapter", [None, "one", "narrow", "wide"])
@pytest.mark.parametrize("kind", MAKERS)
def test_that_rows_are_written_as_ever_while_others_learn_and_write(kind, adapter, llama) -> None:
    def written(model: ResidentModel, between) -> torch.Tensor:
        rows = decoder(model, adapter, rows=3, longest=20)
        states = [rows.admit(PROMPTS, copies=1)]
        for token in (50, 60, 70):
            between(model)
            states.append(rows.step(torch.arange(token, token + 3)))
        return torch.stack(states)

    others = []

    def disturb(model: ResidentModel) -> None:
        for other in ("narrow", None, "other"):
            measured(model, other)
            others.append(decoder(model, other, rows=1, longest=20))
            others[-1].admit(PROMPTS[:1], copies=1)

    alone = written(short(kind, llama.tokenizer), lambda model: None)
    disturbed = written(short(kind, llama.tokenizer), disturb)
    assert torch.equal(alone, disturbed)


def test_that_nothing_of_a_decoder_is_kept_once_it_is_gone(llama) -> None:
    model = short("llama", llama.tokenizer)
    rows = decoder(model, "one", rows=3, longest=20)
    rows.admit(PROMPTS, copies=1)
    spoken = ref(rows._layers[0].down)
    del rows
    assert spoken() is None


def test_that_rows_are_written_under_the_adapter_as_it_was_when_they_began(llama) -> None:
    model = short("llama", llama.tokenizer)
    rows = decoder(model, "one", rows=3, longest=20)
    rows.admit(PROMPTS, copies=1)
    with torch.no_grad():
        for _, parameter in model._adapter_parameters("one"):
            parameter.zero_()
    measured(model, "one")
    learned_since = rows.step(torch.tensor([50, 51, 52]))
    untouched = decoder(short("llama", llama.tokenizer), "one", rows=3, longest=20)
    untouched.admit(PROMPTS, copies=1)
    assert torch.equal(learned_since, untouched.step(torch.tensor([50, 51, 52])))


@pytest.mark.parametrize("kind", MAKERS)
def test_that_weights_that_were_moved_are_the_same(kind, llama) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untouched = MAKERS[kind]().to(torch.bfloat16)
    model = short(kind, llama.tokenizer)
    measured(model, "wide")
    assert model.base_sha256() == ResidentModel(untouched.float().to(torch.bfloat16), llama.tokenizer).base_sha256()
    moved = [
        p
        for n, p in model.base.named_parameters()
        if n.endswith(("q_proj.base_layer.weight", "down_proj.base_layer.weight"))
    ]
    assert moved
    assert not any(parameter.is_contiguous() for parameter in moved)
