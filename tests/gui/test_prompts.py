"""The Prompts page: the list, its filters, and what an import says."""

from __future__ import annotations

import json

import pytest
from PySide6.QtWidgets import QComboBox, QFileDialog, QLabel, QLineEdit, QPlainTextEdit, QPushButton, QTableView

from desktop_rlhf.gui.bridge.awaited import BrokenOffError, Watch
from desktop_rlhf.gui.pages.prompts import PromptsPage
from desktop_rlhf.records.prompts import Split


@pytest.fixture
def open_page(engine, qtbot):
    def show(project) -> PromptsPage:
        page = PromptsPage(project, engine)
        qtbot.addWidget(page)
        page.show()
        page.refresh()
        return page

    return show


def rows(page) -> list[str]:
    model = page.findChild(QTableView, "prompts-table").model()
    return [model.index(row, 0).data() for row in range(model.rowCount())]


def text_of(page, name) -> str:
    return page.findChild(QLabel, name).text()


def write(tmp_path, text):
    path = tmp_path / "asked.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_that_every_prompt_is_listed(open_page, project):
    page = open_page(project)
    assert rows(page) == [" ".join(prompt.text.split()) for prompt in project.prompts()]


def test_that_search_needs_every_word_in_any_case(open_page, empty_project, tmp_path):
    empty_project.import_file(write(tmp_path, "Name a red fruit\nName a blue bird\nCount to ten\n"))
    page = open_page(empty_project)
    page.findChild(QLineEdit, "prompts-search").setText("NAME bird")
    assert rows(page) == ["Name a blue bird"]
    assert text_of(page, "prompts-count").startswith("1 shown of 3 prompts")


def test_that_the_split_filter_shows_its_prompts(open_page, empty_project, tmp_path):
    empty_project.import_file(write(tmp_path, "Train on me\n"))
    empty_project.import_file(write(tmp_path, "Compare on me\n"), Split.HELD_OUT)
    page = open_page(empty_project)
    page.findChild(QComboBox, "prompts-split").setCurrentIndex(2)
    assert rows(page) == ["Compare on me"]


def test_that_the_tag_filter_shows_its_prompts(open_page, project):
    page = open_page(project)
    tags = page.findChild(QComboBox, "prompts-tag")
    tag = sorted({tag for prompt in project.prompts() for tag in prompt.tags})[0]
    tags.setCurrentIndex(tags.findData(tag))
    assert len(rows(page)) == sum(tag in prompt.tags for prompt in project.prompts())


def test_that_a_row_shows_its_whole_prompt(open_page, project):
    page = open_page(project)
    page.findChild(QTableView, "prompts-table").selectRow(1)
    whole = page.findChild(QPlainTextEdit, "prompts-whole")
    assert not whole.isHidden()
    assert project.prompts()[1].text in whole.toPlainText()


@pytest.mark.parametrize(("name", "split"), [("import-train", Split.TRAIN), ("import-held-out", Split.HELD_OUT)])
def test_that_an_import_says_what_it_brought(open_page, empty_project, tmp_path, monkeypatch, name, split):
    path = write(tmp_path, "One\nTwo\nOne\n")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *args: (str(path), ""))
    page = open_page(empty_project)
    page.findChild(QPushButton, name).click()
    assert [prompt.split for prompt in empty_project.prompts()] == [split, split]
    assert text_of(page, "prompts-toast") == "Imported: 2 new prompts, 1 that stood here already."


def test_that_a_file_that_cannot_be_read_is_named_and_changes_nothing(open_page, empty_project, tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text("{not json\n", encoding="utf-8")
    page = open_page(empty_project)
    page.import_file(path)
    assert text_of(page, "prompts-banner-sentence")
    assert empty_project.prompts() == []


def test_that_an_empty_project_offers_the_import(open_page, empty_project, monkeypatch):
    asked = []
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *args: asked.append(args) or ("", ""))
    page = open_page(empty_project)
    page.findChild(QPushButton, "prompts-empty-import").click()
    assert len(asked) == 1


def test_that_demonstrations_and_judged_completions_are_counted(open_page, empty_project, tmp_path):
    path = tmp_path / "said.jsonl"
    rows = [{"completion": "Yes."}, {"completion": "No.", "label": False}, {"completion": "Oh.", "label": True}]
    path.write_text("\n".join(json.dumps({"prompt": "Is it?"} | row) for row in rows), encoding="utf-8")
    page = open_page(empty_project)
    narrowest = page.minimumSizeHint().width()
    page.import_file(path)
    assert page.minimumSizeHint().width() <= narrowest + 100
    came = "1 new prompt, 2 that stood here already, 1 demonstration, 2 judged completions"
    assert text_of(page, "prompts-toast") == f"Imported: {came}."
    assert text_of(page, "prompts-single") == "To learn from: 1 demonstration and 2 judged completions."
    assert text_of(page, "prompts-count") == "1 prompt · 0 held out"


def test_that_prompts_are_read_again_where_others_came_and_else_not(open_page, empty_project, tmp_path, monkeypatch):
    empty_project.import_file(write(tmp_path, "One\n"))
    page = open_page(empty_project)
    read, found = [], empty_project.prompts
    monkeypatch.setattr(empty_project, "prompts", lambda: read.append(1) or found())
    page.refresh()
    assert read == []
    empty_project.import_file(write(tmp_path, "Two\n"))
    page.refresh()
    assert read == [1]
    assert text_of(page, "prompts-count") == "2 prompts · 0 held out"


def broken_off() -> None:
    raise BrokenOffError


def test_that_an_import_that_is_broken_off_takes_nothing_and_says_so(open_page, empty_project, tmp_path, monkeypatch):
    page = open_page(empty_project)
    monkeypatch.setattr(Watch, "__call__", lambda self, row: broken_off() if row == 3 else None)
    page.import_file(write(tmp_path, "One\nTwo\nThree\n"))
    assert text_of(page, "prompts-toast") == "The import was broken off; nothing of it was taken."
    assert empty_project.prompts() == []


def test_that_rows_that_were_left_out_are_told_of_until_the_next_import(open_page, empty_project, tmp_path):
    path = tmp_path / "pairs.jsonl"
    pairs = [{"prompt": "Is it?", "chosen": "Yes.", "rejected": other} for other in ("No.", "Yes.")]
    path.write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    page = open_page(empty_project)
    told = page.findChild(QLabel, "prompts-left-out")
    assert told.isHidden()
    page.import_file(path)
    assert not told.isHidden()
    assert told.text() == "1 of 2 rows was left out. “chosen” and “rejected” are the same (line 2)."
    page.import_file(tmp_path / "none.txt")
    assert told.isHidden()
