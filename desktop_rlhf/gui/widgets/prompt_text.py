"""A prompt as it is read."""

from __future__ import annotations

from desktop_rlhf.records.prompts import Prompt

_SPEAKERS = {"system": "System", "user": "User", "assistant": "Model"}


def prompt_text(prompt: Prompt) -> str:
    """A single turn by itself, a conversation with who says what."""
    if len(prompt.messages) == 1:
        return prompt.text
    return "\n\n".join(f"{_SPEAKERS.get(turn.role, turn.role)}: {turn.content}" for turn in prompt.messages)
