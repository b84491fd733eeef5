from __future__ import annotations

from uuid import uuid4

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton

from desktop_rlhf.gui.curves.win_rate import more_to_tell, verdict_on
from desktop_rlhf.gui.pages.compare import REFUSAL_TAG, ComparePage
from desktop_rlhf.records.adapters import Adapter, AdapterKind
from desktop_rlhf.records.completions import Completion, Sampler
from desktop_rlhf.records.prompts import Split
from desktop_rlhf.records.runs import Run, RunStatus
from desktop_rlhf.records.verdicts import SAME_TEXT, Match, Verdict, Winner, WinRate, wilson
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.folder import STORE_FILE
from desktop_rlhf.workbench.messages import EngineFailed, JobEnded, JobProgressed, MatchReady


@pytest.fixture
def candidate(project):
    """A stored policy adapter's id."""
    store = Store.open(project.path / STORE_FILE)
    store.runs.add(Run("run", "dpo", {}, None, None, (), {}))
    store.runs.end("run", RunStatus.COMPLETED)
    store.adapters.add(Adapter("kind", "kind", AdapterKind.POLICY, None, "run", "adapters/kind", "0" * 64))
    store.close()
    return "kind"


@pytest.fixture
def add_matches(project):
    """Stores matches as the engine would, up to a number; the candidate says GOOD and stands left and right in turn."""

    def add(side_by_side_id: str, count: int, same: bool = False) -> None:
        store = Store.open(project.path / STORE_FILE)
        there = store.side_by_sides.matches(side_by_side_id)
        usable = [p for p in project.prompts(Split.HELD_OUT) if REFUSAL_TAG not in p.tags]
        for i, prompt in list(enumerate(usable[:count]))[len(there) :]:
            pair = [
                Completion(uuid4().hex, prompt.id, uuid4().hex, adapter, text, (1,), True, Sampler(), 0)
                for adapter, text in (("kind", "GOOD"), (None, "GOOD" if same else "PLAIN"))
            ]
            for completion in pair:
                store.completions.add_group([completion], to_label=False)
            match = Match(uuid4().hex, side_by_side_id, prompt.id, pair[0].id, pair[1].id, candidate_on_left=i % 2 == 0)
            store.side_by_sides.add_match(match)
            if same:
                store.side_by_sides.add_verdict(Verdict(uuid4().hex, match.id, Winner.TIE, SAME_TEXT))
        store.close()

    return add


@pytest.fixture
def page(qtbot, project, engine, candidate):
    made = ComparePage(project, engine)
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def judging(page, project, engines, add_matches):
    """The page with four matches to judge, sampling over."""
    page.count.setValue(4)
    page.start.click()
    command = engines[-1].commands[-1]
    add_matches(command.side_by_side_id, 4)
    page.take_news(MatchReady(command.job_id, command.side_by_side_id, "first"))
    page.take_news(JobEnded(command.job_id, RunStatus.COMPLETED))
    return command


def press(qtbot, page, key):
    qtbot.keyClick(page._judging, key)


def good_side(page):
    return 0 if page.sides[0].text.toPlainText() == "GOOD" else 1


def test_that_without_an_adapter_training_is_offered(qtbot, project, engine):
    page = ComparePage(project, engine)
    qtbot.addWidget(page)
    assert not page.start.isEnabled()
    with qtbot.waitSignal(page.go_to) as asked:
        page.to_missing.click()
    assert asked.args == ["train"]


def test_that_an_adapter_is_not_compared_with_itself(page):
    page.baseline.setCurrentText("kind")
    assert not page.start.isEnabled()
    page.baseline.setCurrentIndex(0)
    assert page.start.isEnabled()


def test_that_starting_samples_held_out_prompts_without_refusals(page, project, engines):
    page.count.setValue(3)
    page.start.click()
    command = engines[-1].commands[-1]
    held_out = {p.id: p for p in project.prompts(Split.HELD_OUT)}
    assert len(command.prompt_ids) == 3
    assert all(i in held_out and REFUSAL_TAG not in held_out[i].tags for i in command.prompt_ids)
    stored = project.side_by_sides()[0]
    assert stored.id == command.side_by_side_id
    assert (stored.candidate_id, stored.baseline_id) == ("kind", None)
    assert page.progress.isVisible()
    page.take_news(JobProgressed(command.job_id, "writing", 0.5, 20.0))
    assert "50 %" in page.detail.text()


