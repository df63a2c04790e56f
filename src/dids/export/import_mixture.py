"""Another trainer's mixture as a part of a config: sources with their paths, and priors."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dids.atomic import read_json, whole_folder
from dids.data.readers import raw_records
from dids.data.record_fields import RecordError
from dids.data.sources import SourceFiles
from dids.errors import InputError
from dids.export.blend import rounded
from dids.export.export_run import places_file
from dids.export.file_names import file_stems
from dids.export.record_count import num_records
from dids.export.record_files import JsonlFiles
from dids.export.regroup import (
    UNASSIGNED,
    Regrouped,
    RegroupedDomain,
    check_free_folder,
    read_regrouped,
    write_manifest,
)
from dids.export.target import ImportedMixture, yaml_text
from dids.export.targets import DATA_FORMATS, find_target


def import_mixture(
    path: Path, target_name: str, *, column: str | None = None, out: Path | None = None
) -> ImportedMixture:
    """Read a mixture, by names.

    Args:
        path: Another trainer's file; of ``jsonl`` and ``parquet`` a folder with a file for every
            domain, or one file of all.
        target_name: Whose it is.
        column: The field that names the domain in one file of all records.
        out: A folder for files of the domains, which such a file is divided into.

    Returns:
        Weights that sum to 1, their unit, and the files that are named.

    Raises:
        InputError: If it cannot be read, or nothing has a weight.
    """
    if target_name in DATA_FORMATS:
        if column is not None or out is not None:
            found = _divided(path, target_name, column, out)
        else:
            found = _folder(path, target_name)
    else:
        if column is not None or out is not None:
            raise InputError(f"--column and --out go with --from {' or '.join(DATA_FORMATS)}.")
        target = find_target(target_name)
        found = target.read(path)
        if target.place is not None:
            found = _named(found, path)
    total = sum(found.weights.values())
    if total <= 0.0:
        raise InputError(f"{path}: nothing has a weight above 0.")
    return replace(found, weights={name: w / total for name, w in found.weights.items()})


def config_text(found: ImportedMixture, path: Path, target_name: str) -> str:
    """The part of a config that says the same: YAML, to be put into one."""
    unit = "tokens" if found.unit == "tokens" else "samples"
    text = f"# From {path} ({target_name}); the weights are shares of {found.unit}.\n"
    zero = [name for name, weight in found.weights.items() if weight == 0.0]
    if zero:
        text += f"# Left out, for they have no weight there: {', '.join(zero)}.\n"
    priors = {
        name: {"prior": rounded(weight)} if weight < 1.0 else {}
        for name, weight in found.weights.items()
        if weight > 0.0
    }
    has_all_files = all(name in found.files for name in priors)
    value: dict[str, Any] = {}
    if has_all_files:
        if found.unit == "records":
            text += "# Of texts longer than a sample, one record is several samples; weights that\n"
            text += "# were exported with --unit tokens say the same of them, too.\n"
        sources = {
            source: {"path": _short(found.files[name]), **priors[name]}
            for name, source in _source_names(priors).items()
        }
        value = {"data": {"sources": sources}, "domains": {"number": "sources"}}
        value["mixture"] = {"unit": unit}
    else:
        text += "# Domains by these names get these priors; * stands for anything in a name.\n"
        value["mixture"] = {
            "unit": unit,
            "domains": priors,
        }
    return text + yaml_text(value)


def _source_names(names: Iterable[str]) -> dict[str, str]:
    """What each domain is called as a source, whose name has no slash: ``a-0`` for ``a/0``."""
    found: dict[str, str] = {}
    for name in names:
        source = name.replace("/", "-")
        while source in found.values():
            source += "-"
        found[name] = source
    return found


def _short(files: tuple[str, ...]) -> str | list[str]:
    return files[0] if len(files) == 1 else list(files)


def _named(found: ImportedMixture, path: Path) -> ImportedMixture:
    """Names in the place of paths: as the export or the data's folder says, or the files' own."""
    beside = places_file(path)
    known = read_json(beside)["places"] if beside.exists() else {}
    names = {place: known.get(place) or _name_of(place) for place in found.weights}
    count = Counter(names.values())
    names = {place: name if count[name] == 1 else place for place, name in names.items()}
    return ImportedMixture(
        weights={names[place]: weight for place, weight in found.weights.items()},
        unit=found.unit,
        files={names[place]: files for place, files in found.files.items()},
    )


def _name_of(place: str) -> str:
    path = Path(place)
    regrouped = read_regrouped(path.parent)
    if regrouped is not None:
        for name, domain in regrouped.domains.items():
            if domain.file == path.name:
                return name
    return _stem(path).removesuffix("_document").removesuffix("_text")


def _stem(path: Path) -> str:
    name = path.name
    for ending in (".gz", ".zst", ".jsonl", ".json", ".parquet"):
        name = name.removesuffix(ending)
    return name


def _folder(folder: Path, ending: str) -> ImportedMixture:
    """The domains that are the files of a folder, weighted by their records."""
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder; for one file of all records give --column, the field that "
            "names the domain, and --out, a folder for the domains' files."
        )
    regrouped = read_regrouped(folder)
    if regrouped is not None:
        files = {name: domain.file for name, domain in regrouped.domains.items() if domain.records}
    else:
        found = sorted(file for file in folder.iterdir() if f".{ending}" in file.suffixes)
        files = {_stem(file): file.name for file in found}
    if not files:
        raise InputError(f"{folder}: there is no .{ending} file in it.")
    places = {name: (str((folder / file).absolute()),) for name, file in files.items()}
    return _by_records(places, folder)


def _by_records(places: Mapping[str, tuple[str, ...]], where: Path) -> ImportedMixture:
    counts = {name: float(num_records(files, where)) for name, files in places.items()}
    return ImportedMixture(counts, "records", places)


def _divided(path: Path, format: str, column: str | None, out: Path | None) -> ImportedMixture:
    """One file of all records, divided into files of the domains."""
    if column is None or out is None:
        raise InputError(
            "One file of all records needs both --column, the field that names the domain, and "
            "--out, a folder for the domains' files."
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    check_free_folder(out)
    source = SourceFiles(path.name, (str(path),), format, title=str(path))
    counts = _domain_counts(source, column)
    stems = file_stems(counts)
    with whole_folder(out) as unfinished:
        files = JsonlFiles(unfinished)
        for origin, fields in raw_records(source):
            if not isinstance(fields, RecordError):
                domain = fields.get(column)
                stem = UNASSIGNED if domain is None else stems[str(domain)]
                rest = {key: value for key, value in fields.items() if key != column}
                files.add(stem, origin, rest)
        files.close()
        regrouped = {n: RegroupedDomain(f"{s}.jsonl", counts[n], {}) for n, s in stems.items()}
        write_manifest(unfinished, Regrouped(str(path.absolute()), regrouped))
    places = {name: (str((out / f"{stem}.jsonl").absolute()),) for name, stem in stems.items()}
    return ImportedMixture({n: float(c) for n, c in counts.items()}, "records", places)


def _domain_counts(source: SourceFiles, column: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for origin, fields in raw_records(source):
        if isinstance(fields, RecordError):
            raise InputError(f"{origin}: {fields}.")
        if column not in fields:
            raise InputError(f"{origin}: the record has no field '{column}' to name its domain.")
        if fields[column] is not None:
            counts[str(fields[column])] += 1
    if not counts:
        raise InputError(f"{source.paths[0]}: no record names its domain in '{column}'.")
    return counts
