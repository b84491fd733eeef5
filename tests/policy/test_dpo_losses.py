from __future__ import annotations

import math

import pytest
import torch

from desktop_rlhf.adapters import batches
from desktop_rlhf.adapters.resident import Role
from desktop_rlhf.adapters.training import TrainingInputs
from desktop_rlhf.policy.dpo import train as dpo
from desktop_rlhf.policy.dpo.loss import Pairs, chosen_nll, joined, preference_loss
from desktop_rlhf.policy.dpo.spec import LOSS_TYPES, DpoSpec
from desktop_rlhf.records.comparisons import PreferenceGroup
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.errors import SpecError
from desktop_rlhf.records.prompts import Message, Prompt
from desktop_rlhf.runs.events import AdapterSaved, Planned, Progressed, StepTaken
from desktop_rlhf.runs.stop import StopToken

from .conftest import PROMPT_IDS

QUESTION = Prompt("p", (Message("user", "q"),))
BETA, SMOOTHING, TAU = 0.5, 0.2, 0.05

CASES = (
    # log-ratio of chosen and rejected, their reference, their lengths, offset
    (1.7, -0.5, -7.0, -3.0, 5, 2, 0.0),
    (-2.0, 1.0, -4.0, -9.0, 3, 6, 0.0),
    (0.1, 0.05, -6.0, -5.0, 4, 4, 0.7),
    (0.02, 0.12, -8.0, -2.5, 1, 3, 0.3),
)

FIRST = {
    # a loss where every log-ratio is 0, in terms of beta
    "sigmoid": lambda beta: 0.6931471805599453,
    "ipo": lambda beta: 1 / (4 * beta**2),
    "hinge": lambda beta: 1.0,
    "robust": lambda beta: 0.6931471805599453,
    "aot": lambda beta: 0.6931471805599453,
    "apo_zero": lambda beta: 1.0,
    "sppo_hard": lambda beta: 1 / (2 * beta**2),
    "discopop": lambda beta: 0.8465735902799727,  # half of ln 2 and half of 1
    "sigmoid_norm": lambda beta: 0.6931471805599453,
}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def surprise(x: float) -> float:
    return -math.log(sigmoid(x))


def smooth(z: float) -> float:
    return (1 - SMOOTHING) * surprise(z) + SMOOTHING * surprise(-z)


def by_hand(loss_type: str, cases: list[tuple[float, ...]]) -> list[float]:
    """The losses in plain arithmetic."""
    if loss_type == "aot":
        before = sorted(ref_c - ref_r for _, _, ref_c, ref_r, *_ in cases)
        after = sorted(ref_c + c - ref_r - r for c, r, ref_c, ref_r, *_ in cases)
        return [smooth(BETA * (a - b)) for a, b in zip(after, before, strict=True)]
    losses = []
    for c, r, _, _, long_c, long_r, offset in cases:
        z = BETA * (c - r) - offset
        per_token = BETA * (c / long_c - r / long_r) - offset
        s = sigmoid(z / TAU)
        losses.append(
            {
                "sigmoid": lambda z=z: smooth(z),
                "ipo": lambda z=per_token: (z / BETA - 0.5 / BETA) ** 2,
                "hinge": lambda z=z: max(0.0, 1 - z),
                "robust": lambda z=z: ((1 - SMOOTHING) * surprise(z) - SMOOTHING * surprise(-z)) / (1 - 2 * SMOOTHING),
                "apo_zero": lambda c=c, r=r: 1 - sigmoid(BETA * c) + sigmoid(BETA * r),
                "sppo_hard": lambda c=c, r=r: (c - 0.5 / BETA) ** 2 + (r + 0.5 / BETA) ** 2,
                "discopop": lambda z=z, s=s: (1 - s) * surprise(z) + s * math.exp(-z),
                "sigmoid_norm": lambda z=per_token: surprise(z),
            }[loss_type]()
        )
    return losses


def as_pairs(cases) -> Pairs:
    wide = torch.tensor(cases, dtype=torch.float64)
    return Pairs(wide[:, 0:2], wide[:, 2:4], wide[:, 4:6].long(), wide[:, 6])


