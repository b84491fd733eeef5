from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from desktop_rlhf.adapters import decoding
from desktop_rlhf.adapters.decoding import FusedDecoder, PlainDecoder, decoder
from desktop_rlhf.adapters.few_rows import WAYS
from desktop_rlhf.adapters.packing import hidden_states, pack
from desktop_rlhf.adapters.resident import ResidentModel, Role

from .test_fused import MAKERS, made

PROMPTS = [[5, 6, 7, 8, 9], [20], [30, 31, 32]]
OPENING = [70, 71, 72, 73, 74, 75, 76, 77, 78]
OPENED = [[*OPENING, *prompt] for prompt in PROMPTS]


def own_hidden(model, adapter: str | None, ids: list[int]) -> torch.Tensor:
    """[H] the last hidden state of one sequence, as transformers runs it."""
    model.take_role(Role(adapter))
    with torch.no_grad():
        return model.trunk(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1]


@pytest.fixture(params=[False, True], ids=["as it is", "as on CUDA"])
def recorded(request, monkeypatch) -> bool:
    """Whether steps are rounded up to the sizes that are recorded on CUDA; they are done here all the same."""
    if request.param:
        monkeypatch.setattr(decoding, "recordings_on", lambda device: lambda work, *given: work(*given))
    return request.param


@pytest.mark.parametrize("prompts", [PROMPTS, OPENED], ids=["", "opened"])
@pytest.mark.parametrize("adapter", [None, "one", "other"])
@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_that_a_decoder_says_what_the_models_own_forward_says_whoever_leaves_and_enters(
    maker, adapter, prompts, llama, recorded
) -> None:
    model = made(maker, llama.tokenizer)
    rows = decoder(model, adapter, rows=6, longest=30)
    assert isinstance(rows, FusedDecoder)
    model.take_role(Role("other"))  # what else is done with the model changes nothing
    hidden = rows.admit(prompts, copies=2)
    texts = [list(prompt) for prompt in prompts for _ in range(2)]
    entering = [40, 41, 42]
    for turn in range(6):
        for text, state in zip(texts, hidden, strict=True):
            assert torch.allclose(state, own_hidden(model, adapter, text), atol=1e-4)
        tokens = [100 + 10 * turn + row for row in range(len(texts))]
        if turn in (1, 3):  # the first and another leave
            order = rows.keep([row for row in range(len(texts)) if row not in (0, 2)])
            texts, tokens = [texts[row] for row in order], [tokens[row] for row in order]
        hidden = rows.step(torch.tensor(tokens))
        texts = [[*text, token] for text, token in zip(texts, tokens, strict=True)]
        if turn == 2:
            assert rows.room == 2
            hidden = torch.cat((hidden, rows.admit([entering], copies=1)))
            texts.append(entering)


def test_that_the_base_is_not_touched_by_decoding(llama) -> None:
    model = made(MAKERS["qwen2"], llama.tokenizer)
    before = model.base_sha256()
    for adapter in ("one", None):
        decoder(model, adapter, rows=2, longest=20).admit(PROMPTS[:1], copies=2)
    assert model.base_sha256() == before


def test_that_other_models_decode_by_their_own_forward_a_batch_at_a_time(resident) -> None:
    resident.fused = None
    rows = decoder(resident, None, rows=6, longest=20)
    assert isinstance(rows, PlainDecoder)
    assert rows.room == 6
    hidden = rows.admit(PROMPTS, copies=1)
    assert rows.room == 0
    for prompt, state in zip(PROMPTS, hidden, strict=True):
        assert torch.allclose(state, own_hidden(resident, None, prompt), atol=1e-4)
    assert rows.keep([]) == []
    assert rows.room == 6


