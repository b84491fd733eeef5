"""What an import takes, leaves out and tells, and that it is one transaction."""

from __future__ import annotations

import json
import threading
import time

import pytest

from desktop_rlhf.prompts.files import read_file
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.records.runs import RunStatus
from desktop_rlhf.store.store import Store
from desktop_rlhf.workbench.engine import Engine
from desktop_rlhf.workbench.imported import LINES_NAMED, take_in
from desktop_rlhf.workbench.messages import JobEnded, JobStarted, News, StartRun
from desktop_rlhf.workbench.views import LeftOut


def dialogues(chosen: str, rejected: str, asked: str = "Well?") -> dict[str, str]:
    return {
        side: f"\n\nHuman: {asked}\n\nAssistant: {answer}"
        for side, answer in (("chosen", chosen), ("rejected", rejected))
    }


@pytest.fixture
def write(tmp_path):
    def rows(*written):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in written))
        return path

    return rows


def test_that_pairs_of_dialogues_are_comparisons_and_unusable_ones_are_told_of(project, write) -> None:
    other = dialogues("Yes.", "No.") | {"rejected": dialogues("", "No.", "Ill?")["rejected"]}
    path = write(dialogues("Yes.", "No."), other, dialogues("", "No."), dialogues("Yes.", "Why not?"), other)
    report = project.import_file(path)
    assert (report.rows, report.prompts, report.duplicates, report.comparisons) == (2, 1, 1, 2)
    assert report.left_out == (
        LeftOut("“chosen” and “rejected” differ in more than their last turn.", 2, (2, 5)),
        LeftOut("“chosen” ends with an empty turn.", 1, (3,)),
    )
    assert report.omission == (
        "3 of 5 rows were left out. “chosen” and “rejected” differ in more than their last turn (lines 2, 5). "
        "“chosen” ends with an empty turn (line 3)."
    )
    again = project.import_file(path)
    assert (again.prompts, again.duplicates, again.comparisons) == (0, 2, 0)
    assert again.left_out == report.left_out


def test_that_only_the_first_lines_of_many_are_named(project, write) -> None:
    report = project.import_file(write({"prompt": "fine"}, *[dialogues("Yes.", "Yes.")] * (LINES_NAMED + 2)))
    assert report.omission == (
        "7 of 8 rows were left out. “chosen” and “rejected” are the same (lines 2, 3, 4, 5, 6 and 2 more)."
    )


def test_that_nothing_is_told_of_where_all_was_taken(project, write) -> None:
    assert project.import_file(write(dialogues("Yes.", "No."))).omission == ""


def test_that_rows_are_stored_as_they_are_read(project, write) -> None:
    stored = []

    def rows():
        for row in read_file(write({"prompt": "one"}, {"prompt": "two"})):
            stored.append(len(project.prompts()) - before)
            yield row

    before = len(project.prompts())
    take_in(project._store, rows())
    assert stored == [0, 1]


def test_that_a_wrong_row_at_the_end_takes_back_all_that_came_before_it(project, write) -> None:
    before = project.prompts(), project.comparisons()
    wrong = {"chosen": "a", "rejected": "b"}
    path = write(dialogues("Yes.", "No."), dialogues("Yes.", "Yes."), {"prompt": "fine"}, wrong)
    with pytest.raises(BadInputError, match="line 4: the field “prompt” is missing"):
        project.import_file(path)
    assert (project.prompts(), project.comparisons()) == before
    assert project.import_file(write(dialogues("Yes.", "No."))).comparisons == 1


def test_that_an_import_that_is_broken_off_takes_nothing(project, write) -> None:
    class EnoughError(Exception):
        pass

    def watch(row: int) -> None:
        if row == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        project.import_file(write({"prompt": "new"}, {"prompt": "newer"}), watch=watch)
    assert not any(prompt.text == "new" for prompt in project.prompts())


def test_that_a_run_waits_for_an_import_and_goes_on(labelled, work, write, monkeypatch) -> None:
    """The import keeps the run from writing for far longer than another connection would wait."""
    for opening in (Store.__init__, Store.open.__func__):
        monkeypatch.setitem(opening.__kwdefaults__, "patience_s", 0.01)
    imports = []

    def take_long(row: int) -> None:
        holding.set()
        time.sleep(0.5)

    def meanwhile(_engine: Engine, news: News) -> None:
        if isinstance(news, JobStarted) and not imports:
            path = write({"prompt": "new"})
            imports.append(threading.Thread(target=labelled.import_file, args=(path,), kwargs={"watch": take_long}))
            imports[0].start()
            assert holding.wait(60)

    holding = threading.Event()
    said = work(StartRun("run", "dpo", {"lora_rank": 4}), meanwhile=meanwhile)
    imports[0].join(60)
    assert [news.status for news in said if isinstance(news, JobEnded)] == [RunStatus.COMPLETED]
    assert any(prompt.text == "new" for prompt in labelled.prompts())
