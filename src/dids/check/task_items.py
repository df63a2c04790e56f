"""The tasks' items, as a training record could hold them.

An item is asked for as a whole, and by its prompt (of a text: all of it), because a model that has
read the question with any answer is no longer surprised by it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dids.data.records import Origin, Record

_SHOWN_CHARACTERS = 120

Group = tuple[str, str]
"""A task and its split."""


@dataclass(frozen=True)
class TaskItem:
    """One item of a task."""

    group: Group
    origin: Origin
    prompt: str
    whole: str

    @property
    def beginning(self) -> str:
        """What is shown of it."""
        line = " ".join(self.whole.split())
        return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…"


def task_items(group: Group, records: Iterable[Record]) -> list[TaskItem]:
    """The items of one split of a task.

    Args:
        group: The task and its split.
        records: Its records.

    Returns:
        One item a record.
    """
    return [
        TaskItem(group, record.origin, _prompt(record), " ".join(record.texts))
        for record in records
    ]


def _prompt(record: Record) -> str:
    if record.text is not None:
        return record.text
    if record.messages is not None:
        answers = [i for i, message in enumerate(record.messages) if message.role == "assistant"]
        return " ".join(message.content for message in record.messages[: answers[-1]])
    return record.prompt or ""
