from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.sft import train as sft
from desktop_rlhf.policy.sft.spec import SftSpec
from desktop_rlhf.records.comparisons import JudgedCompletion
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import NotEnoughDataError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import AdapterSaved, Noted, Planned, StepTaken
from desktop_rlhf.runs.stop import StoppedError, StopToken


def good(completion: tuple[int, ...], prompt: str = "p", desirable: bool = True) -> JudgedCompletion:
    text = str(completion)
    spoken = Completion(text, prompt, "g", None, text, completion, ended=True, sampler=Sampler(), seed=0)
    return JudgedCompletion(f"c-{prompt}", Prompt(prompt, (Message("user", prompt),)), spoken, desirable)


def bad(completion: tuple[int, ...], prompt: str = "p") -> JudgedCompletion:
    return good(completion, prompt, desirable=False)


def inputs_of(model, judged, path, start=None) -> TrainingInputs:
    return TrainingInputs(model, start, (), (), None, path, judged=tuple(judged))


def run(model, judged, path, start=None, **settings) -> list[dict[str, float]]:
    inputs = inputs_of(model, judged, path, start)
    return [e.metrics for e in sft.train(SftSpec(**settings), inputs, StopToken()) if isinstance(e, StepTaken)]


def test_that_the_first_step_is_the_mean_over_the_completion_tokens_of_the_batch(resident, tmp_path) -> None:
    chosen = {"one": (7, 30, 44, 9, 12, 1), "two": (50,)}
    total = tokens = hits = 0.0
    for words, completion in chosen.items():
        prompt = resident.prompt_ids((Message("user", words),))
        logits = resident.base(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].double()
        for row, target in zip(logits.tolist(), completion, strict=True):
            total += math.log(sum(map(math.exp, row))) - row[target]
            hits += max(row) == row[target]
            tokens += 1
    judged = [one for words, completion in chosen.items() for one in (good(completion, words), bad((90, 91), words))]
    (first,) = run(resident, judged, tmp_path / "s")
    assert first["loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert first["mean_token_accuracy"] == pytest.approx(hits / tokens)
    assert set(first) == {metric.name for metric in SftSpec.metrics}


def test_that_sft_reaches_the_frequencies_of_what_was_chosen(eight, next_logprobs, tmp_path) -> None:
    counts = (1, 1, 2, 1, 4, 1, 1, 1)
    tokens = [token for token, count in enumerate(counts) for _ in range(count)]
    judged = [good((token,), f"p{i}") for i, token in enumerate(tokens)]
    base = eight.base_sha256()
    steps = run(eight, judged, tmp_path / "s", batch_size=12, epochs=40, learning_rate=2e-2)
    eight.attach("trained", tmp_path / "s")
    shares = [count / 12 for count in counts]
    assert next_logprobs(eight, "trained").exp().tolist() == pytest.approx(shares, abs=0.01)
    entropy = -sum(share * math.log(share) for share in shares)
    assert steps[-1]["loss"] == pytest.approx(entropy, abs=0.01)  # what is left is the spread of the choices themselves
    assert steps[-1]["entropy"] == pytest.approx(entropy, abs=0.01)
    assert eight.base_sha256() == base


def test_that_the_same_answer_to_a_prompt_is_taken_once(llama) -> None:
    judged = [good((2,)), good((4,), "q"), good((5,), "q"), good((2,)), good((2,), "q")]
    found = sft.each_once(llama, judged)
    asked = {name: llama.prompt_ids([Message("user", name)]) for name in "pq"}
    assert found == [
        (asked["p"], [2]), (asked["q"], [4]), (asked["q"], [5]), (asked["q"], [2]),
    ]  # fmt: skip


def test_that_bad_completions_and_those_not_asked_for_are_not_taken() -> None:
    judged = [good((1,)), bad((2,)), replace(good((3,)), demonstration=True)]
    taken = {kind: list(filter(SftSpec(learn_from=kind).takes, judged)) for kind in ("all", "chosen", "demonstrations")}
    assert taken == {"all": [judged[0], judged[2]], "chosen": [judged[0]], "demonstrations": [judged[2]]}


def test_that_a_demonstration_after_system_and_several_turns_is_learned_with_its_end_alone(resident, tmp_path) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Who are you?")]
    prompt = Prompt("p", tuple(Message(*turn) for turn in turns))
    imported = Completion("c", "p", "g", None, "A model.", (), ended=True, sampler=Sampler(), seed=0)
    (first,) = run(resident, [JudgedCompletion("c", prompt, imported, True, demonstration=True)], tmp_path / "s")
    asked = "".join(f"<s>{role}\n{content}</s>\n" for role, content in turns) + "<s>assistant\n"
    ids = resident.tokenizer(asked, add_special_tokens=False)["input_ids"]
    completion = [*resident.tokenizer("A model.", add_special_tokens=False)["input_ids"], 1]
    logits = resident.base(torch.tensor([[*ids, *completion]])).logits[0, len(ids) - 1 : -1].double()
    losses = [math.log(sum(map(math.exp, row))) - row[t] for row, t in zip(logits.tolist(), completion, strict=True)]
    assert first["loss"] == pytest.approx(sum(losses) / len(completion), rel=1e-5)


def test_that_a_long_loser_does_not_cost_the_winner(llama, tmp_path) -> None:
    inputs = inputs_of(llama, (good((7, 30)), bad((9,) * 60), good((7,) * 60, "q"), bad((9,), "q")), tmp_path / "s")
    events = list(sft.train(SftSpec(max_length=50), inputs, StopToken()))
    assert [e.sentence for e in events if isinstance(e, Noted)] == [
        "Learns from 1 of 2 judgements. Left out: 1 longer than max_length."
    ]
    counted = {"learned_from": 1, "counted": "judgement", "left_out": {"too_long": 1}, "cut": 0}
    assert events[-1].report == {"steps": 1, "completions": 1} | counted


def test_that_a_run_goes_on_from_an_adapter_without_a_reference(llama, tmp_path) -> None:
    judged = [good((7, 30, 44, 1))]
    losses = [step["loss"] for step in run(llama, judged, tmp_path / "one", learning_rate=1e-2, epochs=8)]
    assert losses[-1] < losses[0] / 2
    inputs = inputs_of(llama, judged, tmp_path / "two", tmp_path / "one")
    attached = set()
    for event in sft.train(SftSpec(learning_rate=1e-2), inputs, StopToken()):
        attached |= llama.attached
        if isinstance(event, StepTaken):
            assert event.metrics["loss"] < losses[-1]
    assert attached == {"policy-two"}
    assert not llama.attached


def test_that_a_stopped_run_keeps_its_steps_and_an_unstarted_one_leaves_nothing(llama, tmp_path) -> None:
    judged = [good((7, 30), f"p{i}") for i in range(6)]
    stop = StopToken()
    events = []
    inputs = inputs_of(llama, judged, tmp_path / "some")
    for event in sft.train(SftSpec(batch_size=2), inputs, stop):
        events.append(event)
        if isinstance(event, StepTaken):
            stop.request()
    assert sum(isinstance(e, StepTaken) for e in events) == 1
    assert isinstance(events[-1], AdapterSaved)
    assert events[-1].report["steps"] == 1
    inputs = inputs_of(llama, judged, tmp_path / "none")
    with pytest.raises(StoppedError):
        list(sft.train(SftSpec(), inputs, stop))
    stop, events = StopToken(), []
    for event in sft.train(SftSpec(), inputs, stop):
        events.append(type(event))
        stop.request()
    assert events == [Planned]
    assert not (tmp_path / "none").exists()
    assert not llama.attached


def test_that_nothing_chosen_is_said_in_a_sentence(llama, tmp_path) -> None:
    with pytest.raises(NotEnoughDataError):
        run(llama, [bad((9,))], tmp_path / "s")
