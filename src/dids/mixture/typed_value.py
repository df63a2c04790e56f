"""Values of a config that an annotation outside of its schema types: they are held to that."""

from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dids.errors import InputError

_ANY_CLASS = ConfigDict(arbitrary_types_allowed=True)


def typed_value(value: Any, annotation: Any, field: str) -> Any:  # noqa: ANN401
    """A value of the annotated type: a number may be written as YAML takes for a word, ``1e-3``.

    Args:
        value: As the config has it.
        annotation: Of the argument that it is for.
        field: What is said of it, for the message.

    Raises:
        InputError: If it is none.
        TypeError: If the annotation is none, or ``PydanticSchemaGenerationError``.

    Example:
        >>> typed_value("1e-3", float, "training.learning_rate")
        0.001
    """
    adapter = TypeAdapter(annotation, config=_ANY_CLASS)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise InputError(f"{field}: {message[0].lower()}{message[1:]}, got {value!r}.") from None
