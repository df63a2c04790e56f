"""Where the records of the domains are: in the sources' own files, or regrouped into new ones.

A domain that is one whole source, in files that any trainer reads, is referred to where it lies;
clusters, texts, archives and data sets from elsewhere are written out first.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dids.data import hub, python_corpus
from dids.data.readers import raw_records
from dids.data.record_fields import RecordError, kind_of
from dids.data.sources import SourceFiles, files_of
from dids.errors import InputError
from dids.export.domain_records import records_by_domain
from dids.export.regroup import Regrouped, read_regrouped, write_by_domain
from dids.run.workspace import Workspace

_PLAIN_ENDINGS = (".jsonl", ".parquet")


@dataclass(frozen=True)
class DomainFiles:
    """The records of one domain."""

    files: tuple[str, ...]
    kinds: tuple[str, ...]
    """What they are: ``text``, ``messages``, ``prompt``."""
    records: int


def domain_files(
    work: Workspace, records_folder: Path, *, may_be_several: bool, regroup: bool
) -> dict[str, DomainFiles]:
    """The files of every domain; they are written if they have to be and are not there yet.

    Args:
        work: A finished run.
        records_folder: Where regrouped records are, or shall be.
        may_be_several: Whether a domain may have more than one file.
        regroup: Write files of the domains even where a source is one.

    Returns:
        By domain; one without records of its own has no file.

    Raises:
        InputError: If the folder holds something else, or sources cannot be read.
    """
    if not regroup:
        found = _source_files(work, may_be_several=may_be_several)
        if found is not None:
            return found
    regrouped = _regrouped(work, records_folder)
    folder = records_folder.absolute()
    return {
        name: DomainFiles(
            files=(str(folder / domain.file),) if domain.records else (),
            kinds=tuple(sorted(domain.kinds)),
            records=domain.records,
        )
        for name, domain in regrouped.domains.items()
    }


def _regrouped(work: Workspace, folder: Path) -> Regrouped:
    regrouped = read_regrouped(folder) if folder.is_dir() else None
    if regrouped is None:
        return write_by_domain(work, folder, "jsonl")
    if regrouped.run != str(work.folder.path.absolute()):
        raise InputError(
            f"{folder} holds the records of another run ({regrouped.run}); name another folder "
            "(--data), or remove it."
        )
    return regrouped


def _source_files(work: Workspace, *, may_be_several: bool) -> dict[str, DomainFiles] | None:
    """The files of the sources, if every domain is one whole source of plain files.

    None too where bad records were skipped: they are still in the file, and stop other tools.
    """
    counts_ks = work.domains.source_counts_ks
    sizes = np.array([store.num_samples for store in work.source_stores])
    sources = list(work.sources.values())
    records = records_by_domain(work)
    whole: list[tuple[str, int, tuple[str, ...]]] = []
    for name, count_s in zip(work.domains.names, counts_ks, strict=True):
        source = int(np.argmax(count_s))
        is_whole = count_s[source] == sizes[source] == count_s.sum()
        if not is_whole or work.source_stores[source].bad_records:
            return None
        files = _plain_files(sources[source])
        if not files or (len(files) > 1 and not may_be_several):
            return None
        whole.append((name, source, files))
    # Kinds come last: to know them, every file is read to its end.
    return {
        name: DomainFiles(files, _kinds(work, source), records[name])
        for name, source, files in whole
    }


def _plain_files(source: SourceFiles) -> tuple[str, ...]:
    """The files of a source that any trainer reads; none if they are not all such."""
    if any(hub.is_hub_path(p) or python_corpus.is_python_path(p) for p in source.paths):
        return ()
    files = files_of(source)
    is_plain = any(all(file.suffix == ending for file in files) for ending in _PLAIN_ENDINGS)
    return tuple(str(file.absolute()) for file in files) if is_plain and not source.format else ()


def _kinds(work: Workspace, number: int) -> tuple[str, ...]:
    """All kinds of records in a source, of which a later one may be another than the first.

    Args:
        work: The run.
        number: Of the source.
    """
    kinds: set[str] = set()
    source, store = list(work.sources.values())[number], work.source_stores[number]
    with work.progress.bar(f"kinds of records in {source.name}", store.num_records) as done:
        for _, fields in raw_records(source):
            if not isinstance(fields, RecordError):
                kinds.add(kind_of(fields) or "none")
            done(1)
    return tuple(sorted(kinds))