def test_that_a_model_in_bfloat16_decodes_near_what_it_says_itself(llama) -> None:
    model = made(MAKERS["llama"], llama.tokenizer, torch.bfloat16)
    rows = decoder(model, "one", rows=3, longest=20)
    hidden = rows.admit(PROMPTS, copies=1)
    hidden = rows.step(torch.tensor([50, 51, 52]))
    for prompt, token, state in zip(PROMPTS, (50, 51, 52), hidden, strict=True):
        own = own_hidden(model, "one", [*prompt, token])
        assert (state - own).abs().max() < 0.1 * own.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("decodes", [True, False], ids=["written", "learned from"])
def test_that_a_short_base_does_not_lose_the_little_that_an_adapter_says_at_first(llama, decodes) -> None:
    """It is less than the last place of the weights and of what they make, and is lost where it meets those rounded.

    Each number is off by as much as that, so many of them are held against what float32 makes of it.
    """
    prompts = torch.randint(2, 258, (600, 6), generator=torch.Generator().manual_seed(0)).tolist()

    def said(model: ResidentModel, adapter: str | None) -> torch.Tensor:
        if decodes:
            return decoder(model, adapter, rows=len(prompts), longest=20).admit(prompts, copies=1).float()
        model.take_role(Role(adapter))
        packed = pack([(prompt, [[5]]) for prompt in prompts])
        return hidden_states(model, packed)[packed.before[:, 0]]

    def learned(dtype: torch.dtype) -> torch.Tensor:
        model = made(MAKERS["llama"], llama.tokenizer, dtype)
        for name, parameter in model._adapter_parameters("one"):
            if "lora_B" in name:
                parameter.mul_(4e-3)
        return (said(model, "one") - said(model, None)).flatten()

    short, wide = learned(torch.bfloat16), learned(torch.float32)
    assert (short @ wide / (wide @ wide)).item() == pytest.approx(1, abs=0.25)


class Products(TorchDispatchMode):
    """How many rows and columns the products had that were made."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: set[int] = set()
        self.columns: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in ("aten::mm", "aten::addmm", "aten::addmm_"):
            self.rows.add(len(args[-2]))
            self.columns.add(args[-1].shape[1])
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("adapter", [None, "one"])
def test_that_products_in_bfloat16_come_in_few_sizes_however_many_tokens_and_rows_there_are(
    adapter, way, llama
) -> None:
    """For each new size the library prepares code and keeps it: a long run would hold ever more."""
    model = made(MAKERS["llama"], llama.tokenizer, torch.bfloat16)
    for layer in model.fused.layers:
        for own in layer.linears:
            own.few_go_by = way
    with Products() as products:
        for size in range(1, 40):
            rows = decoder(model, adapter, rows=20, longest=60)
            hidden = rows.admit([[7] * size], copies=20)
            hidden = rows.step(torch.arange(20))
            rows.keep(range(1 + size % 20))
            hidden = rows.step(torch.arange(1 + size % 20)).float()
            model.vocabulary.scores(hidden.requires_grad_(), torch.arange(len(hidden)))
    of_weights = {4, 8, 12, 128, 258}
    assert (products.rows | products.columns) - of_weights == {16, 24, 32, 64}
    assert {8, 16, 24} <= getattr(products, way)
    assert way == "columns" or products.columns.isdisjoint({16, 24})


def test_that_what_all_prompts_begin_with_is_read_once(llama) -> None:
    with Products() as products:
        decoder(llama, None, rows=3, longest=20).admit(OPENED, copies=1)
    assert products.rows == {len(OPENING) + sum(map(len, PROMPTS))}


def test_that_memory_that_nobody_wrote_is_not_read(llama) -> None:
    """What an allocator hands out may hold NaN, and NaN times a weight of 0 is NaN."""
    torch.use_deterministic_algorithms(True)  # which fills memory with NaN before it is handed out
    try:
        written = decoder(llama, None, 2, 12)
        written.admit([[5, 6, 7, 8, 9], [10]], 1)
        states = written.step(torch.tensor([11, 12]))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.isfinite(states).all()
    packed = pack([([5, 6, 7, 8, 9], [[11]]), ([10], [[12]])])
    with torch.no_grad():
        wanted = hidden_states(llama, packed)[packed.last]
    assert torch.allclose(states, wanted, atol=1e-4)
