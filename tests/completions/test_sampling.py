from __future__ import annotations

import pytest
import torch

from desktop_rlhf.adapters.decoding import FusedDecoder
from desktop_rlhf.adapters.resident import ResidentModel
from desktop_rlhf.adapters.vocabulary import Vocabulary
from desktop_rlhf.completions import sampling
from desktop_rlhf.completions.sampling import (
    MOST_KEPT,
    MOST_ROWS,
    Drawn,
    Sampling,
    Written,
    filtered_weights,
    inverted,
    most_rows,
    sample,
)
from desktop_rlhf.records.completions import Sampler
from desktop_rlhf.runs.stop import StopToken

PROMPTS = [[5, 9, 200, 17], [8] * 9, [100, 3]]


def finish(work: Sampling) -> list[Drawn] | None:
    """Drive a sampling generator to its end and give what it returns."""
    with pytest.raises(StopIteration) as ended:
        while True:
            next(work)
    return ended.value.value


def run(resident: ResidentModel, prompts: list[list[int]], seeds: list[int], sampler: Sampler) -> list[Drawn]:
    work = sample(resident, None, prompts, seeds, sampler, StopToken())
    drawn = finish(work)
    assert drawn is not None
    return drawn


def test_that_greedy_decoding_in_a_batch_equals_the_plain_forward(resident) -> None:
    sampler = Sampler(temperature=0, max_new_tokens=20)
    together = run(resident, PROMPTS, [0, 1, 2], sampler)
    for prompt, drawn in zip(PROMPTS, together, strict=True):
        ids = list(prompt)
        for token in drawn.completion_ids:
            with torch.no_grad():
                assert token == resident.base(torch.tensor([ids])).logits[0, -1].argmax().item()
            ids.append(token)


def test_that_a_completion_depends_on_its_own_seed_and_not_on_its_neighbours(resident) -> None:
    sampler = Sampler(max_new_tokens=12)
    together = run(resident, PROMPTS, [11, 12, 21, 22, 31, 32], sampler)
    assert run(resident, [PROMPTS[1]], [21, 22], sampler) == together[2:4]
    assert len({d.completion_ids for d in together}) == 6


def test_that_a_completion_ends_with_the_end_token_or_at_the_limit(resident) -> None:
    drawn = run(resident, PROMPTS, list(range(60)), Sampler(temperature=1.5, max_new_tokens=40))
    assert any(d.ended for d in drawn)
    for d in drawn:
        assert (d.completion_ids[-1] in resident.end_ids) == d.ended
        assert not set(d.completion_ids[:-1]) & resident.end_ids
        assert d.ended or len(d.completion_ids) == 40


def test_that_tokens_are_drawn_in_proportion_to_their_probability(llama) -> None:
    count = 3000
    drawn = run(llama, [PROMPTS[0]], list(range(count)), Sampler(temperature=2.0, max_new_tokens=1))
    with torch.no_grad():
        expected = (llama.base(torch.tensor([PROMPTS[0]])).logits[0, -1] / 2.0).softmax(-1)
    seen = torch.bincount(torch.tensor([d.completion_ids[0] for d in drawn]), minlength=258) / count
    four_sigma = 4 * (expected * (1 - expected) / count).sqrt() + 2 / count
    assert ((seen - expected).abs() < four_sigma).all()


def test_that_rows_that_end_make_room_for_prompts_that_wait(resident, monkeypatch) -> None:
    sampler = Sampler(temperature=1.5, max_new_tokens=24)
    prompts, seeds = [PROMPTS[i % 3] for i in range(9)], list(range(18))
    at_once = run(resident, prompts, seeds, sampler)
    monkeypatch.setattr("desktop_rlhf.completions.sampling.MOST_ROWS", 5)
    work = sample(resident, None, prompts, seeds, sampler, StopToken())
    told, written = [], {}
    for part in work:
        if isinstance(part, Written):
            written[part.place] = part.drawn
        else:
            told.append(part.done)
    assert [written[place][copy] for place in range(9) for copy in range(2)] == at_once
    assert told == sorted(told)
    assert told[-1] == 18 * 24


@pytest.mark.parametrize("tokens", [7, 256, 600])
def test_that_a_draw_inverts_the_running_sum_of_the_weights(tokens) -> None:
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand(4, tokens, generator=generator) * (torch.rand(4, tokens, generator=generator) < 0.5)
    for share in (0.0, 0.2, 0.77, 0.999999):
        cumulative = weights.double().cumsum(-1)
        by_hand = [int((row <= share * row[-1]).sum()) for row in cumulative]
        assert inverted(weights, torch.full((4,), share, dtype=torch.double)).tolist() == by_hand


