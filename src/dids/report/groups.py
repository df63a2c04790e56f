"""Domains in the order the page shows them: grouped by source, the largest final share first."""

from dataclasses import dataclass

from dids.report.palette import Colour, domain_colours, emphasised
from dids.report.record import RunRecord


@dataclass(frozen=True)
class DomainShare:
    """One domain's share of the mixture at the beginning and at the end."""

    name: str
    first: float
    last: float
    colour: Colour


@dataclass(frozen=True)
class SourceGroup:
    """The domains that come mainly from one source."""

    source: str
    domains: tuple[DomainShare, ...]
    is_emphasised: bool

    @property
    def first(self) -> float:
        """The source's share in the first mixture."""
        return sum(domain.first for domain in self.domains)

    @property
    def last(self) -> float:
        """The source's share in the last mixture."""
        return sum(domain.last for domain in self.domains)

    @property
    def colour(self) -> Colour:
        """The colour of its largest domain."""
        return self.domains[0].colour


def source_groups(run: RunRecord) -> list[SourceGroup]:
    """The domains of a run by source.

    Args:
        run: The record.

    Returns:
        Groups by falling final share, domains inside likewise.
    """
    first = run.mixture[0].probability if run.mixture else {}
    last = run.mixture[-1].probability if run.mixture else {}
    names_by_source: dict[str, list[str]] = {}
    for name, domain in run.domains.items():
        names_by_source.setdefault(domain.main_source or name, []).append(name)
    share = {
        source: (sum(first.get(n, 0.0) for n in names), sum(last.get(n, 0.0) for n in names))
        for source, names in names_by_source.items()
    }
    coloured = emphasised([(source, end - start) for source, (start, end) in share.items()])
    groups = []
    for source in sorted(names_by_source, key=lambda source: (-share[source][1], source)):
        names = sorted(names_by_source[source], key=lambda name: (-last.get(name, 0.0), name))
        hue_index = coloured.index(source) if source in coloured else None
        domains = tuple(
            DomainShare(name, first.get(name, 0.0), last.get(name, 0.0), colour)
            for name, colour in zip(names, domain_colours(hue_index, len(names)), strict=True)
        )
        groups.append(SourceGroup(source, domains, hue_index is not None))
    return groups
