"""Names of domains in narrow places: cut in the middle, or broken after a separator.

The end of a name tells the domains of one source apart, so an ellipsis must not take it.
"""

import re

from markupsafe import Markup, escape


def both_ends(name: str) -> Markup:
    """A name whose beginning shrinks when there is no room, and whose last part stays.

    Args:
        name: Any text.

    Returns:
        Escaped HTML.

    Example:
        >>> print(both_ends("gsm8k/0"))
        <span class="ends" title="gsm8k/0"><span>gsm8k</span><span>/0</span></span>
    """
    start, slash, end = name.rpartition("/")
    if not start:
        start, slash, end = name, "", ""
    html = Markup('<span class="ends" title="{}"><span>{}</span><span>{}</span></span>')
    return html.format(name, start, slash + end)


def breakable(name: str) -> Markup:
    """A name that may be broken after ``_``, ``+``, ``.`` and ``-``.

    Args:
        name: Any text.

    Returns:
        Escaped HTML.

    Example:
        >>> print(breakable("open_instructions/0"))
        open_<wbr>instructions/0
    """
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[_+.-])", name))