def test_that_no_more_prompts_can_be_asked_for_than_are_held_out(page, project):
    page.count.setValue(10_000)
    usable = [p for p in project.prompts(Split.HELD_OUT) if REFUSAL_TAG not in p.tags]
    assert page.count.value() == len(usable)


def test_that_the_first_match_is_shown_as_soon_as_it_is_written(page, judging):
    assert page.sides[0].isVisible()
    assert {side.text.toPlainText() for side in page.sides} == {"GOOD", "PLAIN"}
    assert page.prompt.toPlainText()


def test_that_more_is_promised_only_while_it_is_being_written(page, engines, add_matches):
    page.start.click()
    command = engines[-1].commands[-1]
    add_matches(command.side_by_side_id, 2)
    page.take_news(MatchReady(command.job_id, command.side_by_side_id, "first"))
    assert page.counter.text() == "0 judged, 2 to go, more being written"
    page.take_news(JobEnded(command.job_id, RunStatus.COMPLETED))
    assert page.counter.text() == "0 judged, 2 to go"


def test_that_nothing_on_the_page_tells_which_side_is_which(page, judging):
    shown = " ".join(b.text() + b.toolTip() for side in page.sides for b in side.findChildren(QPushButton))
    assert "kind" not in shown


def test_that_keys_choose_a_side_whichever_side_the_candidate_is_on(qtbot, page, project, judging):
    for _ in range(2):
        press(qtbot, page, Qt.Key.Key_1 if good_side(page) == 0 else Qt.Key.Key_2)
    press(qtbot, page, Qt.Key.Key_T)
    press(qtbot, page, Qt.Key.Key_2 if good_side(page) == 0 else Qt.Key.Key_1)
    assert project.win_rate(judging.side_by_side_id) == WinRate(wins=2, losses=1, ties=1)


def test_that_the_keys_work_when_the_window_gives_the_page_focus(qtbot, page, project, judging):
    page.setFocus()
    qtbot.keyClick(page, Qt.Key.Key_1)
    assert project.win_rate(judging.side_by_side_id).interval.n == 1


def test_that_the_result_is_hidden_until_it_is_asked_for(qtbot, page, judging):
    press(qtbot, page, Qt.Key.Key_1)
    assert not page.result.isVisible()
    page.show_result.click()
    assert page.result.isVisible()
    assert "n = 1 " in page.result.interval.text()


def test_that_the_result_is_shown_when_every_match_is_judged(qtbot, page, judging):
    for _ in range(4):
        assert not page.result.isVisible()
        press(qtbot, page, Qt.Key.Key_1 if good_side(page) == 0 else Qt.Key.Key_2)
    assert page.result.isVisible()
    assert page.result.number.text() == "100 %"
    share = page.result.bars.shares[0]
    assert (share.low, share.high) == (wilson(4, 4).low, wilson(4, 4).high)


def test_that_matches_with_the_same_text_count_as_ties_and_are_told_apart(qtbot, page, project, engines, add_matches):
    page.count.setValue(3)
    page.start.click()
    command = engines[-1].commands[-1]
    add_matches(command.side_by_side_id, 2)
    add_matches(command.side_by_side_id, 3, same=True)
    page.take_news(MatchReady(command.job_id, command.side_by_side_id, "first"))
    page.take_news(JobEnded(command.job_id, RunStatus.COMPLETED))
    assert page.counter.text() == "0 judged, 2 to go, 1 the same on both sides"
    assert (page.undo.isVisible(), page.show_result.isVisible()) == (False, False)
    for _ in range(2):
        press(qtbot, page, Qt.Key.Key_T)
    assert "3 ties, 1 of them where both wrote the same; a tie counts half" in page.result.interval.text()
    press(qtbot, page, Qt.Key.Key_Z)
    assert {side.text.toPlainText() for side in page.sides} == {"GOOD", "PLAIN"}
    assert project.win_rate(command.side_by_side_id) == WinRate(0, 0, ties=2, same=1)


