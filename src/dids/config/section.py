"""What every section of the config shares: it is frozen, and closed to keys that nobody reads."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator


def as_fraction(value: object) -> object:
    """A percentage stands for the fraction that it is.

    Example:
        >>> as_fraction("2%"), as_fraction(0.5)
        (0.02, 0.5)
    """
    if isinstance(value, str) and value.strip().endswith("%"):
        number = value.strip().removesuffix("%")
        try:
            return float(number) / 100.0
        except ValueError:
            return value
    return value


Fraction = Annotated[float, BeforeValidator(as_fraction), "number or percentage"]
Share = Annotated[Fraction, Field(ge=0.0, le=1.0)]


def as_tuple(value: object) -> object:
    """One text stands for a list of one."""
    return (value,) if isinstance(value, str) else value


Patterns = Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=1), "pattern"]


class Section(BaseModel):
    """A part of the config: frozen, and closed to keys that nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_is_a_number(cls, value: object, info: Any) -> object:  # noqa: ANN401
        """YAML's yes and no are no numbers, though Python adds them up."""
        if isinstance(value, bool) and info.field_name is not None:
            kinds = _kinds(cls.model_fields[info.field_name].annotation)
            if kinds & {int, float} and bool not in kinds:
                raise ValueError("must be a number, not yes or no")
        return value


def _kinds(annotation: object) -> set[type]:
    """The types that a field's annotation is made of."""
    inner = get_args(annotation)
    if inner:
        return set().union(*map(_kinds, inner))
    return {annotation} if isinstance(annotation, type) else set()
