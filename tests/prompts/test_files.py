from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desktop_rlhf.prompts import files
from desktop_rlhf.prompts.files import read_file
from desktop_rlhf.prompts.rows import CompletionRow, PreferenceRow, UnusableRow
from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.records.prompts import Message, Prompt, Split


@dataclass(frozen=True)
class Taken:
    """What a file holds, by what its rows mean."""

    prompts: list[Prompt]
    preferences: list[PreferenceRow]
    completions: list[CompletionRow]
    unusable: list[UnusableRow]


def taken_from(path: Path, split: Split = Split.TRAIN) -> Taken:
    rows = list(read_file(path, split))
    return Taken(*([row for row in rows if isinstance(row, kind)] for kind in KINDS))


KINDS = (Prompt, PreferenceRow, CompletionRow, UnusableRow)


def read(folder: Path, name: str, text: str | bytes, split: Split = Split.TRAIN) -> Taken:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return taken_from(path, split)


def rows(*written: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in written)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def of(prompt: Prompt) -> tuple[object, ...]:
    """What a round trip keeps."""
    return prompt.messages, prompt.tags, prompt.split


unhurried = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
HELLO = [said("user", "Say hello.")]


# Formats


def test_that_a_text_file_holds_a_prompt_on_each_line_that_is_not_blank(tmp_path) -> None:
    taken = read(tmp_path, "asked.txt", "Why is the sky blue?\n\n  Name a bird.  \n\t\n", Split.HELD_OUT)
    assert [prompt.text for prompt in taken.prompts] == ["Why is the sky blue?", "Name a bird."]
    assert {prompt.split for prompt in taken.prompts} == {Split.HELD_OUT}
    assert {prompt.source for prompt in taken.prompts} == {"asked.txt"}
    assert len({prompt.id for prompt in taken.prompts}) == 2
    assert taken.preferences == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_that_line_ends_and_a_byte_order_mark_make_no_difference(tmp_path, mark, end) -> None:
    for name, lines in {
        "a.txt": ["One?", "Two?"],
        "a.csv": ["prompt,tags", "One?,x", '"Two?",y'],
        "a.jsonl": ['{"prompt": "One?"}', '{"prompt": "Two?"}'],
    }.items():
        taken = read(tmp_path, name, mark + end.join(lines) + end)
        assert [prompt.text for prompt in taken.prompts] == ["One?", "Two?"], name


def test_that_a_csv_file_is_read_by_its_header(tmp_path) -> None:
    text = 'note, Prompt ,split,tags\nx,"Compare ""a"", b\nand c.",held-out,list; maths;list\n,,,\ny,Name a tree.,,\n'
    first, second = read(tmp_path, "a.csv", text).prompts
    assert first.text == 'Compare "a", b\nand c.'
    assert (first.tags, first.split) == (("list", "maths"), Split.HELD_OUT)
    assert (second.text, second.tags, second.split) == ("Name a tree.", (), Split.TRAIN)


def test_that_a_long_cell_is_read(tmp_path) -> None:
    assert len(read(tmp_path, "a.csv", "prompt\n" + 200_000 * "a").prompts[0].text) == 200_000


def test_that_a_jsonl_prompt_is_a_text_or_a_conversation(tmp_path) -> None:
    turns = [said("system", "Be brief."), said("user", "Hi"), said("assistant", "Hello."), said("user", "Who are you?")]
    text = rows(
        {"prompt": " Why?\n", "id": 7, "score": 1.5},
        {"prompt": turns, "tags": ["chat", "a;b"], "split": "held_out"},
        {"prompt": "Last?", "tags": None, "chosen": None, "rejected": None},
    )
    first, second, third = read(tmp_path, "a.jsonl", "\n" + text).prompts
    assert first.messages == (Message("user", " Why?\n"),)
    assert [m.role for m in second.messages] == ["system", "user", "assistant", "user"]
    assert (second.text, second.tags, second.split) == ("Who are you?", ("chat", "a", "b"), Split.HELD_OUT)
    assert third.tags == ()