def losses_of(loss_type: str, pairs: Pairs, **changed: float) -> torch.Tensor:
    known = {"beta": BETA, "discopop_tau": TAU} | changed
    if loss_type in ("sigmoid", "robust", "aot"):
        known.setdefault("label_smoothing", SMOOTHING)
    return preference_loss(pairs, loss_type, **known)


def spoken(ids: tuple[int, ...]) -> Completion:
    return Completion(str(ids), "p", "g", None, str(ids), ids, ended=True, sampler=Sampler(), seed=0)


def group(*completions: tuple[int, ...], pairs=((0, 1),), strength: int | None = None) -> PreferenceGroup:
    return PreferenceGroup(str(completions), QUESTION, tuple(map(spoken, completions)), pairs, strength)


def trained(model, path, spec: DpoSpec, *groups: PreferenceGroup) -> list[dict[str, float]]:
    """The curves of a run, one dict a step."""
    events = dpo.train(spec, TrainingInputs(model, None, groups, (), None, path), StopToken())
    return [event.metrics for event in events if isinstance(event, StepTaken)]


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_that_every_loss_equals_a_table_worked_by_hand(loss_type) -> None:
    assert losses_of(loss_type, as_pairs(CASES)).tolist() == pytest.approx(by_hand(loss_type, list(CASES)), rel=1e-12)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_that_every_gradient_is_the_slope_of_the_table(loss_type) -> None:
    ratios = torch.tensor([case[:2] for case in CASES], dtype=torch.float64, requires_grad=True)
    fixed = as_pairs(CASES)
    losses_of(loss_type, Pairs(ratios, fixed.reference, fixed.lengths, fixed.offsets)).sum().backward()
    for row, case in enumerate(CASES):
        for side in (0, 1):
            ends = []
            for change in (1e-6, -1e-6):
                moved = [list(c) for c in CASES]
                moved[row][side] = case[side] + change
                ends.append(sum(by_hand(loss_type, moved)))
            assert ratios.grad[row, side].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("beta", [0.1, 2.0])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_that_every_loss_starts_where_it_is_known_to(loss_type, beta) -> None:
    still = as_pairs([(0.0, 0.0, *case[2:6], 0.0) for case in CASES])
    assert losses_of(loss_type, still, beta=beta).tolist() == pytest.approx([FIRST[loss_type](beta)] * 4, rel=1e-12)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_that_every_run_starts_where_its_loss_does_whatever_the_batches(llama, tmp_path, loss_type) -> None:
    groups = (
        group((7, 30, 44, 1), (9,)),
        group((12, 13), (14, 15, 16, 17, 1), (8,), pairs=((1, 0), (1, 2))),
        group((5, 6), (50,)),
    )
    spec = DpoSpec(loss_type=loss_type, batch_size=2, learning_rate=0.0)
    steps = trained(llama, tmp_path / "run", spec, *groups)
    assert set(steps[0]) == {metric.name for metric in spec.metrics}
    assert [s["loss"] for s in steps] == pytest.approx([FIRST[loss_type](spec.beta)] * 2, rel=1e-6)


def test_that_optimal_transport_pairs_the_kth_of_the_policy_with_the_kth_of_the_reference() -> None:
    # differences of the reference 4 and -4, of the policy -3 and 5: sorted, each is moved by 1, not by -7 and 9.
    pairs = as_pairs([(-7.0, 0.0, 4.0, 0.0, 1, 1, 0.0), (9.0, 0.0, -4.0, 0.0, 1, 1, 0.0)])
    losses = preference_loss(pairs, "aot", beta=1.0).tolist()
    assert losses == pytest.approx([0.31326168751822286] * 2, rel=1e-12)  # ln(1 + 1 / e)


