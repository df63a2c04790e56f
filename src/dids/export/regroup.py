"""The regrouped data: one file a domain, or one file with a column that names the domain.

Beside the files of the domains stands ``domains.json``, which says what is in which.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from dids.atomic import read_json, whole_file, whole_folder, write_json
from dids.data.record_fields import kind_of
from dids.errors import InputError
from dids.export.domain_records import DomainRecord, RecordCounts, domain_records
from dids.export.file_names import file_stems
from dids.export.record_files import ColumnTypes, JsonlFiles, ParquetFiles, RecordFiles
from dids.run.stages.check import check_unchanged
from dids.run.workspace import Workspace

DataFormat = Literal["jsonl", "parquet"]

MANIFEST = "domains.json"
UNASSIGNED = "_without-domain"
"""The file of the records that are too short to be in a domain. No domain's file begins so."""


@dataclass(frozen=True)
class RegroupedDomain:
    """Where the records of one domain are.

    Attributes:
        file: Its file, below the folder.
        records: How many it has.
        kinds: How many are texts, chats (``messages``) and prompts.
    """

    file: str
    records: int
    kinds: dict[str, int]


@dataclass(frozen=True)
class Regrouped:
    """What ``domains.json`` says.

    Attributes:
        run: The run folder that the domains are of, or the file that was divided.
        domains: By name.
        num_without_domain: Records too short to be in a domain; they have a file of their own.
        num_skipped: Bad records, left out as the run left them out.
        num_divided: Long texts of which parts lie in several domains; they are in the one that has
            most of their tokens.
    """

    run: str
    domains: dict[str, RegroupedDomain]
    num_without_domain: int = 0
    num_skipped: int = 0
    num_divided: int = 0

    @property
    def num_records(self) -> int:
        """Records in all files."""
        in_domains = sum(domain.records for domain in self.domains.values())
        return in_domains + self.num_without_domain


def read_regrouped(folder: Path) -> Regrouped | None:
    """What a folder of regrouped records says of itself; None if it is no such folder."""
    try:
        values = read_json(folder / MANIFEST)
        domains = {name: RegroupedDomain(**value) for name, value in values["domains"].items()}
        return Regrouped(**{**values, "domains": domains})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder / MANIFEST}: not what `dids export` writes ({error}); remove the folder or "
            "name another."
        ) from error


def write_manifest(folder: Path, regrouped: Regrouped) -> None:
    """Say in a folder what is in it."""
    write_json(folder / MANIFEST, asdict(regrouped))


def write_by_domain(work: Workspace, folder: Path, format: DataFormat) -> Regrouped:
    """Write one file a domain.

    Args:
        work: A run whose domains are made.
        folder: Becomes a folder of this export alone; an earlier export in it is replaced.
        format: Of the files.

    Returns:
        What was written.

    Raises:
        InputError: If the folder holds something else, the sources have changed, or the format
            cannot hold a record. Then nothing is written.
    """
    check_free_folder(folder)
    check_unchanged(work)
    stems = file_stems(work.domains.names)
    counts, kinds = RecordCounts(), {name: Counter[str]() for name in stems}
    types = _column_types(work, None) if format == "parquet" else None
    with whole_folder(folder) as unfinished:
        files = _files(unfinished, types)
        for record in _shown(work, "regrouping records", counts):
            stem = UNASSIGNED if record.domain is None else stems[record.domain]
            files.add(stem, record.origin, record.fields)
            if record.domain is not None:
                kinds[record.domain][kind_of(record.fields) or "none"] += 1
        files.close()
        regrouped = Regrouped(
            run=str(work.folder.path.absolute()),
            domains={
                name: RegroupedDomain(
                    files.path(stem).name, counts.by_domain[name], dict(kinds[name])
                )
                for name, stem in stems.items()
            },
            num_without_domain=counts.num_without_domain,
            num_skipped=counts.num_skipped,
            num_divided=counts.num_divided,
        )
        write_manifest(unfinished, regrouped)
    return regrouped


def write_with_column(work: Workspace, path: Path, format: DataFormat, column: str) -> RecordCounts:
    """Write one file of all records, in the order of reading, with the domain's name in each.

    Args:
        work: A run whose domains are made.
        path: The file; what is there is replaced.
        format: Of the file.
        column: Name of the field for the domain; null where a record is in none.

    Returns:
        How many records there are of each domain.

    Raises:
        InputError: If a record has a field of that name, the sources have changed, or the format
            cannot hold a record. Then nothing is written.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; with --column one file is written: name a file.")
    check_unchanged(work)
    counts = RecordCounts()
    types = _column_types(work, column) if format == "parquet" else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as unfinished:
        files = _files(Path(unfinished), types)
        for record in _shown(work, "writing records with their domains", counts):
            files.add("all", record.origin, _with_column(record, column))
        files.close()
        with whole_file(path) as whole:
            files.path("all").rename(whole)
    return counts


def check_free_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than an earlier export."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the files of the domains.")
    if folder.exists() and read_regrouped(folder) is None and any(folder.iterdir()):
        raise InputError(
            f"{folder}: the folder holds other files and no earlier export; name a new one."
        )


def _files(folder: Path, types: ColumnTypes | None) -> RecordFiles:
    return JsonlFiles(folder) if types is None else ParquetFiles(folder, types)


def _column_types(work: Workspace, column: str | None) -> ColumnTypes:
    types = ColumnTypes()
    for record in _shown(work, "looking for columns", RecordCounts()):
        types.add(record.origin, record.fields if column is None else _with_column(record, column))
    types.finish()
    return types


def _with_column(record: DomainRecord, column: str) -> dict[str, Any]:
    if column in record.fields:
        raise InputError(
            f"{record.origin}: the record has a field '{column}' already; name the domain's column "
            "otherwise (--column)."
        )
    return {**record.fields, column: record.domain}


def _shown(work: Workspace, title: str, counts: RecordCounts) -> Iterator[DomainRecord]:
    with work.progress.bar(title, sum(store.num_records for store in work.source_stores)) as done:
        for record in domain_records(work, counts):
            yield record
            done(1)
