"""What is written to a file is read again as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desktop_rlhf.prompts import files
from desktop_rlhf.prompts.files import (
    CompletionRow,
    PreferenceRow,
    write_completions,
    write_preferences,
    write_prompts,
)
from desktop_rlhf.prompts.keys import plain_words, prompt_key
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.records.prompts import Message, Prompt, Split

from .test_files import of, read, said, taken_from, unhurried

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(plain_words)


FORMULAS = st.builds(
    lambda start, rest: start + rest, st.sampled_from(["=", "'=", "''-", "\t", '"@', " +", "＝"]), TEXTS
)


TAGS = st.lists(st.text("abc =+-'", min_size=1).map(str.strip).filter(bool), max_size=3, unique=True).map(tuple)


ONE_TURN = (TEXTS | FORMULAS).map(lambda text: (Message("user", text),))


SEVERAL_TURNS = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=3)


CONVERSATIONS = st.builds(lambda before, last: (*before, *last), SEVERAL_TURNS, ONE_TURN)


def prompts_of(messages) -> st.SearchStrategy[list[Prompt]]:
    return st.lists(
        st.builds(Prompt, st.uuids().map(str), messages, TAGS, st.sampled_from(Split)), min_size=1, max_size=4
    )


@unhurried
@given(prompts_of(CONVERSATIONS))
def test_that_jsonl_gives_back_every_prompt_as_it_was(tmp_path_factory, prompts) -> None:
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    write_prompts(path, prompts)
    assert [of(p) for p in taken_from(path).prompts] == [of(p) for p in prompts]


@unhurried
@given(prompts_of(ONE_TURN))
def test_that_csv_gives_back_every_prompt_of_one_turn_as_it_was(tmp_path_factory, prompts) -> None:
    path = tmp_path_factory.getbasetemp() / "round.csv"
    write_prompts(path, prompts)
    assert [of(p) for p in taken_from(path).prompts] == [of(p) for p in prompts]


@unhurried
@given(prompts_of(ONE_TURN))
def test_that_txt_gives_back_the_words_of_every_prompt(tmp_path_factory, prompts) -> None:
    path = tmp_path_factory.getbasetemp() / "round.txt"
    write_prompts(path, prompts)
    assert [prompt_key(p) for p in taken_from(path).prompts] == [prompt_key(p) for p in prompts]


@unhurried
@given(prompts_of(CONVERSATIONS), TEXTS, TEXTS)
def test_that_preferences_come_back_as_they_were(tmp_path_factory, prompts, chosen, rejected) -> None:
    path = tmp_path_factory.getbasetemp() / "pairs.jsonl"
    write_preferences(path, [PreferenceRow(prompt, chosen, f"{rejected}{chosen}") for prompt in prompts])
    taken = taken_from(path).preferences
    assert [of(p.prompt) for p in taken] == [of(p) for p in prompts]
    assert {(p.chosen, p.rejected) for p in taken} == {(chosen, f"{rejected}{chosen}")}


ASKED = Prompt("1", (Message("user", "=1+1"),), ("-x", "y"), Split.HELD_OUT)


TALK = Prompt("2", (Message("system", "Be brief."), Message("user", "Hi")))


def test_that_a_cell_of_a_csv_file_never_begins_like_a_formula(tmp_path) -> None:
    write_prompts(tmp_path / "a.csv", [ASKED])
    written = (tmp_path / "a.csv").read_bytes().decode("utf-8-sig")
    assert written == "prompt,tags,split\r\n'=1+1,'-x;y,held_out\r\n"


@unhurried
@given(prompts_of(CONVERSATIONS), TEXTS, st.none() | st.booleans())
def test_that_single_completions_come_back_as_they_were(tmp_path_factory, prompts, completion, label) -> None:
    path = tmp_path_factory.getbasetemp() / "singles.jsonl"
    write_completions(path, [CompletionRow(prompt, completion, label) for prompt in prompts])
    taken = taken_from(path).completions
    assert [of(one.prompt) for one in taken] == [of(prompt) for prompt in prompts]
    assert {(one.completion, one.label) for one in taken} == {(completion, label)}


def test_that_single_completions_are_written_in_the_forms_of_trl(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    write_completions(path, [CompletionRow(TALK, "Hello.", None), CompletionRow(TALK, "No.", False)])
    demonstration, judgement = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert demonstration == {
        "prompt": [said("system", "Be brief."), said("user", "Hi")],
        "completion": [said("assistant", "Hello.")],
        "tags": [],
        "split": "train",
    }
    assert judgement == demonstration | {"completion": [said("assistant", "No.")], "label": False}


def test_that_a_quoted_word_in_a_file_of_somebody_else_keeps_its_quote(tmp_path) -> None:
    (prompt,) = read(tmp_path, "a.csv", "prompt\n'-ing' is what?\n").prompts
    assert prompt.text == "'-ing' is what?"


def test_that_preferences_are_written_in_the_form_of_trl(tmp_path) -> None:
    write_preferences(tmp_path / "a.jsonl", [PreferenceRow(TALK, "Hello.", "Grüß Gott")])
    written = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert "Grüß" in written
    assert json.loads(written) == {
        "prompt": [said("system", "Be brief."), said("user", "Hi")],
        "chosen": [said("assistant", "Hello.")],
        "rejected": [said("assistant", "Grüß Gott")],
        "tags": [],
        "split": "train",
    }


def test_that_what_a_format_cannot_hold_is_an_error_and_leaves_no_file(tmp_path) -> None:
    for name in ("a.txt", "a.csv"):
        with pytest.raises(BadInputError, match="longer conversation"):
            write_prompts(tmp_path / name, [ASKED, TALK])
    with pytest.raises(BadInputError, match="which format"):
        write_prompts(tmp_path / "a.doc", [ASKED])
    with pytest.raises(BadInputError, match="cannot hold comparisons"):
        write_preferences(tmp_path / "a.csv", [PreferenceRow(ASKED, "2", "3")])
    with pytest.raises(BadInputError, match="cannot hold completions"):
        write_completions(tmp_path / "a.csv", [CompletionRow(ASKED, "2", None)])
    assert list(tmp_path.iterdir()) == []


def test_that_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_prompts(path, [ASKED])
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]