def test_that_robust_undoes_turned_labels_on_average() -> None:
    """(1 - e) of the loss at z and e of the loss at -z make the plain loss at z."""
    z = torch.tensor([[-1.7, 0.0], [0.4, 0.0], [3.0, 0.0]], dtype=torch.float64)
    rest = (torch.zeros_like(z), torch.ones_like(z), torch.zeros(3, dtype=torch.float64))
    true = preference_loss(Pairs(z, *rest), "robust", beta=1.0, label_smoothing=0.3)
    turned = preference_loss(Pairs(-z, *rest), "robust", beta=1.0, label_smoothing=0.3)
    plain = preference_loss(Pairs(z, *rest), "sigmoid", beta=1.0)
    assert (0.7 * true + 0.3 * turned).tolist() == pytest.approx(plain.tolist(), rel=1e-12)


def test_that_discopop_stays_finite_where_its_exponential_would_not() -> None:
    ratios = torch.tensor([[-3000.0, 0.0], [3000.0, 0.0]], requires_grad=True)
    pairs = Pairs(ratios, torch.zeros(2, 2), torch.ones(2, 2), torch.zeros(2))
    losses = preference_loss(pairs, "discopop", beta=1.0)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([3000.0, 0.0])
    assert ratios.grad[:, 0].tolist() == pytest.approx([-1.0, 0.0])


def test_that_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="dpop"):
        preference_loss(as_pairs(CASES), "dpop", beta=1.0)


def test_that_joined_pairs_are_the_pairs_in_order() -> None:
    both = joined([as_pairs(CASES[:1]), as_pairs(CASES[1:])])
    for name in ("ratios", "reference", "lengths", "offsets", "policy"):
        assert torch.equal(getattr(both, name), getattr(as_pairs(CASES), name))


def test_that_the_nll_is_the_mean_over_the_tokens_of_the_chosen() -> None:
    assert chosen_nll(as_pairs(CASES)).tolist() == pytest.approx([5.3 / 5, 6 / 3, 5.9 / 4, 7.98], rel=1e-12)


def test_that_rpo_adds_the_nll_of_the_chosen_with_its_weight(eight, tmp_path) -> None:
    with torch.no_grad():
        said = eight.base(input_ids=torch.tensor([[*PROMPT_IDS, 4]])).logits[0].log_softmax(-1)
    nll = -(said[-2, 4] + said[-1, 6]).item() / 2
    spec = DpoSpec(rpo_alpha=3.0, learning_rate=0.0)
    (step,) = trained(eight, tmp_path / "run", spec, group((4, 6), (7,)))
    assert step["nll_loss"] == pytest.approx(nll, rel=1e-5)
    assert step["loss"] == pytest.approx(math.log(2) + 3 * nll, rel=1e-5)
    (plain,) = trained(eight, tmp_path / "plain", DpoSpec(learning_rate=0.0), group((4, 6), (7,)))
    assert plain["nll_loss"] == step["nll_loss"]
    assert plain["grad_norm"] != pytest.approx(step["grad_norm"], rel=1e-2)


def test_that_rpo_lifts_the_chosen(eight, tmp_path) -> None:
    """Of two runs, the one with the NLL term ends with the likelier chosen."""
    without, with_it = (
        trained(
            eight,
            tmp_path / f"run{alpha:g}",
            DpoSpec(rpo_alpha=alpha, learning_rate=1e-3, epochs=20),
            group((4,), (7,)),
        )
        for alpha in (0.0, 1.0)
    )
    assert with_it[-1]["nll_loss"] < without[-1]["nll_loss"] - 0.1


def test_that_a_stronger_preference_asks_for_a_wider_margin(eight, tmp_path) -> None:
    groups = [group((4,), (7,), strength=strength) for strength in (None, 1, 2, 3, 4)]
    asked = DpoSpec(batch_size=1, learning_rate=0.0, margin_from_strength=True, strength_margin=3.0)
    losses = sorted(step["loss"] for step in trained(eight, tmp_path / "asked", asked, *groups))
    assert losses == pytest.approx([math.log(1 + math.exp(m)) for m in (0, 0, 1, 2, 3)], rel=1e-6)
    silent = DpoSpec(batch_size=1, learning_rate=0.0, strength_margin=3.0)
    losses = [step["loss"] for step in trained(eight, tmp_path / "silent", silent, *groups)]
    assert losses == pytest.approx([math.log(2)] * 5, rel=1e-6)


