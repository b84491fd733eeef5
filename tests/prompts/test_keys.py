from __future__ import annotations

from desktop_rlhf.prompts.keys import prompt_key
from desktop_rlhf.records.prompts import Message, Prompt, Split


def test_that_spacing_alone_does_not_make_another_prompt() -> None:
    def key(*messages: Message) -> str:
        return prompt_key(Prompt("x", messages))

    plain = key(Message("user", "Why is it so?"))
    assert key(Message("user", "  Why is\r\nit\tso? ")) == plain
    assert prompt_key(Prompt("y", (Message("user", "Why is it so?"),), ("t",), Split.HELD_OUT, "f")) == plain
    assert key(Message("user", "why is it so?")) != plain
    assert key(Message("system", "Why is it so?")) != plain
    assert key(Message("user", "Why is"), Message("user", "it so?")) != plain
    assert len(plain) == 64
