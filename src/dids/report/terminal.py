"""Tables as a command prints them: names on the left, everything else flush right."""

from collections.abc import Mapping, Sequence

from rich.table import Table


def text_table(titles: Sequence[str], texts: Mapping[str, Sequence[str]]) -> Table:
    """A table without lines.

    Args:
        titles: Of the columns behind the names.
        texts: Under them, by name.
    """
    table = Table(box=None)
    table.add_column("", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right")
    for name, row in texts.items():
        table.add_row(name, *row)
    return table
