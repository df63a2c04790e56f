"""What changed between two steerings, field by field."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dids.config.steering import SteeredTask, Steering


@dataclass(frozen=True)
class FieldChange:
    """One field that has another value now.

    Attributes:
        field: As the config names it.
        before: The value of before; None where nothing was said.
        after: The value of now; None where nothing is said any more.
    """

    field: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def __str__(self) -> str:
        before, after = ("none" if v is None else v for v in (self.before, self.after))
        return f"{self.field} from {before} to {after}"


def changes(before: Steering, after: Steering) -> list[FieldChange]:
    """The fields whose values differ, in the order of the later steering.

    Example:
        >>> looser = Steering.from_json({"mixture": {"floor": 0.1}})
        >>> [str(change) for change in changes(Steering(), looser)]
        ['mixture.floor from 0.25 to 0.1']
    """
    tasks = [*after.tasks, *before.tasks]
    old, new = (_flat(_complete(steering, tasks), "") for steering in (before, after))
    fields = [*new, *(field for field in old if field not in new)]
    return [
        FieldChange(field, old.get(field), new.get(field))
        for field in fields
        if old.get(field) != new.get(field)
    ]


def _complete(steering: Steering, tasks: Sequence[str]) -> dict[str, Any]:
    """What is said, with the weights of tasks that are left out."""
    default = SteeredTask().model_dump()
    return {
        **steering.to_json(),
        "tasks": dict.fromkeys(tasks, default) | steering.to_json()["tasks"],
    }


def _flat(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}.")
        elif value != []:
            flat[path] = value
    return flat
