"""Whether the order of domains matters, and which should come first, where a policy asked for it.

Policies put what they measured into ``explanation.brackets``: a matrix over the domains, in the
order of the mixture's names (`dids.mixture.observation.Observation.brackets_kk`).
"""

from dataclasses import dataclass

from dids.report.groups import SourceGroup
from dids.report.record import MixtureRound, RunRecord
from dids.report.tables import HeatCell, HeatRow, largest_shares

MAX_DOMAINS = 24
"""Beyond it cells are too narrow to be told apart on a screen."""


@dataclass(frozen=True)
class OrderMap:
    """How much sooner than each other shown domain every shown domain should come.

    Attributes:
        round: Before which it was measured.
        domains: Of the columns, and of the rows.
        rows: Cells in parts of the largest value.
        num_hidden: Domains that are not shown.
    """

    round: int
    domains: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    num_hidden: int


def order_map(run: RunRecord, groups: list[SourceGroup]) -> OrderMap | None:
    """The brackets of the domains with the largest shares, as they were last measured.

    Args:
        run: The record.
        groups: The domains by source.

    Returns:
        The table, or None if no policy asked for brackets.
    """
    last = _last_brackets(run)
    if last is None:
        return None
    entry, bracket_kk = last
    place = {name: number for number, name in enumerate(entry.probability)}
    shown, num_hidden = largest_shares(groups, place, MAX_DOMAINS)
    values = [
        [bracket_kk[place[row.name]][place[column.name]] for _, column in shown] for _, row in shown
    ]
    largest = max((abs(value) for row in values for value in row), default=0.0) or 1.0
    rows = tuple(
        HeatRow(
            share.name,
            source,
            share.last,
            tuple(HeatCell(value / largest, value / largest) for value in row),
        )
        for (source, share), row in zip(shown, values, strict=True)
    )
    domains = tuple(share.name for _, share in shown)
    return OrderMap(entry.round, domains, rows, num_hidden)


def _last_brackets(run: RunRecord) -> tuple[MixtureRound, list[list[float]]] | None:
    """The last mixture that was made with brackets, and they; only in the domains of now."""
    for entry in reversed(run.mixture):
        found = entry.explanation.get("brackets")
        if isinstance(found, list) and len(found) == len(entry.probability):
            return entry, found
    return None
