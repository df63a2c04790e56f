"""What Transformers and its optimizers refuse of ``training``, in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from dids.errors import InputError, first_line


@contextmanager
def refusals_in_one_sentence(
    *kinds: type[Exception], of: str = "these arguments"
) -> Iterator[None]:
    """Inside, an exception of these kinds is the user's mistake.

    Args:
        kinds: Of exceptions.
        of: What is made.

    Raises:
        InputError: In its place, with the first line of what it says.

    Example:
        >>> with refusals_in_one_sentence(ValueError, of="the optimizer"):
        ...     raise ValueError("Invalid weight: -1.0")
        Traceback (most recent call last):
        ...
        dids.errors.InputError: training: Transformers refuses the optimizer: Invalid weight: -1.0.
    """
    try:
        yield
    except kinds as error:
        said = first_line(error)
        raise InputError(f"training: Transformers refuses {of}: {said}.") from None
