"""The rows of the page's tables, as values; the template formats them."""

import math
from collections.abc import Container
from dataclasses import dataclass

from dids.report.evidence import DOUBT
from dids.report.groups import DomainShare, SourceGroup
from dids.report.reasons import Reasons, domain_reasons
from dids.report.record import DomainResult, RunRecord

LEAST_MOVE = 0.001
"""A tenth of a percent, the last digit that shares are shown with."""

MAX_HEAT_ROWS = 60
# a screen and a half; beyond it nobody compares rows by eye


@dataclass(frozen=True)
class HeatCell:
    """One impact: its value and its strength relative to the largest one shown."""

    value: float | None
    strength: float
    # from -1 to 1
    error: float | None = None
    # standard error

    @property
    def is_doubtful(self) -> bool:
        """Whether the 90 % interval holds zero."""
        return (
            self.value is not None
            and self.error is not None
            and (abs(self.value) < DOUBT * self.error)
        )


@dataclass(frozen=True)
class HeatRow:
    """One domain's impact on every task."""

    domain: str
    source: str
    share: float
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True)
class HeatMap:
    """The impact of every shown domain on every task in one round."""

    round: int
    tasks: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    largest: float
    num_hidden: int


@dataclass(frozen=True)
class DomainRow:
    """One domain with what was drawn from it."""

    share: DomainShare
    result: DomainResult
    sources: tuple[tuple[str, float], ...]
    # name and fraction of the samples, the largest first
    reasons: Reasons
    # why its share is what it is


@dataclass(frozen=True)
class TokenUse:
    """What a domain's tokens were used for, and the widths of the bar that shows it."""

    name: str
    tokens: int
    asked: float | None
    drawn: int
    repeated: int
    unseen: int
    left: int | None
    # that may still be drawn; None without a limit

    @property
    def fresh(self) -> int:
        """Drawn for the first time."""
        return self.drawn - self.repeated


@dataclass(frozen=True)
class StageTime:
    """Time that one stage took, and its fraction of the longest one's."""

    stage: str
    elapsed_s: float
    fraction: float


def heat_map(run: RunRecord, groups: list[SourceGroup]) -> HeatMap | None:
    """The cosine impact in the last round that measured one.

    Args:
        run: The record.
        groups: The domains by source.

    Returns:
        The table, or None if no round measured impact.
    """
    if not run.impact:
        return None
    impact = run.impact[-1]
    shown, num_hidden = largest_shares(groups, impact.cosine, MAX_HEAT_ROWS)
    values = {share.name: impact.cosine[share.name] for _, share in shown}
    tasks = tuple(name for name in run.tasks if any(name in row for row in values.values()))
    finite = [
        v for row in values.values() for v in row.values() if v is not None and math.isfinite(v)
    ]
    largest = max(map(abs, finite), default=0.0)
    rows: list[HeatRow] = []
    for source, share in shown:
        errors = impact.cosine_error.get(share.name, {})
        cells = tuple(
            _cell(values[share.name].get(task), largest, errors.get(task)) for task in tasks
        )
        rows.append(HeatRow(share.name, source, share.last, cells))
    return HeatMap(impact.round, tasks, tuple(rows), largest, num_hidden)


def largest_shares(
    groups: list[SourceGroup], measured: Container[str], most: int
) -> tuple[list[tuple[str, DomainShare]], int]:
    """The domains that a table has room for, in the order of the groups, with their source.

    Args:
        groups: The domains by source.
        measured: Those that there is something to show of.
        most: How many are shown.

    Returns:
        The domains with the largest last shares, and the number of those left out.
    """
    shares = [
        (group.source, share)
        for group in groups
        for share in group.domains
        if share.name in measured
    ]
    ranked = sorted(shares, key=lambda pair: -pair[1].last)[:most]
    names = {share.name for _, share in ranked}
    shown = [(source, share) for source, share in shares if share.name in names]
    return shown, len(shares) - len(shown)


def domain_rows(run: RunRecord, groups: list[SourceGroup]) -> list[DomainRow]:
    """Every domain, in the order of the groups.

    Args:
        run: The record.
        groups: The domains by source.

    Returns:
        The rows.
    """
    rows = []
    for group in groups:
        for share in group.domains:
            result = run.domains[share.name]
            total = sum(result.source_counts.values()) or 1
            mix = sorted(result.source_counts.items(), key=lambda pair: -pair[1])
            sources = tuple((name, count / total) for name, count in mix if count)
            rows.append(DomainRow(share, result, sources, domain_reasons(run, share.name)))
    return rows


def moved(rows: list[DomainRow]) -> list[DomainRow]:
    """Domains whose share moved by as much as the page shows, the farthest first.

    Args:
        rows: All domains.

    Returns:
        Some of them.
    """
    far = [row for row in rows if abs(row.share.last - row.share.first) >= LEAST_MOVE]
    return sorted(far, key=lambda row: -abs(row.share.last - row.share.first))


def token_uses(run: RunRecord, groups: list[SourceGroup]) -> list[TokenUse]:
    """Tokens asked for, drawn, repeated and left, of every domain that something is known of.

    Args:
        run: The record.
        groups: The domains by source.

    Returns:
        In the order of the groups.
    """
    uses = []
    for share in (share for group in groups for share in group.domains):
        domain = run.domains[share.name]
        if domain.tokens_drawn is None:
            continue
        unseen = domain.tokens_unseen
        repeated = domain.tokens_repeated
        uses.append(
            TokenUse(
                name=share.name,
                tokens=domain.tokens,
                asked=domain.tokens_asked,
                drawn=domain.tokens_drawn,
                # Records of older versions have neither: exact but for a pass that is not over.
                repeated=max(0, domain.tokens_drawn - domain.tokens)
                if repeated is None
                else repeated,
                unseen=max(0, domain.tokens - domain.tokens_drawn) if unseen is None else unseen,
                left=domain.tokens_left,
            )
        )
    return uses


def stage_times(run: RunRecord) -> list[StageTime]:
    """Time by stage.

    Args:
        run: The record.

    Returns:
        The stages in the order they ran.
    """
    longest = max(run.time_s.values(), default=0.0) or 1.0
    return [StageTime(name, time, time / longest) for name, time in run.time_s.items()]


def _cell(value: float | None, largest: float, error: float | None) -> HeatCell:
    if value is None or not math.isfinite(value):
        return HeatCell(None, 0.0)
    return HeatCell(value, value / largest if largest else 0.0, error)