def test_that_optimal_transport_sees_a_whole_batch_and_learns_from_all_of_it(llama, tmp_path, monkeypatch) -> None:
    """In a first step both orders agree, so its gradient is that of DPO, though another role spoke in between."""
    groups = (group((7, 30, 44, 1), (9,)), group((12, 13), (14, 15, 16)), group((5, 6), (50,)))
    (plain,) = trained(llama, tmp_path / "plain", DpoSpec(batch_size=3), *groups)
    seen: list[int] = []

    def watched(pairs, *args, **settings):
        seen.append(len(pairs.ratios))
        return preference_loss(pairs, *args, **settings)

    monkeypatch.setattr(dpo, "preference_loss", watched)
    monkeypatch.setattr(batches, "MOST_TOKENS", 1)  # a forward for every comparison
    inputs = TrainingInputs(llama, None, groups, (), None, tmp_path / "aot")
    norms, done = [], []
    for event in dpo.train(DpoSpec(loss_type="aot", batch_size=3), inputs, StopToken()):
        if isinstance(event, StepTaken):
            norms.append(event.metrics["grad_norm"])
        if isinstance(event, Progressed):
            done.append(event.done)
            role = llama.role
            llama.take_role(Role(None))
            llama.take_role(role)
    assert seen == [3]
    assert done == [0, 0, 0, 1, 2, 3], "three references, then three comparisons"
    assert norms == pytest.approx([plain["grad_norm"]], rel=1e-5)


def test_that_a_batch_of_optimal_transport_that_is_stopped_teaches_nothing(llama, tmp_path) -> None:
    stop = StopToken()
    groups = (group((7, 30), (9,)), group((12, 13), (14,)))
    inputs = TrainingInputs(llama, None, groups, (), None, tmp_path / "aot")
    events = []
    for event in dpo.train(DpoSpec(loss_type="aot", batch_size=2, epochs=3), inputs, stop):
        events.append(event)
        if isinstance(event, Progressed):
            stop.request()
    assert [type(event) for event in events] == [Planned, Progressed]
    assert not llama.attached
    assert not (tmp_path / "aot").exists()


@pytest.mark.parametrize(
    ("settings", "often", "wanted"),
    [
        # One pair. z is beta times the log-ratio of the chosen less that of the rejected.
        ({"loss_type": "ipo"}, (1, 0), 0.5),
        ({"loss_type": "ipo", "margin_from_strength": True}, (1, 0), 1.5),
        ({"loss_type": "sppo_hard"}, (1, 0), 1.0),
        ({"loss_type": "sigmoid", "label_smoothing": 0.25}, (1, 0), math.log(3)),
        # 13 of 20 labels for one side are 15 of 20 of which a fifth was turned round.
        ({"loss_type": "robust", "label_smoothing": 0.2}, (13, 7), math.log(3)),
        ({"loss_type": "sigmoid", "label_smoothing": 0.2}, (13, 7), math.log(0.59 / 0.41)),
        ({"loss_type": "sigmoid_norm"}, (15, 5), math.log(3)),
    ],
)
def test_that_a_loss_reaches_its_closed_form_optimum(eight, next_logprobs, tmp_path, settings, often, wanted) -> None:
    spec = DpoSpec(beta=1.0, learning_rate=1e-2, epochs=80, **settings)
    reference = next_logprobs(eight, None)
    pairs = ((0, 1),) * often[0] + ((1, 0),) * often[1]
    trained(eight, tmp_path / "run", spec, group((4,), (7,), pairs=pairs, strength=4))
    eight.attach("trained", tmp_path / "run")
    gained = next_logprobs(eight, "trained") - reference
    assert (gained[4] - gained[7]).item() == pytest.approx(wanted, abs=0.02)
    if spec.loss_type == "sppo_hard":
        assert gained[[4, 7]].tolist() == pytest.approx([0.5, -0.5], abs=0.02)