def test_that_a_stop_interrupts_sampling(llama) -> None:
    stop = StopToken()
    work = sample(llama, None, PROMPTS, [0, 1, 2], Sampler(max_new_tokens=64), stop)
    next(work)
    stop.request()
    with pytest.raises(StopIteration) as ended:
        next(work)
    assert ended.value.value is None


def test_that_the_filters_keep_what_they_promise() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    assert (filtered_weights(logits, Sampler(1.0, top_k=2)) > 0).tolist() == [[True, True, False, False]]
    assert (filtered_weights(logits, Sampler(1.0, top_p=0.7)) > 0).tolist() == [[True, True, False, False]]
    weights = filtered_weights(logits, Sampler(1.0))
    assert torch.allclose(weights / weights.sum(), logits.softmax(-1))


def test_that_two_hundred_ragged_prompts_are_answered_as_each_would_be_alone(resident) -> None:
    """Greedily: together, each token is the likeliest of the plain forward over its own row."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 40, (200,), generator=generator).tolist()
    prompts = [torch.randint(2, 258, (length,), generator=generator).tolist() for length in lengths]
    together = run(resident, prompts, [0] * 200, Sampler(temperature=0, max_new_tokens=8))
    for prompt, drawn in zip(prompts, together, strict=True):
        answer = torch.tensor(drawn.completion_ids)
        with torch.no_grad():
            logits = resident.base(torch.tensor([[*prompt, *drawn.completion_ids]])).logits[0, len(prompt) - 1 : -1]
        best = logits.max(-1).values
        assert (best - logits.gather(-1, answer.unsqueeze(-1)).squeeze(-1) < 1e-4).all()


def test_that_what_a_model_folder_says_of_sampling_changes_nothing(resident) -> None:
    sampler = Sampler(temperature=1.0, max_new_tokens=12)
    plain = run(resident, PROMPTS, [1, 2, 3], sampler)
    wishes = dict(do_sample=True, top_p=0.1, top_k=1, repetition_penalty=5.0, temperature=0.1, no_repeat_ngram_size=1)
    resident.base.generation_config.update(**wishes)
    assert run(resident, PROMPTS, [1, 2, 3], sampler) == plain


def test_that_prompts_are_read_some_at_a_time_and_all_are_answered(llama, monkeypatch) -> None:
    """Between two pieces of reading other work has its turn."""
    monkeypatch.setattr(sampling, "MOST_READ", 20)
    read: list[int] = []
    honest = FusedDecoder.admit

    def counted(self, prompts, copies):
        read.append(sum(map(len, prompts)))
        return honest(self, prompts, copies)

    monkeypatch.setattr(FusedDecoder, "admit", counted)
    prompts = [[5 + place] * size for place, size in enumerate((9, 9, 9, 30, 4, 4))]
    pieces = list(sample(llama, None, prompts, list(range(6)), Sampler(max_new_tokens=3), StopToken()))
    assert read == [18, 9, 30, 8]
    assert {part.place for part in pieces if isinstance(part, Written)} == set(range(6))


def test_that_rows_are_as_many_as_their_memory_allows_and_copies_are_never_parted() -> None:
    assert most_rows(completions=256, copies=4, longest=200) == MOST_ROWS
    assert most_rows(completions=6, copies=2, longest=200) == 6
    assert most_rows(completions=256, copies=2, longest=2048) * 2048 <= MOST_KEPT
    assert most_rows(completions=8, copies=8, longest=1_000_000) == 8


def test_that_a_short_base_draws_by_what_is_scored(llama, monkeypatch) -> None:
    """Of the likely tokens; all logits rounded to bfloat16 would be off by up to a 256th of themselves, not alike."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    honest = Vocabulary.logits
    monkeypatch.setattr(
        Vocabulary, "logits", lambda self, hidden: seen.append((hidden, honest(self, hidden))) or seen[-1][1]
    )
    with torch.no_grad():
        llama.base.get_output_embeddings().weight.mul_(8)  # logits as large as a trained model's
    llama.base.to(torch.bfloat16)
    short = ResidentModel(llama.base, llama.tokenizer)
    list(sample(short, None, [[5, 6, 7]], [1], Sampler(max_new_tokens=6), StopToken()))
    assert len(seen) == 6
    for hidden, logits in seen:
        drawn, likely = logits.log_softmax(-1).topk(8)
        scored = short.vocabulary.scores(hidden.expand(8, -1), likely[0]).logprobs
        assert logits.max() > 20
        assert ((scored - drawn[0]).abs() < 0.01 - drawn[0] / 128).all()