def test_that_a_line_separator_inside_a_json_string_ends_no_line(tmp_path) -> None:
    (prompt,) = read(tmp_path, "a.jsonl", '{"prompt": "one\u2028two"}').prompts
    assert prompt.text == "one\u2028two"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": HELLO, "chosen": [said("assistant", "Hello!")], "rejected": [said("assistant", "No.")]},
        {"chosen": [*HELLO, said("assistant", "Hello!")], "rejected": [*HELLO, said("assistant", "No.")]},
        {
            "prompt": "Say hello.",
            "chosen": [*HELLO, said("assistant", "Hello!")],
            "rejected": [*HELLO, said("assistant", "No.")],
        },
        {"prompt": "Say hello.", "chosen": "Hello!", "rejected": "No."},
        {"prompt": HELLO, "chosen": "Hello!", "rejected": [said("assistant", "No.")]},
        {
            "prompt": "Say hello.",
            "prompt_id": "1f",
            "chosen": [*HELLO, said("assistant", "Hello!")],
            "rejected": [*HELLO, said("assistant", "No.")],
            "messages": [*HELLO, said("assistant", "Hello!")],
            "score_chosen": 8.5,
            "score_rejected": 4.0,
        },
    ],
    ids=["explicit", "implicit", "prompt repeated", "plain", "mixed", "UltraFeedback"],
)
def test_that_every_form_of_a_preference_means_the_same(tmp_path, row) -> None:
    taken = read(tmp_path, "a.jsonl", rows(row | {"tags": ["greeting"], "split": "held_out"}))
    assert taken.prompts == []
    (preference,) = taken.preferences
    assert of(preference.prompt) == ((Message("user", "Say hello."),), ("greeting",), Split.HELD_OUT)
    assert (preference.chosen, preference.rejected) == ("Hello!", "No.")


def test_that_the_shared_turns_of_two_conversations_are_the_prompt(tmp_path) -> None:
    shared = [*HELLO, said("assistant", "Hello!"), said("user", "Again.")]
    row = {"chosen": [*shared, said("assistant", "Hello!")], "rejected": [*shared, said("assistant", "")]}
    (preference,) = read(tmp_path, "a.jsonl", rows(row)).preferences
    assert [m.content for m in preference.prompt.messages] == ["Say hello.", "Hello!", "Again."]
    assert (preference.chosen, preference.rejected) == ("Hello!", "")


def test_that_a_file_is_read_no_further_than_its_rows_are_taken(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_bytes(rows({"prompt": "One?"}, {"prompt": "Two?"}).encode() + b"\xff")
    reading = read_file(tmp_path / "a.jsonl")
    assert [next(reading).text, next(reading).text] == ["One?", "Two?"]
    with pytest.raises(BadInputError, match="line 3: not UTF-8"):
        next(reading)


def test_that_a_csv_file_may_hold_preferences(tmp_path) -> None:
    taken = read(tmp_path, "a.csv", "prompt,chosen,rejected\nSay hello.,Hello!,No.\nName a bird.,,\n")
    assert [(p.prompt.text, p.chosen, p.rejected) for p in taken.preferences] == [("Say hello.", "Hello!", "No.")]
    assert [p.text for p in taken.prompts] == ["Name a bird."]


TALKED = [said("system", "Be brief."), *HELLO, said("assistant", "Hello!"), said("user", "Again.")]
ANSWERED = said("assistant", "Hello!")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": TALKED, "completion": [ANSWERED]},
        {"prompt": TALKED, "completion": "Hello!"},
        {"prompt": TALKED, "completion": [*TALKED, ANSWERED]},
        {"prompt": TALKED, "completion": "Hello!", "chosen": None, "rejected": None},
        {"messages": [*TALKED, ANSWERED]},
        {"prompt": TALKED, "messages": [*TALKED, ANSWERED]},
    ],
    ids=["conversational", "a text", "prompt repeated", "empty fields", "messages", "messages with prompt"],
)
@pytest.mark.parametrize("label", [None, True, False])
def test_that_every_form_of_a_single_completion_means_the_same(tmp_path, row, label) -> None:
    row = row | {"tags": ["greeting"], "split": "held_out"} | ({} if label is None else {"label": label})
    taken = read(tmp_path, "a.jsonl", rows(row))
    assert (taken.prompts, taken.preferences) == ([], [])
    (one,) = taken.completions
    turns = tuple(Message(turn["role"], turn["content"]) for turn in TALKED)
    assert of(one.prompt) == (turns, ("greeting",), Split.HELD_OUT)
    assert (one.completion, one.label) == ("Hello!", label)


def test_that_a_text_prompt_is_continued_by_its_completion(tmp_path) -> None:
    (one,) = read(tmp_path, "a.jsonl", rows({"prompt": "The sky is", "completion": " blue."})).completions
    assert (one.prompt.messages, one.completion) == ((Message("user", "The sky is"),), " blue.")


def test_that_a_csv_file_may_hold_demonstrations_and_judgements(tmp_path) -> None:
    text = "prompt,completion,label\nOne?,Yes.,TRUE\nTwo?,No.,false\nThree?,,\nFour?,,true\n"
    taken = read(tmp_path, "a.csv", text)
    assert [(one.completion, one.label) for one in taken.completions] == [("Yes.", True), ("No.", False)]
    assert [prompt.text for prompt in taken.prompts] == ["Three?", "Four?"]
    (shown,) = read(tmp_path, "a.csv", "prompt,completion\nOne?,Yes.\n").completions
    assert (shown.completion, shown.label) == ("Yes.", None)


