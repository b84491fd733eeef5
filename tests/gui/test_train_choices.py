"""What the Train page says of a choice, and what it remembers of one."""

from __future__ import annotations

import pytest

from desktop_rlhf.gui.pages.train import TrainPage
from desktop_rlhf.policy.dpo.spec import DpoSpec
from desktop_rlhf.policy.ppo.spec import PpoSpec
from desktop_rlhf.records.adapters import AdapterKind
from desktop_rlhf.records.runs import Run
from desktop_rlhf.records.verdicts import wilson
from desktop_rlhf.runs.spec import with_settings
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE

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


@pytest.fixture
def add_run(project):
    """Stores a run with all its settings, as the engine does."""

    def add(run_id: str, spec, **settings) -> None:
        store = Store.open(project.path / STORE_FILE)
        store.runs.add(Run(run_id, spec.name, with_settings(spec, settings).as_settings(), None, None, {}, {}))
        store.close()

    return add


def test_that_each_algorithm_opens_with_the_settings_it_was_last_started_with(qtbot, project, engine, judged, add_run):
    add_run("before", DpoSpec, beta=0.9)
    add_run("last", DpoSpec, beta=0.3, epochs=2)
    add_run("other", PpoSpec, updates=7)
    page = TrainPage(project, engine)
    qtbot.addWidget(page)
    choose(page, DpoSpec)
    assert page.form.values() == {"beta": 0.3, "epochs": 2}
    choose(page, PpoSpec)
    assert page.form.values() == {"updates": 7}


def test_that_settings_that_differ_are_told_while_they_are_folded_until_they_are_set_back(page, add_run):
    add_run("last", PpoSpec, updates=7, kl_coef=0.2, normalise_reward=True)
    choose(page, PpoSpec)
    told = page._settings.unfold
    assert set(told.text().removeprefix("Settings: ").split(", ")) == {
        "Updates 7",
        "KL coefficient 0.2",
        "Normalise reward on",
    }
    page.form.set_values({"updates": 7, "kl_coef": 0.2, "normalise_reward": True, "seed": 3})
    assert told.text() == "Settings: 4 differ from the defaults"
    page.form.restore.click()
    assert told.text() == "Settings"
    choose(page, DpoSpec)
    assert told.text() == "Settings"
