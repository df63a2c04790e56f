"""A JSON object or a table's row becomes a `Record`, or one sentence says why it cannot.

``messages`` is looked at first, then ``prompt``, then ``text``; a field that is null counts as
absent and fields of other names are ignored.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from dids.data.records import ROLES, Message, Origin, Purpose, Record

KINDS = ("text", "messages", "prompt")
"""The fields of which a record needs one."""

KNOWN_FIELDS = (*KINDS, "completion", "choices", "answer")


class RecordError(ValueError):
    """Why a record cannot be used, without its place: the reader knows that."""


def record_from_fields(fields: Mapping[str, Any], origin: Origin, purpose: Purpose) -> Record:
    """The record that a mapping of fields describes.

    Args:
        fields: A JSON object, or one row of a table by column name.
        origin: Where it was read.
        purpose: In ``"task"`` a prompt without completion is a record to generate from.

    Returns:
        The record, checked.

    Raises:
        RecordError: If the fields make no record; the message names the field and the rule.

    Example:
        >>> record_from_fields({"prompt": "2+2=", "choices": ["3", "4"], "answer": 1},
        ...                    Origin("sums.jsonl", 1), "task").completion
        '4'
    """
    present = {name: value for name, value in fields.items() if value is not None}
    if "messages" in present:
        return Record(origin, messages=_messages(present["messages"]))
    if "prompt" in present:
        return _prompt_record(present, origin, purpose)
    if "text" in present:
        return Record(origin, text=_text(present["text"], "text"))
    raise RecordError(_no_known_field(fields))


def kind_of(fields: Mapping[str, Any]) -> str | None:
    """Which of `KINDS` a record is read as, unchecked; None if it has none of them.

    Example:
        >>> kind_of({"text": "a", "messages": [{"role": "assistant", "content": "b"}]})
        'messages'
    """
    kinds = ("messages", "prompt", "text")
    return next((kind for kind in kinds if fields.get(kind) is not None), None)


def _prompt_record(fields: Mapping[str, Any], origin: Origin, purpose: Purpose) -> Record:
    prompt = _text(fields["prompt"], "prompt")
    choices, answer = _choices(fields)
    completion = None
    if "completion" in fields:
        completion = _text(fields["completion"], "completion")
        if choices is not None and answer is not None and completion != choices[answer]:
            raise RecordError(
                f"field 'completion' must equal choices[{answer}] = {choices[answer]!r:.80}, "
                f"but it is {completion!r:.80}"
            )
    elif choices is not None and answer is not None:
        completion = choices[answer]
    elif purpose == "train":
        raise RecordError(
            "field 'completion' is missing, and a training record with a prompt needs one"
        )
    return Record(origin, prompt=prompt, completion=completion, choices=choices, answer=answer)


def _choices(fields: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, int | None]:
    if "choices" not in fields:
        return None, None
    choices = fields["choices"]
    if not isinstance(choices, list) or len(choices) < 2:
        raise RecordError(
            f"field 'choices' must be a list of two strings or more, not {_kind(choices)}"
        )
    texts = tuple(_text(choice, f"choices[{index}]") for index, choice in enumerate(choices))
    answer = fields.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(texts):
        raise RecordError(
            f"field 'answer' must be the index of the right choice, 0 to {len(texts) - 1}, "
            + (f"but it is {answer!r:.40}" if answer is not None else "but it is missing")
        )
    return texts, answer


def _messages(value: Any) -> tuple[Message, ...]:  # noqa: ANN401
    if not isinstance(value, list):
        raise RecordError(f"field 'messages' must be a list of messages, not {_kind(value)}")
    messages = tuple(_message(item, f"messages[{index}]") for index, item in enumerate(value))
    if not any(message.role == "assistant" for message in messages):
        raise RecordError(
            "field 'messages' has no message of the role 'assistant', so nothing to learn"
        )
    return messages


def _message(item: Any, field: str) -> Message:  # noqa: ANN401
    if not isinstance(item, Mapping):
        raise RecordError(
            f"field '{field}' must be an object with role and content, not {_kind(item)}"
        )
    role = item.get("role")
    if role not in ROLES:
        raise RecordError(
            f"field '{field}.role' must be one of {', '.join(ROLES)}, but it is {role!r:.40}"
        )
    content = item.get("content")
    if isinstance(content, list):
        content = "".join(_part(part, f"{field}.content[{i}]") for i, part in enumerate(content))
    # An empty system or user turn is common and harmless; an empty answer leaves nothing to score.
    return Message(role, _text(content, f"{field}.content", may_be_empty=role != "assistant"))


def _part(part: Any, field: str) -> str:  # noqa: ANN401
    if not isinstance(part, Mapping) or part.get("type") != "text":
        raise RecordError(
            f"field '{field}' must be {{'type': 'text', 'text': ...}}: only text is read"
        )
    return _text(part.get("text"), f"{field}.text", may_be_empty=True)


def _text(value: Any, field: str, *, may_be_empty: bool = False) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise RecordError(f"field '{field}' must be a string, not {_kind(value)}")
    if not may_be_empty and not value.strip():
        raise RecordError(f"field '{field}' is empty, and it must have text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RecordError(
            f"field '{field}' has half of a surrogate pair at character {error.start}, "
            "which is not text in UTF-8"
        ) from None
    return value


def _no_known_field(fields: Mapping[str, Any]) -> str:
    if not fields:
        return f"the record has no field, and it needs one of {', '.join(KINDS)}"
    found = ", ".join(f"'{name}'" + (" (null)" if fields[name] is None else "") for name in fields)
    sentence = f"the record has none of the fields {', '.join(KINDS)}, only {found:.200}"
    for name in fields:
        if nearest := get_close_matches(str(name).lower(), set(KINDS) - {name}, n=1):
            return f"{sentence}; did you mean '{nearest[0]}' for '{name}'?"
    return sentence


def _kind(value: object) -> str:
    """The JSON word for a value's type, with the value where it is short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value!r:.40}"
    if isinstance(value, str):
        return f"the string {value!r:.40}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"