def test_that_undo_brings_the_match_and_the_blindness_back(qtbot, page, project, judging):
    shown = page._showing.match.id
    press(qtbot, page, Qt.Key.Key_1)
    page.show_result.click()
    press(qtbot, page, Qt.Key.Key_Z)
    assert page._showing.match.id == shown
    assert not page.result.isVisible()
    assert project.win_rate(judging.side_by_side_id).interval.n == 0


def test_that_an_unfinished_one_can_be_continued_and_a_finished_one_read(qtbot, page, project, judging):
    press(qtbot, page, Qt.Key.Key_1)
    page.findChild(QPushButton, "compare-back").click()
    again = page.findChild(QPushButton, f"compare-open-{judging.side_by_side_id}")
    assert again.text() == "Continue"
    again.click()
    assert page.counter.text() == "1 judged, 3 to go"
    for _ in range(3):
        press(qtbot, page, Qt.Key.Key_1)
    page.findChild(QPushButton, "compare-back").click()
    again = page.findChild(QPushButton, f"compare-open-{judging.side_by_side_id}")
    assert again.text() == "Show"
    again.click()
    assert page.result.isVisible()


def test_that_one_whose_sampling_never_began_is_sampled_again(page, project, engines):
    made = project.side_by_side("kind", None, 12)
    page.refresh()
    page.findChild(QPushButton, f"compare-open-{made.id}").click()
    assert engines[-1].commands[-1].side_by_side_id == made.id


def test_that_keys_do_nothing_where_there_is_nothing_to_judge(qtbot, page, project, judging):
    page.findChild(QPushButton, "compare-back").click()
    page.setFocus()
    qtbot.keyClick(page, Qt.Key.Key_1)
    assert project.win_rate(judging.side_by_side_id).interval.n == 0


def test_that_failed_sampling_is_explained(page, engines):
    page.start.click()
    command = engines[-1].commands[-1]
    page.take_news(JobEnded(command.job_id, RunStatus.FAILED, "Out of memory.", "Close something."))
    assert page.banner.text == "Out of memory. Close something."
    assert "No match" in page.waiting.text()


def test_that_a_dead_engine_stops_the_waiting(page, engines):
    page.start.click()
    page.take_news(EngineFailed("It broke."))
    assert not page.progress.isVisible()


PLENTY = 500  # prompts


@pytest.mark.parametrize(
    ("rate", "left", "said"),
    [
        (WinRate(30, 10, 0), PLENTY, "“kind” is clearly better than"),
        (WinRate(10, 30, 0), PLENTY, "“kind” is clearly worse than"),
        (WinRate(5, 0, 0), PLENTY, "looks better than “the base model” to your eye, but 5 matches are few"),
        (WinRate(1, 7, 0), PLENTY, "looks worse than “the base model” to your eye, but 8 matches are few"),
        (WinRate(6, 4, 0), PLENTY, "Too few to tell"),
        (WinRate(6, 4, 0), PLENTY, "about 90 more matches would tell."),
        (WinRate(6, 4, 0), 12, "about 90 more matches would tell; there are prompts for 12 more."),
        (WinRate(6, 4, 0), 0, "about 90 more matches would tell; there are prompts for no more."),
        (WinRate(3, 3, 2), PLENTY, "Too few to tell"),
        (WinRate(3, 3, 2), PLENTY, "about 90 more matches would show that you like both about as much."),
        (WinRate(60, 60, 0), PLENTY, "You like both about as much"),
        (WinRate(10, 0, 190, 190), PLENTY, "looks better than “the base model” to your eye, but 10 matches are few"),
        (WinRate(10, 0, 190, 190), PLENTY, "few, besides 190 ties."),
        (WinRate(30, 10, 160), PLENTY, "clearly better than “the base model” to your eye where you saw a difference"),
        (WinRate(30, 10, 160), PLENTY, "difference: in 40 matches, besides 160 ties."),
        (WinRate(12, 8, 20), PLENTY, "about 160 more matches would tell."),
        (WinRate(0, 0, 0), PLENTY, "Nothing is judged"),
    ],
)
def test_that_the_sentence_says_what_the_interval_allows(rate, left, said):
    assert said in verdict_on(rate, "kind", "the base model", left)


