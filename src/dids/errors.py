"""The one error that people see without a traceback."""


class InputError(Exception):
    """A mistake in what the user gave: a file, a record, a setting, or the machine under it.

    The message is one sentence that says what is wrong, where (file, line, field), and what would
    be right. The command line prints it and exits with 2.
    """
