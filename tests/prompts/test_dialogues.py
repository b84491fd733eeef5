"""Pairs of whole dialogues, the form of HH-RLHF, and pairs of which a file may hold a few that say nothing."""

from __future__ import annotations

import pytest

from desktop_rlhf.prompts.rows import UnusableRow
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.records.prompts import Message

from .test_files import ANSWERED, HELLO, read, rows, said


def dialogues(asked: str, chosen: str, rejected: str) -> dict[str, str]:
    """A preference in the form of HH-RLHF."""
    return {"chosen": _dialogue(asked, chosen), "rejected": _dialogue(asked, rejected)}


def _dialogue(asked: str, answer: str) -> str:
    return f"\n\nHuman: {asked}\n\nAssistant: {answer}"


@pytest.mark.parametrize(
    "row",
    [
        dialogues("Say hello.", "Hello!", "No."),
        dialogues("Say hello.", "Hello!", "No.") | {"prompt": None},
        {"chosen": "Human: Say hello.\n\nAssistant:Hello!\n", "rejected": _dialogue(" Say hello.\n", "No.")},
    ],
    ids=["as it is", "empty fields", "other spaces"],
)
def test_that_two_dialogues_are_a_prompt_with_two_completions(tmp_path, row) -> None:
    (preference,) = read(tmp_path, "a.jsonl", rows(row)).preferences
    assert preference.prompt.messages == (Message("user", "Say hello."),)
    assert (preference.chosen, preference.rejected) == ("Hello!", "No.")


def test_that_the_shared_turns_of_two_dialogues_are_the_prompt(tmp_path) -> None:
    asked = "Say hello.\n\nAssistant: Hello!\n\nThat is: hello.\n\nHuman: Again, Human: again."
    (preference,) = read(tmp_path, "a.jsonl", rows(dialogues(asked, "Hello!", "No."))).preferences
    assert preference.prompt.messages == (
        Message("user", "Say hello."),
        Message("assistant", "Hello!\n\nThat is: hello."),
        Message("user", "Again, Human: again."),
    )
    assert (preference.chosen, preference.rejected) == ("Hello!", "No.")


UNUSABLE = {
    "equal texts": ({"prompt": "a", "chosen": "b", "rejected": "b"}, "“chosen” and “rejected” are the same."),
    "equal conversations": ({"chosen": HELLO, "rejected": HELLO}, "“chosen” and “rejected” are the same."),
    "other questions": (
        {"chosen": [*HELLO, ANSWERED], "rejected": [said("user", "Say bye."), said("assistant", "Bye.")]},
        "“chosen” and “rejected” differ in more than their last turn.",
    ),
    "one that goes on": (
        {"chosen": [*HELLO, ANSWERED], "rejected": [*HELLO, ANSWERED, *HELLO, ANSWERED]},
        "“chosen” and “rejected” differ in more than their last turn.",
    ),
    "equal dialogues": (dialogues("Hi", "Yes.", " Yes."), "“chosen” and “rejected” are the same."),
    "dialogues with other questions": (
        dialogues("Hi", "Yes.", "No.") | {"rejected": "\n\nHuman: Ho\n\nAssistant: No."},
        "“chosen” and “rejected” differ in more than their last turn.",
    ),
    "a dialogue without its answer": (dialogues("Hi", "", "No."), "“chosen” ends with an empty turn."),
    "dialogues that end with a question": (
        {"chosen": "\n\nHuman: Hi", "rejected": "\n\nHuman: Ho"},
        "the prompt has to end with a user turn.",
    ),
    "a dialogue with a blank question": (dialogues(" ", "Yes.", "No."), "the prompt is blank."),
}


@pytest.mark.parametrize(("row", "why"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_that_a_pair_that_prefers_nothing_is_left_out_and_named_with_its_line(tmp_path, row, why) -> None:
    taken = read(tmp_path, "a.jsonl", rows({"prompt": "fine"}) + "\n" + rows(row, {"prompt": "fine too"}))
    assert [prompt.text for prompt in taken.prompts] == ["fine", "fine too"]
    assert taken.preferences == []
    assert taken.unusable == [UnusableRow(3, why)]


def test_that_a_file_of_such_pairs_alone_is_refused(tmp_path) -> None:
    with pytest.raises(BadInputError, match="“a.jsonl”, line 2: “chosen” and “rejected” are the same"):
        read(tmp_path, "a.jsonl", "\n" + rows(*[dialogues("Hi", "Yes.", "Yes.")] * 3))


def test_that_texts_without_a_prompt_among_dialogues_refuse_the_file(tmp_path) -> None:
    for other in ({"chosen": "b", "rejected": "c"}, dialogues("Hi", "Yes.", "No.") | {"rejected": "No."}):
        with pytest.raises(BadInputError, match="line 2: the field “prompt” is missing"):
            read(tmp_path, "a.jsonl", rows(dialogues("Hi", "Yes.", "No."), other))
