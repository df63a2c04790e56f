"""What a record is: a text, a chat, or a prompt with its completion, and where it stood."""

import hashlib
from dataclasses import dataclass
from typing import Literal

Purpose = Literal["train", "task"]
"""Training records need something to score; a task's record may be a prompt alone (generation)."""

Half = Literal["first", "second"]
"""Of records, by their text: see `Record.half`."""

OnBadRecord = Literal["stop", "skip"]
"""Whether a bad record ends the run or is counted and left out."""

ROLES = ("system", "user", "assistant", "tool")
"""Who can speak in a chat. Only the assistant's words are scored."""

ROWS_PER_BATCH = 1024
"""Of a table, so many records are read at once."""


@dataclass(frozen=True)
class Origin:
    """Where a record was read."""

    file: str
    line: int
    """Counted from 1: the line of a JSONL file, the row of a table, the first line of a text."""

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


@dataclass(frozen=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class Record:
    """One record: exactly one of ``text``, ``messages`` and ``prompt`` is set."""

    origin: Origin
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    completion: str | None = None
    """Goes with ``prompt``. None in a task's record that is there to generate from."""
    choices: tuple[str, ...] | None = None
    """Full strings, each a possible completion."""
    answer: int | None = None
    """Index of the right choice; ``completion`` equals ``choices[answer]``."""

    @property
    def texts(self) -> list[str]:
        """Everything it says."""
        if self.text is not None:
            return [self.text]
        if self.messages is not None:
            return [message.content for message in self.messages]
        return [text for text in (self.prompt, self.completion) if text is not None]

    @property
    def half(self) -> Half:
        """The half of all records that it falls into, by what it says: copies stay together.

        Example:
            >>> [Record(Origin("notes.txt", 1), text=text).half for text in ("one", "two", "four")]
            ['first', 'second', 'first']
        """
        digest = hashlib.sha256("\0".join(self.texts).encode()).digest()
        return "second" if digest[0] % 2 else "first"


@dataclass(frozen=True)
class BadRecord:
    """A record that was left out, and why."""

    file: str
    line: int
    reason: str
