"""The one error that people see without a traceback, and how a full disk is told from others."""

import errno
from collections.abc import Iterable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_SAYS = (
    *(f"os error {number})" for number in _FULL),  # what is written in Rust: weights, tokenizers
    "inline_container.cc",  # PyTorch's writer, which knows only that less was written than it gave
    "iostream error",
    " requested and ",  # NumPy's, "11200 requested and 1984 written", without a number of the error
)


class InputError(Exception):
    """A mistake in what the user gave: a file, a record, a setting, or the machine under it.

    The message is one sentence that says what is wrong, where (file, line, field), and what would
    be right. The command line prints it and exits with 2.
    """


class DamagedFileError(InputError, ValueError):
    """A file that a run wrote is not what it was: cut off, or changed by someone else."""


def check_choice(name: str, given: object, choices: Iterable[str]) -> None:
    """Refuse what is none of some words, where another would be taken for it.

    Raises:
        InputError: With the name that it was given by.

    Example:
        >>> check_choice("unit", "tokens", ("samples", "tokens"))
    """
    words = tuple(choices)
    if given not in words:
        raise InputError(f"{name} must be one of {', '.join(words)}, got {given!r}.")


def first_line(error: BaseException) -> str:
    """What an error of a library says first, without a stop; its kind where it says nothing.

    Example:
        >>> first_line(ValueError("No such layer."))
        'No such layer'
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came of, says that a disk or a quota is full.

    Example:
        >>> is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
        True
        >>> is_disk_full(OSError(errno.ENOENT, "No such file or directory"))
        False
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    if any(sign in str(error) for sign in _FULL_SAYS):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and is_disk_full(before)
