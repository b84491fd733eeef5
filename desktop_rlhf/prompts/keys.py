"""What makes two prompts the same."""

from __future__ import annotations

import hashlib

from desktop_rlhf.records.prompts import Prompt


def plain_words(text: str) -> str:
    """``text`` on one line, with single spaces. A byte-order mark left inside a file that was joined is a space too."""
    return " ".join(text.replace("\ufeff", " ").split())


def prompt_key(prompt: Prompt) -> str:
    """SHA-256 in hex over the roles and the words of every turn; spacing and line breaks make no difference.

    Tags, split and source do not count: a prompt that came twice is one prompt.
    """
    turns = "\x1e".join(f"{message.role}\x1f{plain_words(message.content)}" for message in prompt.messages)
    return hashlib.sha256(turns.encode()).hexdigest()
