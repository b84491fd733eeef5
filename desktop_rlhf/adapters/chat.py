"""A model's chat template: from a conversation to token ids, and how a turn of the model ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from desktop_rlhf.records.errors import BadInputError
from desktop_rlhf.records.prompts import Message

# Llama 3.1 and its kin write today's date into the system turn unless they are told one. A prompt that is another one
# tomorrow could not be resumed or compared, so they are told the date that they fall back to themselves.
TEMPLATE_VARIABLES = {"date_string": "26 Jul 2024"}
RAW_BREAK = "\n\n"
"""Stands behind every turn where there is no template."""


class Chat:
    """The template of one tokenizer, or plain text where it has none.

    What a person or a model writes is data: a special token that is spelled out in it becomes the letters it is
    spelled with, never the token.

    Attributes:
        turn_end: the token that ends a turn of the model; None where neither template nor tokenizer knows one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        # Gemma lists line breaks and spaces among its added tokens.
        self._added = {number: token for number, token in added.items() if token.content.strip()}
        self.turn_end: int | None = self._find_turn_end()
        self._lead = self._find_lead()
        self._takes_system = "rule" in self._written([Message("system", "rule"), Message("user", "question")])

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, up to where the model is to speak.

        A template that refuses or drops the system turn gets its text at the top of the first user turn.

        Raises:
            BadInputError: the template does not take these turns.
        """
        if not self.tokenizer.chat_template:
            text = "".join(m.content + RAW_BREAK for m in messages)
            return list(self.tokenizer(text, split_special_tokens=True)["input_ids"])
        if not self._takes_system and any(m.role == "system" for m in messages):
            messages = folded(messages)
        try:
            return list(self._apply(_turns(messages), tokenize=True, sanitize_control_tokens=True, return_dict=False))
        except (TemplateError, ValueError) as error:
            raise BadInputError(
                f"The model's chat template does not take the prompt “{messages[-1].content[:40]}…”: {error}",
                "Change its turns, most templates want user and assistant by turns, or leave it out.",
            ) from error

    def completion_ids(self, text: str) -> list[int]:
        """Token ids of a whole completion that somebody wrote, with the token that ends a turn.

        They are those that follow the prompt: some tokenizers put a space before a text that stands alone.
        """
        before, both = self._plain(self._lead), self._plain(self._lead + text)
        ids = both[len(before) :] if both[: len(before)] == before else self._plain(text)
        return ids if self.turn_end is None else [*ids, self.turn_end]

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _apply(self, turns: Sequence[dict[str, str]], **asked: Any) -> Any:
        return self.tokenizer.apply_chat_template(turns, **{"add_generation_prompt": True} | TEMPLATE_VARIABLES | asked)

    def _written(self, messages: Sequence[Message], **asked: Any) -> str:
        """A conversation as the template writes it; empty where it refuses it or there is none."""
        if not self.tokenizer.chat_template:
            return ""
        try:
            return str(self._apply(_turns(messages), tokenize=False, **asked))
        except TemplateError:
            return ""

    def _find_turn_end(self) -> int | None:
        """The first token of the template's own behind what the assistant says; without one, the tokenizer's end."""
        text = self._written([Message("user", "question"), Message("assistant", "answer")], add_generation_prompt=False)
        behind = text.rpartition("answer")[2]
        ids = self.tokenizer(behind, add_special_tokens=False)["input_ids"] if behind else []
        return next((number for number in ids if number in self._added), self.tokenizer.eos_token_id)

    def _find_lead(self) -> str:
        """The text between a prompt's last special token and where the model is to speak."""
        if not self.tokenizer.chat_template:
            return RAW_BREAK
        text = self._written([Message("user", "question")])
        ends = [(text.rfind(t.content) + len(t.content), t.rstrip) for t in self._added.values() if t.content in text]
        start, swallows = max(ends, default=(0, False))
        return text[start:].lstrip() if swallows else text[start:]


def folded(messages: Sequence[Message]) -> list[Message]:
    """The same without a system turn: its text, then an empty line, then what the first user turn says."""
    system = RAW_BREAK.join(m.content for m in messages if m.role == "system")
    others = [m for m in messages if m.role != "system"]
    first = next((place for place, m in enumerate(others) if m.role == "user"), None)
    if first is None:
        return [Message("user", system), *others]
    others[first] = Message("user", f"{system}{RAW_BREAK}{others[first].content}")
    return others


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]
