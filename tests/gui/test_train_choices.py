"""What the Train page says of a choice, and what it remembers of one."""

from __future__ import annotations

import pytest

from desktop_rlhf.gui.pages.train import TrainPage
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.verdicts import wilson

from .test_train_page import choose


@pytest.fixture
def page(qtbot, project, engine, judged):
    made = TrainPage(project, engine)
    qtbot.addWidget(made)
    made.show()
    return made


def agreement(right: int, n: int) -> dict[str, object]:
    found = wilson(right, n)
    return {"held_out_accuracy": found.value, "low": found.low, "high": found.high, "n": n}


def test_that_a_reward_model_at_chance_is_doubted_beside_its_choice_and_may_be_used(page, add_adapter):
    add_adapter("weak", AdapterKind.REWARD, "reward", report=agreement(6, 10))
    add_adapter("good", AdapterKind.REWARD, "reward", report=agreement(36, 40))
    add_adapter("unknown", AdapterKind.REWARD, "reward")
    page.refresh()
    choose(page, PpoSpec)
    said = "10 held-out comparisons cannot tell this reward model from chance."
    for name, told in (("good", ""), ("weak", said), ("unknown", "")):
        page.reward_box.setCurrentText(name)
        assert page.doubt.text().startswith(told)
        assert page.doubt.isVisible() == bool(told)
        assert page.start.isEnabled()
    page.reward_box.setCurrentText("weak")
    choose(page, DpoSpec)
    assert not page.doubt.isVisible()


def test_that_a_reward_model_that_is_there_only_now_is_doubted_too(page, add_adapter):
    choose(page, PpoSpec)
    add_adapter("weak", AdapterKind.REWARD, "reward", report=agreement(6, 10))
    page.refresh()
    assert page.doubt.isVisible()
