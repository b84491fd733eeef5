"""The Label page: what a key does, what is saved, and that the model is asked in time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtWidgets import QComboBox, QPlainTextEdit, QProgressBar, QPushButton, QSpinBox

from desktop_rlhf.gui.pages.label import LabelPage
from desktop_rlhf.gui.widgets.ranking import Ranking
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.comparisons import Outcome
from desktop_rlhf.records.errors import DiskFullError
from desktop_rlhf.records.runs import Run, RunStatus
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.messages import (
    CompletionsReady,
    EngineFailed,
    JobEnded,
    JobProgressed,
    JobStarted,
    ModelLoaded,
    PromptPassedOver,
    SampleGroups,
)

KEY = Qt.Key


@pytest.fixture
def kind(project):
    """The id of a stored policy adapter."""
    store = Store.open(project.path / STORE_FILE)
    store.runs.add(Run("run", "dpo", {}, None, None, (), {}))
    store.adapters.add(Adapter("kind", "kind", AdapterKind.POLICY, None, "run", "adapters/kind", "0" * 64))
    store.close()
    return "kind"


@pytest.fixture
def open_page(project, engine, qtbot):
    def show() -> LabelPage:
        page = LabelPage(project, engine)
        qtbot.addWidget(page)
        page.resize(1100, 700)
        with qtbot.waitExposed(page):
            page.show()
        page.activateWindow()
        qtbot.waitUntil(page.isActiveWindow)
        page.refresh()
        return page

    return show


@pytest.fixture
def press(qtbot):
    def press(page, *keys) -> None:
        for key in keys:
            qtbot.keyClick(page.window().focusWidget() or page, key)

    return press


def child(page, kind, name):
    found = page.findChild(kind, name)
    assert found is not None, name
    return found


def shown(page, count=2) -> list[str]:
    return [child(page, QPlainTextEdit, f"completion-{n}").toPlainText() for n in range(1, count + 1)]


def text_of(page, name) -> str:
    return page.findChild(object, name).text()


@pytest.mark.parametrize(("key", "ranks"), [(KEY.Key_1, (1, 2)), (KEY.Key_2, (2, 1))])
def test_that_a_number_key_prefers_the_completion_of_that_number(open_page, project, add_group, press, key, ranks):
    add_group("yes", "no")
    page = open_page()
    left = shown(page)[0]
    press(page, key)
    (saved,) = project.comparisons()
    assert (saved.outcome, saved.ranks, saved.strength, saved.flagged) == (Outcome.RANKED, ranks, None, False)
    assert left in {"yes", "no"}


@pytest.mark.parametrize(
    ("key", "outcome"), [(KEY.Key_T, Outcome.TIE), (KEY.Key_B, Outcome.BOTH_BAD), (KEY.Key_S, Outcome.SKIPPED)]
)
def test_that_a_letter_key_saves_its_outcome(open_page, project, add_group, press, key, outcome):
    add_group("yes", "no")
    page = open_page()
    press(page, key)
    (saved,) = project.comparisons()
    assert (saved.outcome, saved.ranks) == (outcome, ())


@pytest.mark.parametrize(("key", "strength"), [(KEY.Key_Q, 1), (KEY.Key_W, 2), (KEY.Key_E, 3), (KEY.Key_R, 4)])
def test_that_a_strength_key_holds_for_the_next_choice_only(open_page, project, add_group, press, key, strength):
    add_group("yes", "no")
    add_group("up", "down")
    page = open_page()
    press(page, key, KEY.Key_1, KEY.Key_1)
    assert [saved.strength for saved in project.comparisons()] == [strength, None]


def test_that_a_strength_key_pressed_again_takes_the_strength_back(open_page, project, add_group, press):
    add_group("yes", "no")
    page = open_page()
    press(page, KEY.Key_E, KEY.Key_R, KEY.Key_R, KEY.Key_2)
    assert project.comparisons()[0].strength is None


def test_that_a_strength_is_not_saved_with_a_tie(open_page, project, add_group, press):
    add_group("yes", "no")
    page = open_page()
    press(page, KEY.Key_R, KEY.Key_T)
    assert project.comparisons()[0].strength is None


def test_that_the_flag_marks_one_choice(open_page, project, add_group, press):
    add_group("yes", "no")
    add_group("up", "down")
    page = open_page()
    press(page, KEY.Key_F, KEY.Key_1, KEY.Key_1)
    assert [saved.flagged for saved in project.comparisons()] == [True, False]


def test_that_the_next_group_stands_there_at_once(open_page, add_group, press):
    add_group("yes", "no")
    add_group("up", "down")
    page = open_page()
    assert set(shown(page)) == {"yes", "no"}
    press(page, KEY.Key_1)
    assert set(shown(page)) == {"up", "down"}
    assert text_of(page, "label-toast") == "Saved: 1 is better. Z takes it back."
    assert text_of(page, "label-counter") == "1 judged · 1 waiting"


def test_that_undo_brings_back_choices_one_by_one(open_page, project, add_group, press):
    add_group("yes", "no")
    add_group("up", "down")
    page = open_page()
    first = shown(page)
    press(page, KEY.Key_1, KEY.Key_2, KEY.Key_Z, KEY.Key_Z)
    assert project.comparisons() == []
    assert shown(page) == first
    press(page, KEY.Key_Z)
    assert text_of(page, "label-toast") == "There is nothing to take back."
    press(page, KEY.Key_2, KEY.Key_2)
    assert [saved.ranks for saved in project.comparisons()] == [(2, 1), (2, 1)]


def test_that_keys_work_from_inside_a_completion(open_page, project, add_group, press):
    add_group("yes", "no")
    page = open_page()
    child(page, QPlainTextEdit, "completion-2").setFocus()
    press(page, KEY.Key_2)
    assert project.comparisons()[0].ranks == (2, 1)


def test_that_typing_in_a_field_judges_nothing(open_page, project, add_group, press):
    add_group("yes", "no")
    page = open_page()
    field = child(page, QSpinBox, "label-longest")
    field.setFocus()
    field.selectAll()
    press(page, KEY.Key_1, KEY.Key_2, KEY.Key_8)
    assert project.comparisons() == []
    assert field.text() == "128 tokens"


@pytest.mark.parametrize(("end", "longest"), [(KEY.Key_Return, 64), (KEY.Key_Enter, 64), (KEY.Key_Escape, 96)], ids=str)
@pytest.mark.parametrize("count", [2, 3])
def test_that_a_key_that_ends_a_field_gives_the_keyboard_back(
    open_page, project, add_group, press, count, end, longest
):
    add_group(*"abc"[:count])
    page = open_page()
    if count > 2:
        press(page, KEY.Key_2, KEY.Key_1, KEY.Key_3)  # a whole ranking, which Enter would accept
    field = child(page, QSpinBox, "label-longest")
    field.setFocus()
    field.selectAll()
    press(page, KEY.Key_6, KEY.Key_4, end)
    assert (field.value(), field.text()) == (longest, f"{longest} tokens")
    assert project.comparisons() == []
    press(page, *([KEY.Key_2] if count == 2 else [KEY.Key_Return]))
    assert [saved.ranks for saved in project.comparisons()] == [(2, 1) if count == 2 else (2, 1, 3)]


@pytest.mark.parametrize("name", ["label-count", "label-adapter"])
def test_that_a_key_judges_from_a_choice_too(open_page, project, add_group, press, name):
    add_group("yes", "no")
    page = open_page()
    child(page, QComboBox, name).setFocus()
    press(page, KEY.Key_2)
    assert project.comparisons()[0].ranks == (2, 1)


def test_that_a_key_without_a_group_saves_nothing(open_page, project, press):
    page = open_page()
    press(page, KEY.Key_1, KEY.Key_T, KEY.Key_F, KEY.Key_Q)
    assert project.comparisons() == []


def test_that_the_text_of_a_model_is_shown_to_the_letter(open_page, add_group):
    said = '<b>bold</b> <img src="file:///etc/passwd"> **not markdown**'
    add_group(said, said)
    page = open_page()
    assert shown(page) == [said, said]


def test_that_buttons_do_what_keys_do(open_page, project, add_group, qtbot):
    for _ in range(3):
        add_group("yes", "no")
    page = open_page()
    for name in ("strength-2", "pick-2", "both-bad", "flag", "pick-1", "undo"):
        qtbot.mouseClick(child(page, QPushButton, name), Qt.MouseButton.LeftButton)
    saved = project.comparisons()
    assert [(one.ranks, one.strength, one.flagged) for one in saved] == [((2, 1), 2, False), ((), None, False)]


def test_that_number_keys_rank_from_best_to_worst(open_page, project, add_group, press):
    add_group("a", "b", "c", "d")
    page = open_page()
    press(page, KEY.Key_3, KEY.Key_1, KEY.Key_Return)
    assert project.comparisons() == []  # not complete yet
    press(page, KEY.Key_4)
    assert text_of(page, "rank-2") == "Rank 4"  # the last one follows by itself
    press(page, KEY.Key_Return)
    (saved,) = project.comparisons()
    assert (saved.mode, saved.ranks, saved.strength) == ("ranking", (2, 4, 1, 3), None)


def test_that_backspace_lifts_the_last_one_placed(open_page, project, add_group, press):
    add_group("a", "b", "c")
    page = open_page()
    press(page, KEY.Key_1, KEY.Key_2, KEY.Key_Backspace, KEY.Key_3, KEY.Key_Return)
    assert project.comparisons()[0].ranks == (1, 3, 2)


def test_that_an_equals_sign_ties_with_the_one_before(open_page, project, add_group, press):
    add_group("a", "b", "c")
    page = open_page()
    press(page, KEY.Key_2, KEY.Key_Equal, KEY.Key_1, KEY.Key_Return)
    assert project.comparisons()[0].ranks == (1, 1, 2)


def test_that_a_ranking_on_one_rank_is_saved_as_a_tie(open_page, project, add_group, press):
    add_group("a", "b", "c")
    page = open_page()
    press(page, KEY.Key_1, KEY.Key_Equal, KEY.Key_2, KEY.Key_Equal, KEY.Key_Return)
    (saved,) = project.comparisons()
    assert (saved.outcome, saved.ranks) == (Outcome.TIE, ())


def test_that_a_completion_keeps_the_place_it_was_given():
    ranking = Ranking(3)
    ranking.place(1)
    ranking.place(1)
    ranking.place(5)
    assert ranking.ranks() == (None, 1, None)


def test_that_the_last_tie_can_be_taken_back():
    ranking = Ranking(3)
    for place in (0, 1):
        ranking.place(place)
    ranking.tie()
    assert ranking.ranks() == (1, 2, 2)
    ranking.tie()
    assert ranking.ranks() == (1, 2, 3)
    ranking.take_back()
    assert ranking.ranks() == (1, None, None)


def test_that_a_judgement_that_cannot_be_saved_stays_on_the_page(open_page, project, add_group, press, monkeypatch):
    add_group("yes", "no")
    page = open_page()
    before = shown(page)

    def full(*args, **kwargs):
        raise DiskFullError("There is no room left.", "Make some space.")

    monkeypatch.setattr(project, "save_comparison", full)
    press(page, KEY.Key_1)
    assert text_of(page, "label-banner-sentence") == "There is no room left."
    monkeypatch.undo()
    assert shown(page) == before
    press(page, KEY.Key_1)
    assert len(project.comparisons()) == 1


def test_that_few_waiting_groups_make_the_page_ask_for_more(open_page, project, engines):
    page = open_page()
    (command,) = engines[-1].commands
    assert isinstance(command, SampleGroups)
    assert command.prompt_ids == tuple(prompt.id for prompt in project.prompts_to_sample(8))
    assert (command.completions_per_prompt, command.adapter_id, command.sampler.max_new_tokens) == (2, None, 96)
    page.refresh()
    assert len(engines[-1].commands) == 1  # one job at a time


def test_that_enough_waiting_groups_ask_for_nothing(open_page, add_group, engines):
    for _ in range(4):
        add_group("yes", "no")
    open_page()
    assert engines[-1].commands == []


def test_that_a_group_is_shown_as_soon_as_it_is_ready(open_page, add_group, engines):
    page = open_page()
    job_id = engines[-1].commands[0].job_id
    page.take_news(JobStarted(job_id, "Sampling"))
    page.take_news(JobProgressed(job_id, "sampling", 0.5, 3.0))
    assert text_of(page, "label-waiting") == "The model is writing…"
    assert [bar.value() for bar in page.findChildren(QProgressBar) if bar.isVisible()] == [500]
    group_id = add_group("yes", "no")
    page.take_news(CompletionsReady(job_id, "", group_id))
    assert set(shown(page)) == {"yes", "no"}


def test_that_another_choice_of_how_many_renews_the_job(open_page, engines):
    page = open_page()
    job_id = engines[-1].commands[0].job_id
    page.findChild(object, "label-count").setCurrentIndex(2)
    assert ("stop", job_id) in engines[-1].asked
    page.take_news(JobEnded(job_id, RunStatus.STOPPED))
    assert engines[-1].commands[-1].completions_per_prompt == 4
    assert len(engines[-1].commands) == 2


def test_that_prompts_that_give_no_choice_are_told_of_below_what_is_judged(open_page, add_group, engines):
    page = open_page()
    job_id = engines[-1].commands[0].job_id
    line = page.findChild(object, "label-passed-over")
    assert line.isHidden()
    page.take_news(CompletionsReady(job_id, "", add_group("yes", "no")))
    page.take_news(PromptPassedOver(job_id, "p"))
    assert line.isVisible()
    assert line.text() == "One prompt was passed over, for the completions read the same each time they were drawn."
    page.take_news(PromptPassedOver(job_id, "q"))
    assert line.text().startswith("2 prompts were passed over")
    page.take_news(JobEnded(job_id, RunStatus.COMPLETED))
    assert len(engines[-1].commands) == 2  # others are asked for
    child(page, QSpinBox, "label-longest").setValue(200)
    assert line.isHidden()


def test_that_a_model_that_always_writes_the_same_is_not_asked_for_ever(open_page, engines, qtbot):
    page = open_page()
    first = engines[-1].commands[0]
    for prompt_id in first.prompt_ids:
        page.take_news(PromptPassedOver(first.job_id, prompt_id))
    page.take_news(JobEnded(first.job_id, RunStatus.COMPLETED))
    page.refresh()
    assert len(engines[-1].commands) == 1
    assert "nothing to choose between" in text_of(page, "label-waiting")
    qtbot.mouseClick(child(page, QPushButton, "label-sample-again"), Qt.MouseButton.LeftButton)
    assert len(engines[-1].commands) == 2
    second = engines[-1].commands[1]
    page.take_news(PromptPassedOver(second.job_id, second.prompt_ids[0]))
    page.take_news(JobEnded(second.job_id, RunStatus.COMPLETED))
    child(page, QSpinBox, "label-longest").setValue(200)
    assert engines[-1].commands[-1].sampler.max_new_tokens == 200


@pytest.fixture
def asked_for(open_page, add_group, engines, kind):
    """The page with six pairs of the base waiting, when another adapter was asked for."""
    for _ in range(6):
        add_group("yes", "no")
    page = open_page()
    assert set(shown(page)) == {"yes", "no"}
    assert engines[-1].commands == []
    page.sample_from(kind)
    page.refresh()
    assert not child(page, QPushButton, "pick-1").isVisible()
    return page


def test_that_an_adapter_that_is_asked_for_comes_first_and_what_waited_after_it(
    asked_for, project, add_group, engines, press, kind
):
    page = asked_for
    (command,) = engines[-1].commands  # whatever else waits
    assert command.adapter_id == kind
    assert text_of(page, "label-counter") == "0 judged · 6 waiting"
    page.take_news(JobStarted(command.job_id, "Sampling"))
    assert text_of(page, "label-waiting") == "The model is writing…"
    press(page, KEY.Key_1)
    assert project.comparisons() == []  # nothing is shown, so a key judges nothing
    for texts in (("up", "down"), ("in", "out")):
        page.take_news(CompletionsReady(command.job_id, "", add_group(*texts, adapter_id=kind)))
    assert set(shown(page)) == {"up", "down"}
    press(page, KEY.Key_1)
    assert set(shown(page)) == {"in", "out"}
    press(page, KEY.Key_1)
    assert set(shown(page)) == {"yes", "no"}
    add_group("left", "right", adapter_id=kind)
    press(page, KEY.Key_1)
    assert set(shown(page)) == {"left", "right"}
    assert text_of(page, "label-counter") == "3 judged · 6 waiting"


@pytest.mark.parametrize(
    "news",
    [JobEnded("", RunStatus.FAILED, "No."), JobEnded("", RunStatus.STOPPED), EngineFailed("No.")],
    ids=["failed", "stopped", "no engine"],
)
def test_that_what_waited_is_shown_when_the_adapter_that_was_asked_for_does_not_come(asked_for, engines, news):
    (command,) = engines[-1].commands
    asked_for.take_news(replace(news, job_id=command.job_id) if isinstance(news, JobEnded) else news)
    assert child(asked_for, QPushButton, "pick-1").isVisible()
    assert set(shown(asked_for)) == {"yes", "no"}


def test_that_another_choice_of_an_adapter_ends_the_waiting(asked_for, press, project):
    child(asked_for, QComboBox, "label-adapter").setCurrentIndex(0)
    assert set(shown(asked_for)) == {"yes", "no"}
    press(asked_for, KEY.Key_1)
    assert len(project.comparisons()) == 1


def test_that_what_is_being_judged_of_the_adapter_that_is_asked_for_stays(open_page, add_group, press, kind):
    add_group("a", "b", "c", adapter_id=kind)
    page = open_page()
    press(page, KEY.Key_2)
    page.sample_from(kind)
    assert text_of(page, "rank-2") == "Rank 1"


def test_that_what_is_sampled_is_found_again_as_it_was_left(open_page, engines, kind):
    page = open_page()
    child(page, QComboBox, "label-count").setCurrentIndex(2)
    child(page, QComboBox, "label-adapter").setCurrentText("kind")
    child(page, QSpinBox, "label-longest").setValue(200)
    page.take_news(JobEnded(engines[-1].commands[0].job_id, RunStatus.STOPPED))
    again = open_page()
    command = engines[-1].commands[-1]
    assert (command.completions_per_prompt, command.adapter_id, command.sampler.max_new_tokens) == (4, kind, 200)
    assert child(again, QComboBox, "label-adapter").currentText() == "kind"
    assert len(engines[-1].commands) == 3


def test_that_each_project_keeps_its_own_way_of_sampling(open_page, empty_project, engine, qtbot):
    child(open_page(), QSpinBox, "label-longest").setValue(200)
    other = LabelPage(empty_project, engine)
    qtbot.addWidget(other)
    assert child(other, QSpinBox, "label-longest").value() == 96


@pytest.mark.parametrize("kept", ["", "many", "9", None, ["two"]])
def test_that_what_was_kept_and_cannot_be_chosen_is_passed_over(project, engine, qtbot, kept):
    for name in ("count", "adapter", "longest"):
        QSettings().setValue(f"label/{project.info.id}/{name}", kept)
    page = LabelPage(project, engine)
    qtbot.addWidget(page)
    assert child(page, QComboBox, "label-count").currentData() == 2
    assert child(page, QComboBox, "label-adapter").currentData() is None
    assert child(page, QSpinBox, "label-longest").value() == (9 if kept == "9" else 96)


def test_that_a_failed_job_is_shown_and_not_asked_again_by_itself(open_page, engines, qtbot):
    page = open_page()
    job_id = engines[-1].commands[0].job_id
    page.take_news(JobEnded(job_id, RunStatus.FAILED, "There was not enough memory.", "Use shorter completions."))
    page.refresh()
    assert len(engines[-1].commands) == 1
    assert text_of(page, "label-banner-sentence") == "There was not enough memory."
    qtbot.mouseClick(child(page, QPushButton, "label-banner-retry"), Qt.MouseButton.LeftButton)
    assert len(engines[-1].commands) == 2


def test_that_sampling_goes_on_when_the_engine_is_started_again(open_page, engines):
    page = open_page()
    page.take_news(EngineFailed("The model would not load."))
    page.refresh()
    assert len(engines[-1].commands) == 1
    page.take_news(ModelLoaded("tiny", 1000, 0.1))
    assert len(engines[-1].commands) == 2


def test_that_a_project_without_prompts_offers_the_import(empty_project, engine, qtbot):
    page = LabelPage(empty_project, engine)
    qtbot.addWidget(page)
    page.show()
    page.refresh()
    with qtbot.waitSignal(page.go_to) as asked:
        child(page, QPushButton, "label-import").click()
    assert asked.args == ["prompts"]


def test_that_twenty_ordered_comparisons_offer_a_reward_model(open_page, project, add_group, press):
    for _ in range(20):
        add_group("yes", "no")
    page = open_page()
    offer = child(page, QPushButton, "label-offer")
    press(page, *[KEY.Key_1] * 19)
    assert offer.isHidden()
    press(page, KEY.Key_2)
    assert not offer.isHidden()


def test_that_time_on_another_page_does_not_count(open_page, project, add_group, press, monkeypatch):
    from desktop_rlhf.gui.widgets import stopwatch

    now = [100.0]
    monkeypatch.setattr(stopwatch, "monotonic", lambda: now[0])
    add_group("yes", "no")
    page = open_page()
    now[0] += 2
    page.hide()
    now[0] += 1000
    page.show()
    now[0] += 3
    page.findChild(object, "pick-1").click()
    assert project.comparisons()[0].duration_s == pytest.approx(5.0)


def test_that_a_key_asks_the_store_no_more_when_much_is_stored(open_page, project, add_group, press):
    asked: list[str] = []

    def statements_of_a_key() -> int:
        asked.clear()
        project._store.db.conn.set_trace_callback(asked.append)
        press(page, KEY.Key_1)
        project._store.db.conn.set_trace_callback(None)
        return len(asked)

    for number in range(40):
        add_group(f"yes {number}", f"no {number}")
    page = open_page()
    few = statements_of_a_key()
    press(page, *[KEY.Key_1] * 25)
    assert statements_of_a_key() <= few + 2  # whether there is a reward model is asked once it can be trained
    assert few < 30
    assert len(project.comparisons()) == 27