def test_that_a_judged_completion_may_be_empty_and_a_pair_outweighs_it(tmp_path) -> None:
    (one,) = read(tmp_path, "a.jsonl", rows({"prompt": "a", "completion": "", "label": False})).completions
    assert (one.completion, one.label) == ("", False)
    both = {"prompt": "a", "chosen": "b", "rejected": "c", "messages": [*HELLO, ANSWERED], "completion": "d"}
    taken = read(tmp_path, "a.jsonl", rows(both))
    assert (len(taken.preferences), taken.completions) == (1, [])


# Errors


BAD_ROWS = {
    "not JSON": ('{"prompt": }', "not JSON"),
    "not an object": ('["prompt"]', "not a JSON object"),
    "a field twice": ('{"prompt": "a", "prompt": "b"}', "twice"),
    "nested too deep": ('{"prompt": ' + 100_000 * "[" + 100_000 * "]" + "}", "too deep"),
    "a number of 5000 digits": ('{"prompt": "a", "n": ' + 5000 * "9" + "}", "cannot be read"),
    "no prompt": ('{"text": "a"}', "“prompt” is missing"),
    "null prompt": ('{"prompt": null}', "“prompt” is missing"),
    "a number": ('{"prompt": 5}', "list of turns"),
    "no turns": ('{"prompt": []}', "list of turns"),
    "a turn that is a text": ('{"prompt": ["a"]}', "turn 1"),
    "a turn without content": ('{"prompt": [{"role": "user"}]}', "turn 1"),
    "content that is no text": ('{"prompt": [{"role": "user", "content": 1}]}', "has to be a text"),
    "a role that is no text": ('{"prompt": [{"role": [], "content": "a"}]}', "has to be a text"),
    "an unknown role": ('{"prompt": [{"role": "bot", "content": "a"}]}', "the role “bot”"),
    "ends with the assistant": (rows({"prompt": [*HELLO, said("assistant", "Hi")]}), "end with a user turn"),
    "blank": ('{"prompt": " \\n "}', "blank"),
    "a lone surrogate": ('{"prompt": "a\\ud800"}', "half a character"),
    "an escaped NUL": ('{"prompt": "a\\u0000"}', "NUL"),
    "tags that are a number": ('{"prompt": "a", "tags": 3}', "“tags” has to be a text"),
    "a tag that is a number": ('{"prompt": "a", "tags": ["x", 3]}', "“tags” has to be a text"),
    "an unknown split": ('{"prompt": "a", "split": "test"}', "the split is “test”"),
    "a split that is a number": ('{"prompt": "a", "split": 1}', "“split” has to be a text"),
    "chosen alone": ('{"prompt": "a", "chosen": "b"}', "belong together"),
    "texts without a prompt": ('{"chosen": "b", "rejected": "c"}', "“prompt” is missing"),
    "a blank demonstration": ('{"prompt": "a", "completion": " "}', "“completion” is blank"),
    "a completion that is a number": ('{"prompt": "a", "completion": 3}', "“completion” has to be a list of turns"),
    "a completion by the user": (rows({"prompt": "a", "completion": HELLO}), "exactly one assistant turn"),
    "a completion without a prompt": ('{"completion": "a"}', "“prompt” is missing"),
    "a label that is a word": ('{"prompt": "a", "completion": "b", "label": "good"}', "“label” has to be true or"),
    "a label that is a number": ('{"prompt": "a", "completion": "b", "label": 1}', "“label” has to be true or"),
    "a label that was left open": ('{"prompt": "a", "completion": "b", "label": null}', "“label” has to be true or"),
    "messages that are a text": ('{"prompt": "a", "messages": "b"}', "“messages” has to be a list"),
    "messages that end with the user": (rows({"messages": HELLO}), "“messages” has to end with an assistant turn"),
    "messages without a prompt": (rows({"messages": [ANSWERED]}), "end with a user turn"),
    "messages of another prompt": (rows({"prompt": "a", "messages": [*HELLO, ANSWERED]}), "exactly one assistant"),
    "two answers": (rows({"messages": [*HELLO, ANSWERED, ANSWERED]}), "end with a user turn"),
    "nothing shared": (
        rows({"chosen": [said("assistant", "a")], "rejected": [said("assistant", "b")]}),
        "end with a user turn",
    ),
    "two turns after the prompt": (
        rows({"prompt": "a", "chosen": [said("assistant", "b"), *HELLO], "rejected": [said("assistant", "c")]}),
        "exactly one assistant turn",
    ),
    "a user turn after the prompt": (
        rows({"prompt": "a", "chosen": HELLO, "rejected": [said("assistant", "c")]}),
        "exactly one assistant turn",
    ),
}


