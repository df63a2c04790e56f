"""What every section of the config shares: it is frozen, and closed to keys that nobody reads."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


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
