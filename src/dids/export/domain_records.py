"""The records of a run as they were read, each with its domain, one after the other.

The sources are read again, and walked through together with the samples that were made of them:
memory does not grow with the texts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dids.data.readers import raw_records
from dids.data.record_fields import RecordError
from dids.data.records import Origin
from dids.data.sources import SourceFiles
from dids.data.token_store import TokenStore
from dids.errors import InputError
from dids.export.record_domains import RecordDomains, record_domains
from dids.run.workspace import Workspace


@dataclass(frozen=True)
class DomainRecord:
    """One record: where it stood, all its fields, its domain."""

    origin: Origin
    fields: Mapping[str, Any]
    domain: str | None
    """None: too short to be a sample, so in no domain."""


@dataclass
class RecordCounts:
    """What became of the records.

    Attributes:
        by_domain: Records of each domain.
        num_without_domain: Records of which no sample was made.
        num_skipped: Bad records, left out as the run left them out.
        num_divided: Records whose samples lie in several domains.
    """

    by_domain: Counter[str] = field(default_factory=Counter)
    num_without_domain: int = 0
    num_skipped: int = 0
    num_divided: int = 0


def source_record_domains(work: Workspace) -> Iterator[tuple[TokenStore, RecordDomains]]:
    """The domains of every source's records, source by source."""
    stores = work.source_stores
    offset = 0
    for store in stores:
        domain_n = work.domains.domain_of_sample[offset : offset + store.num_samples]
        offset += store.num_samples
        yield store, record_domains(store.lines, store.file_numbers, store.lengths, domain_n)


def records_by_domain(work: Workspace) -> dict[str, int]:
    """How many records each domain has, without reading them."""
    names = work.domains.names
    counts = sum(found.counts(len(names)) for _, found in source_record_domains(work))
    return dict(zip(names, [int(count) for count in counts], strict=True))  # type: ignore[union-attr]


def domain_records(work: Workspace, counts: RecordCounts | None = None) -> Iterator[DomainRecord]:
    """Yield every record of the training sources with its domain, in the order of reading.

    Args:
        work: A run whose domains are made.
        counts: Where to count what comes and what is left out.

    Raises:
        InputError: If a source is not what the run read.
    """
    counts = RecordCounts() if counts is None else counts
    sources = work.sources.values()
    for source, (store, found) in zip(sources, source_record_domains(work), strict=True):
        counts.num_divided += found.num_divided
        for record in _records_of_source(source, store, found, work.domains.names, counts):
            if record.domain is None:
                counts.num_without_domain += 1
            else:
                counts.by_domain[record.domain] += 1
            yield record


def _records_of_source(
    source: SourceFiles,
    store: TokenStore,
    found: RecordDomains,
    names: list[str],
    counts: RecordCounts,
) -> Iterator[DomainRecord]:
    # A shared cache may hold the samples of the same files in another folder: names are compared.
    file_names = [Path(file).name for file in store.files]
    bad = {(Path(record.file).name, record.line) for record in store.bad_records}
    number, last, domain = 0, None, None
    for origin, fields in raw_records(source):
        place = (Path(origin.file).name, origin.line)
        sample = found.first_sample_r[number] if number < len(found.domain_r) else None
        if sample is not None and place == (
            file_names[store.file_numbers[sample]],
            store.lines[sample],
        ):
            domain = names[found.domain_r[number]]
            number += 1
        elif origin != last:  # several texts on one line are one record to the samples
            domain = None
        last = origin
        if isinstance(fields, RecordError) or (domain is None and place in bad):
            counts.num_skipped += 1
        else:
            yield DomainRecord(origin, fields, domain)
    if number != len(found.domain_r):
        raise InputError(
            f"{source.paths[0]}: '{source.name}' is not what this run read: of the records with "
            f"samples {len(found.domain_r) - number:,} were not found again; bring the old "
            "file back."
        )