@pytest.mark.parametrize(("row", "what"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_that_a_bad_row_is_named_with_its_line_and_nothing_is_taken(tmp_path, row, what) -> None:
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, "asked.jsonl", '{"prompt": "fine"}\n\n' + row)
    assert caught.value.sentence.startswith("“asked.jsonl”, line 3: ")
    assert what in caught.value.sentence
    assert caught.value.next_step
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("question,tags\nWhy?,x\n", 1, "question, tags"),
        ("prompt,prompt\na,b\n", 1, "one column named"),
        ('prompt,tags\n"a\nb",x\nc,d,e\n', 4, "3 cells under a header of 2"),
        ('prompt\nfine\n"open\nfor ever\n', 3, "not a CSV row"),
        ('prompt\n"a" b\n', 2, "not a CSV row"),
        ("prompt,tags\nfine,\n,x\n", 3, "“prompt” is missing"),
        ("prompt,split\nfine,later\n", 2, "the split is “later”"),
        ("prompt,completion,label\nfine,a,true\nopen,b,\n", 3, "“label” has to be true or false"),
        ("prompt,completion,label\nfine,a,true\nshort,b\n", 3, "“label” has to be true or false"),
    ],
)
def test_that_a_bad_csv_row_is_named_with_its_first_line(tmp_path, text, line, what) -> None:
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, "a.csv", text)
    assert caught.value.sentence.startswith(f"“a.csv”, line {line}: ")
    assert what in caught.value.sentence


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", ""), ("a.txt", "\ufeff \r\n"), ("a.csv", ""), ("a.csv", "prompt,tags\n\n"), ("a.jsonl", "\n")],
)
def test_that_a_file_without_prompts_is_an_error(tmp_path, name, text) -> None:
    with pytest.raises(BadInputError, match="holds no prompts"):
        read(tmp_path, name, text)


def test_that_bytes_that_are_not_utf8_are_named_by_their_place(tmp_path) -> None:
    with pytest.raises(BadInputError, match=r"line 2: not UTF-8 text \(byte 9 of"):
        read(tmp_path, "a.txt", b"\xef\xbb\xbfOne?\nT\xff")
    with pytest.raises(BadInputError, match="line 1: not UTF-8"):
        read(tmp_path, "a.txt", "Why?".encode("utf-16"))


def test_that_a_nul_is_refused_in_every_format(tmp_path) -> None:
    for name, first in {"a.txt": "One?", "a.csv": "prompt", "a.jsonl": '{"prompt": "One?"}'}.items():
        with pytest.raises(BadInputError, match="line 2: a NUL"):
            read(tmp_path, name, f"{first}\nb\0\n")


def test_that_a_path_that_is_no_readable_file_is_an_error(tmp_path) -> None:
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "a.docx").write_text("Why?")
    for name, what in {"none.txt": "There is no file", "folder.txt": "is a folder", "a.docx": "kind"}.items():
        with pytest.raises(BadInputError, match=what) as caught:
            taken_from(tmp_path / name)
        assert name in caught.value.sentence
        assert caught.value.next_step


def test_that_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(files.LARGEST_BYTES + 1)
    with pytest.raises(BadInputError, match="larger than 1024 MiB"):
        taken_from(tmp_path / "a.txt")


def test_that_a_file_that_may_not_be_read_is_an_error(tmp_path, monkeypatch) -> None:
    def refused(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.txt").write_text("Why?")
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(BadInputError, match="Permission denied"):
        taken_from(tmp_path / "a.txt")


@unhurried
@given(st.binary(max_size=200), st.sampled_from([".txt", ".csv", ".jsonl"]))
def test_that_no_bytes_raise_anything_but_an_error_for_people(tmp_path_factory, data, ending) -> None:
    try:
        taken = read(tmp_path_factory.getbasetemp(), f"fuzz{ending}", data)
    except BadInputError:
        return
    assert taken.prompts or taken.preferences or taken.completions


FIELDS = ["prompt", "role", "content", "chosen", "rejected", "completion", "messages", "label", "tags", "split"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner),
    max_leaves=12,
)


@unhurried
@given(JSON)
def test_that_no_json_raises_anything_but_an_error_for_people(tmp_path_factory, value) -> None:
    try:
        taken = read(tmp_path_factory.getbasetemp(), "fuzz.jsonl", json.dumps(value))
    except BadInputError:
        return
    assert taken.prompts or taken.preferences or taken.completions
