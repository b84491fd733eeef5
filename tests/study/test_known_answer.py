"""The parts of the study that can be checked by hand: utility, labels, the best possible, KL, best of n, the note."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import fmean, pstdev

import pytest
import torch

from desktop_rlhf.completions.sampling import sample
from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.stop import StopToken
from study import expectations, frontier, labels, report
from study.utility import Utility, address, proper_end, sentence_brevity

TEXTS = ["You can do it.", "Extraordinarily complicated considerations notwithstanding", "It is a dog. It ran.", "Hm"]


def test_that_the_utility_has_mean_0_and_deviation_1_over_the_bases_samples():
    utility = Utility.over(TEXTS)
    assert fmean(map(utility, TEXTS)) == pytest.approx(0, abs=1e-12)
    assert pstdev(map(utility, TEXTS)) == pytest.approx(1)
    assert utility(TEXTS[0]) > utility(TEXTS[1])


def test_that_no_ingredient_can_be_driven_without_end():
    utility = Utility.over(TEXTS)
    assert utility("You. " * 1000) == pytest.approx(utility("You. "), abs=1e-9)
    assert abs(utility("a" * 10_000)) < 10


def test_that_the_ingredients_measure_what_they_say():
    assert sentence_brevity("one two three four. five six.") == pytest.approx(-math.log(3))
    assert address("You and yours are one") == pytest.approx(math.sqrt(2 / 5))
    assert (proper_end("It is so.”"), proper_end("It is s")) == (1.0, 0.0)


def test_that_labels_follow_bradley_terry():
    assert labels.probability(0) == 0.5
    assert labels.probability(0.7) == pytest.approx(1 / (1 + math.exp(-0.7 * labels.SCALE)))
    assert labels.probability(-0.7) == pytest.approx(1 - labels.probability(0.7))
    drawn = fmean(labels.first_wins(0.3, 1, "prompt", number) for number in range(4000))
    assert drawn == pytest.approx(labels.probability(0.3), abs=0.03)


def test_that_who_knows_the_utility_gets_the_best_possible_and_who_errs_gets_less():
    differences = [(-1) ** i * (i % 17) / 8 for i in range(4000)]
    pairs = [labels.LabelledPair(d, labels.first_wins(d, 3, i)) for i, d in enumerate(differences)]
    knows = labels.agreement(pairs, differences)
    assert knows.expected == pytest.approx(knows.best)
    assert knows.order == 1
    assert knows.labels.low < knows.best < knows.labels.high
    assert knows.of_best.value == pytest.approx(1, abs=0.02)
    wrong = labels.agreement(pairs, [-d for d in differences])
    assert wrong.expected == pytest.approx(1 - knows.best)
    coin = labels.agreement(pairs, [0.0] * len(pairs))
    assert (coin.labels.value, coin.expected) == (0.5, 0.5)


def test_that_kl_is_0_for_the_base_itself_and_for_an_untrained_adapter(llama):
    prompt, completions = _written(llama, None, count=3)
    assert frontier.log_ratios(llama, None, prompt, completions) == [0.0] * 3
    llama.new_adapter("fresh", rank=2, alpha=4, seed=0)
    assert frontier.log_ratios(llama, "fresh", prompt, completions) == [0.0] * 3


def test_that_the_log_ratios_of_what_a_policy_wrote_average_to_its_kl(llama):
    llama.new_adapter("moved", rank=2, alpha=4, seed=0)
    with torch.no_grad():
        for key, parameter in llama.base.named_parameters():
            if ".lora_B.moved." in key:
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(key)))
    prompt, completions = _written(llama, "moved", count=400)
    ratios = frontier.log_ratios(llama, "moved", prompt, completions)
    other = frontier.log_ratios(llama, "moved", *_written(llama, None, count=400))
    mean, error = frontier.mean_and_error(ratios)
    assert mean > 3 * error, "over the policy's own samples it is a KL, which is above 0"
    assert fmean(other) < 0, "over the base's samples it is minus the other KL"
    # An identity that holds for samples of the policy alone: the mean of base / policy is 1.
    assert fmean(math.exp(-ratio) for ratio in ratios) == pytest.approx(1, abs=0.2)


def test_that_best_of_n_is_the_mean_over_all_draws():
    scores, values = [0.3, -1.0, 2.0, 0.7, 0.1], [1.0, 5.0, 2.0, 8.0, 3.0]
    for n in range(1, 6):
        by_hand = fmean(values[max(drawn, key=scores.__getitem__)] for drawn in combinations(range(5), n))
        assert frontier.best_of_n(scores, values, n) == pytest.approx(by_hand)
    assert frontier.best_of_n_kl(1) == 0
    assert frontier.best_of_n_kl(4) == pytest.approx(math.log(4) - 0.75)


def test_that_a_curve_is_read_between_its_points_and_not_beyond_them():
    curve = [(2.0, 3.0), (0.0, 1.0)]
    assert expectations.utility_at(curve, 0.5) == 1.5
    assert expectations.utility_at(curve, 2.5) is None


def test_that_only_the_section_that_is_asked_for_is_written_anew():
    words = "# Title\n\n## One\n\nold\n\n## Two\n\nkept\n"
    assert report.with_section(words, "One", "new") == "# Title\n\n## One\n\nnew\n\n## Two\n\nkept\n"
    with pytest.raises(ValueError, match="0 headings"):
        report.with_section(words, "Three", "new")


def _written(model, adapter: str | None, count: int) -> tuple[Prompt, list[Completion]]:
    prompt = Prompt("p", (Message("user", "hello"),))
    sampler = frontier.SAMPLER
    generator = sample(model, adapter, [model.prompt_ids(prompt.messages)], range(count), sampler, StopToken())
    while True:
        try:
            next(generator)
        except StopIteration as finished:
            return prompt, [
                Completion(str(i), "p", "g", None, "", drawn.completion_ids, drawn.ended, sampler, i)
                for i, drawn in enumerate(finished.value)
            ]