@pytest.mark.parametrize(("loss_type", "wanted"), [("ipo", 0.5), ("sppo_hard", None)])
def test_that_length_counts_where_a_loss_takes_means_over_tokens(eight, tmp_path, loss_type, wanted) -> None:
    spec = DpoSpec(loss_type=loss_type, beta=1.0, learning_rate=1e-2, epochs=80)
    last = trained(eight, tmp_path / "run", spec, group((4, 6), (7,)))[-1]
    chosen, rejected = last["rewards/chosen"], last["rewards/rejected"]
    if wanted is None:
        assert (chosen, rejected) == pytest.approx((0.5, -0.5), abs=0.02)
    else:
        assert chosen / 2 - rejected == pytest.approx(wanted, abs=0.02)


def test_that_optimal_transport_reaches_its_closed_form_optimum(eight, tmp_path) -> None:
    """With a share e of labels turned, every quantile moves by log((1 - e) / e) / beta."""
    spec = DpoSpec(loss_type="aot", label_smoothing=0.25, beta=1.0, batch_size=2, learning_rate=1e-2, epochs=80)
    last = trained(eight, tmp_path / "run", spec, group((4,), (5,)), group((6,), (7,)))[-1]
    assert last["rewards/margins"] == pytest.approx(math.log(3), abs=0.02)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert last["loss"] == pytest.approx(entropy, abs=1e-3)


@pytest.mark.parametrize("loss_type", ["hinge", "apo_zero", "discopop"])
def test_that_a_loss_without_a_finite_optimum_falls_and_parts_the_pair(eight, tmp_path, loss_type) -> None:
    spec = DpoSpec(loss_type=loss_type, beta=1.0, learning_rate=1e-2, epochs=60)
    steps = trained(eight, tmp_path / "run", spec, group((4,), (7,)))
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    assert steps[-1]["rewards/margins"] > 0.9
    if loss_type == "hinge":
        assert steps[-1]["loss"] == 0
        assert steps[-1]["grad_norm"] == 0


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_that_smoothing_is_taken_only_by_the_losses_that_use_it(loss_type) -> None:
    pairs = as_pairs(CASES)
    moved = preference_loss(pairs, loss_type, beta=1.0, label_smoothing=0.1)
    if torch.equal(moved, preference_loss(pairs, loss_type, beta=1.0)) or loss_type == "sigmoid_norm":
        with pytest.raises(SpecError, match="label_smoothing"):
            DpoSpec(loss_type=loss_type, label_smoothing=0.1)
    else:
        assert DpoSpec(loss_type=loss_type, label_smoothing=0.1).label_smoothing == 0.1


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_that_a_margin_is_taken_only_by_the_losses_that_use_it(loss_type) -> None:
    pairs = as_pairs(CASES)
    without = Pairs(pairs.ratios, pairs.reference, pairs.lengths, torch.zeros_like(pairs.offsets))
    if torch.equal(losses_of(loss_type, pairs), losses_of(loss_type, without)):
        with pytest.raises(SpecError, match="margin_from_strength"):
            DpoSpec(loss_type=loss_type, margin_from_strength=True)
    else:
        assert DpoSpec(loss_type=loss_type, margin_from_strength=True).margin_from_strength


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss_type": "kto"}, "loss_type"),
        ({"loss_type": "robust", "label_smoothing": 0.5}, "at most 0.49"),
        ({"loss_type": "aot", "batch_size": 1}, "batch_size"),
        ({"rpo_alpha": -1.0}, "at least 0"),
        ({"discopop_tau": 0.0}, "discopop_tau"),
        ({"beta": 0.0}, "beta"),
    ],
)
def test_that_a_spec_that_cannot_be_meant_is_refused(settings, said) -> None:
    with pytest.raises(SpecError, match=said):
        DpoSpec(**settings)


def test_that_the_report_is_as_before_for_every_loss(eight, tmp_path) -> None:
    inputs = TrainingInputs(eight, None, (group((4,), (7,)),), (), None, tmp_path / "run")
    *_, last = dpo.train(DpoSpec(loss_type="ipo"), inputs, StopToken())
    assert isinstance(last, AdapterSaved)
    assert last.report == {"steps": 1, "learned_from": 1, "counted": "comparison", "left_out": {}, "cut": 0}