@pytest.mark.parametrize("ties", [1, 8, 40, 90])
def test_that_few_matches_do_not_show_that_both_are_liked_as_much(ties):
    assert "Too few to tell" in verdict_on(WinRate(0, 0, ties), "kind", "the base model", PLENTY)


def test_that_as_many_more_are_proposed_as_would_tell(page):
    assert more_to_tell(WinRate(6, 4, 0)) == 90
    assert more_to_tell(WinRate(16, 4, 0)) is None  # it is told
    page.more.offer(WinRate(6, 4, 0), PLENTY)
    assert page.more.count.value() == 90
    page.more.offer(WinRate(6, 4, 0), 12)
    assert (page.more.count.value(), page.more.count.maximum()) == (12, 12)


def test_that_when_all_is_judged_more_of_the_same_two_can_be_judged_and_all_counts(
    qtbot, page, project, engines, judging, add_matches
):
    for _ in range(4):
        assert page.more.isHidden()
        press(qtbot, page, Qt.Key.Key_1 if good_side(page) == 0 else Qt.Key.Key_2)
    assert page.more.isVisible()
    page.more.count.setValue(3)
    page.more.add.click()
    command = engines[-1].commands[-1]
    assert command.side_by_side_id == judging.side_by_side_id
    assert len(command.prompt_ids) == 7
    assert command.prompt_ids[:4] == judging.prompt_ids
    assert command.seed != judging.seed
    assert (page.result.isHidden(), page.more.isHidden()) == (True, True)  # blind to the score again
    add_matches(command.side_by_side_id, 7)
    page.take_news(MatchReady(command.job_id, command.side_by_side_id, "fifth"))
    page.take_news(JobEnded(command.job_id, RunStatus.COMPLETED))
    assert page.counter.text() == "4 judged, 3 to go"
    for _ in range(3):
        press(qtbot, page, Qt.Key.Key_T)
    assert project.win_rate(judging.side_by_side_id) == WinRate(wins=4, losses=0, ties=3)
    assert page.result.number.text() == "79 %"
    page.findChild(QPushButton, "compare-back").click()
    assert page.findChild(QPushButton, f"compare-open-{judging.side_by_side_id}").text() == "Show"


def test_that_no_more_matches_can_be_asked_for_than_there_are_prompts_without_one(qtbot, page, judging):
    for _ in range(4):
        press(qtbot, page, Qt.Key.Key_T)
    page.more.count.setValue(10_000)
    assert page.more.count.value() == page.count.maximum() - 4


def test_that_without_prompts_for_more_matches_import_is_offered(qtbot, page, project, engines, add_matches):
    page.count.setValue(10_000)
    page.start.click()
    command = engines[-1].commands[-1]
    add_matches(command.side_by_side_id, page.count.value())
    page.take_news(JobEnded(command.job_id, RunStatus.COMPLETED))
    while page._showing is not None:
        press(qtbot, page, Qt.Key.Key_T)
    assert (page.more.add.isVisible(), page.more.to_prompts.isVisible()) == (False, True)
    with qtbot.waitSignal(page.go_to) as asked:
        page.more.to_prompts.click()
    assert asked.args == ["prompts"]


def test_that_those_of_which_no_more_was_written_can_still_be_had(qtbot, page, project, engines, add_matches):
    page.count.setValue(30)
    page.start.click()
    command = engines[-1].commands[-1]
    add_matches(command.side_by_side_id, 2)
    page.take_news(MatchReady(command.job_id, command.side_by_side_id, "first"))
    page.take_news(JobEnded(command.job_id, RunStatus.STOPPED))
    for _ in range(2):
        press(qtbot, page, Qt.Key.Key_T)
    assert page.more.count.maximum() == page.count.maximum() - 2
    page.more.count.setValue(1)
    page.more.add.click()
    assert len(engines[-1].commands[-1].prompt_ids) == 3
