"""Dialogues that are one text, as HH-RLHF has them: ``\\n\\nHuman: Hi.\\n\\nAssistant: Hello.``"""

from __future__ import annotations

import re

_BEGINNING = re.compile(r"\s*(Human|Assistant):")
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def is_dialogue(value: object) -> bool:
    """Whether ``value`` is a text that begins with a turn of one of the two."""
    return isinstance(value, str) and _BEGINNING.match(value) is not None


def dialogue_turns(dialogue: str) -> list[dict[str, str]]:
    """The turns as a list of ``{"role", "content"}``, without the space around what was said."""
    parts = _TURN.split("\n\n" + dialogue.lstrip())[1:]
    return [{"role": _ROLES[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]
