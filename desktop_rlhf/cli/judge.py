"""A judge command: a program that labels, one JSON object a line in and one out."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

from desktop_rlhf.records.completions import Completion
from desktop_rlhf.records.errors import JudgeError
from desktop_rlhf.records.prompts import Prompt

TIE = "tie"


class Judge:
    """One process for a whole verb; each line is flushed and answered before the next is sent.

    It is sent ``{"prompt": [{"role", "content"}, ...], "completions": ["...", ...]}`` and answers
    ``{"choice": 0}``, an index into the completions, or ``{"choice": "tie"}``.

    Args:
        command: as written in a shell; it is split into words but no shell runs it.

    Raises:
        JudgeError: the command cannot be started.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        try:
            # Windows splits by its own rules, in which a backslash belongs to a path.
            words = command if sys.platform == "win32" else shlex.split(command)
            if not words:
                raise ValueError("it is empty")
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl+C asks us to stop, not the judge
            )
        except (OSError, ValueError) as error:
            raise JudgeError(f"The judge command “{command}” could not be started: {error}.") from error

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the judge end; when nothing went wrong so far, an ending with an error is one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if error is not None:
            self._process.kill()
        self._process.stdout.read()
        status = self._process.wait()
        self._process.stdout.close()
        if error is None and status != 0:
            raise JudgeError(f"The judge command ended with status {status}.", "What it answered before is kept.")

    def ask(self, prompt: Prompt, completions: Sequence[Completion]) -> int | None:
        """The index of the completion it prefers; None is a tie.

        Raises:
            JudgeError: it ended, or its line is not an answer.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        question = {
            "prompt": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "completions": [completion.text for completion in completions],
        }
        try:
            self._process.stdin.write(json.dumps(question, ensure_ascii=True) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return self._choice(line, len(completions))

    def _choice(self, line: str, count: int) -> int | None:
        try:
            choice = json.loads(line)["choice"]
        except (ValueError, KeyError, TypeError, RecursionError):
            choice = object()
        if choice == TIE:
            return None
        if isinstance(choice, bool) or not isinstance(choice, int) or not 0 <= choice < count:
            raise JudgeError(
                f"The judge answered “{line.strip()[:200]}”, which is not a choice among {count}.",
                'It has to answer {"choice": an index from 0, or "tie"}; what it answered before is kept.',
            )
        return choice

    def _ended(self) -> JudgeError:
        status = self._process.wait()
        return JudgeError(
            f"The judge command ended with status {status} before it had answered.", "What it answered before is kept."
        )
