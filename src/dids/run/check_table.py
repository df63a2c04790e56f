"""What a check found, for a terminal: tables of sources and leaks, then the warnings."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}
_VERDICTS = {
    "clean": "nothing to mend",
    "warnings": "no leak that is not allowed; see the warnings",
    "leaks": "items of tasks stand among the training records",
    "errors": "a run will stop at what cannot be used",
}


def print_check(result: dict[str, Any], console: Console | None = None) -> None:
    """Print what ``check.json`` holds.

    Args:
        result: Its content.
        console: Where to; standard output unless given.
    """
    console = console or Console(markup=False)
    console.print(_sources(result))
    if result["leaks"] or result["overlaps"]:
        console.print()
        console.print(_leaks(result))
    for warning in result["warnings"]:
        colour = _COLOURS[warning["severity"]]
        line = Text.assemble("\n", (f"{warning['severity']}: ", colour), warning["sentence"])
        if warning["severity"] != "note":
            line.append(f"\n  {warning['advice']}", "italic")
        console.print(line, soft_wrap=True)
    records = sum(source["records"] for source in result["sources"].values())
    console.print(
        f"\n{_VERDICTS[result['verdict']]}: {records:,} records in {result['seconds']:.1f} s "
        f"({result['records_per_s']:,} a second)",
        highlight=False,
        soft_wrap=True,
    )


def _sources(result: dict[str, Any]) -> Table:
    table = Table("source", box=None)
    for title in ("records", "tokens", "epochs", "equal", "nearly", "cut", "bad", "wordless"):
        table.add_column(title, justify="right")
    for name, source in result["sources"].items():
        near = source["duplicates"]["near"]
        about = "" if source["is_exact"] else "~"
        table.add_row(
            name,
            f"{source['records']:,}",
            f"{about}{source['tokens']:,}",
            f"{source['epochs']:.2f}",
            _count(source["duplicates"]["exact"]),
            "–" if near is None else _count(near),
            f"{source['truncated']['share']:.0%}" if source["truncated"]["count"] else "",
            _count(source["bad"]["count"]),
            _count(source["wordless"]["count"]),
        )
    return table


def _leaks(result: dict[str, Any]) -> Table:
    """A row for every task, split and source that share anything."""
    titles = ("word for word", "in part", "an n-gram alone")
    rows: dict[tuple[str, str, str], dict[str, int]] = {}
    sizes: dict[tuple[str, str, str], int] = {}
    for title, found in _by_title(result):
        key = (found["task"], found["split"], found["source"])
        rows.setdefault(key, {})[title] = found["items"]
        sizes[key] = found["of"]
    table = Table("task", "split", "also in source", box=None)
    for title in ("items", *titles):
        table.add_column(title, justify="right")
    for key, counts in rows.items():
        cells = [_count(counts.get(title, 0)) for title in titles]
        table.add_row(*key, f"{sizes[key]:,}", *cells)
    return table


def _by_title(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    titles = {"verbatim": "word for word", "ngrams": "in part"}
    leaks = [(titles[leak["kind"]], leak) for leak in result["leaks"]]
    return leaks + [("an n-gram alone", overlap) for overlap in result["overlaps"]]


def _count(count: int) -> str:
    return f"{count:,}" if count else ""
