"""Writes a finished run's mixture, or its regrouped records, for another trainer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dids import __version__
from dids.atomic import read_json, write_json, write_text
from dids.config.batch import batch_size
from dids.errors import InputError
from dids.export.blend import Blend, BlendDomain
from dids.export.domain_files import DomainFiles, domain_files
from dids.export.file_names import file_stems
from dids.export.regroup import DataFormat, write_by_domain, write_with_column
from dids.export.run_mixture import Choice, RunMixture, Unit
from dids.export.target import Target
from dids.export.targets import DATA_FORMATS, find_target
from dids.report.record import RunRecord, read_run_record
from dids.run.folder import RunFolder, open_run
from dids.run.workspace import Progress, Workspace

FOLDER = "export"
"""Below the run folder: where exports are, unless another place is named."""
RECORDS = "records"

_CHOICES: dict[Choice, str] = {
    "final": "the mixture of the run's last round",
    "average": "the shares of everything that the run trained on",
    "schedule": "the mixture of every round of the run",
}


@dataclass(frozen=True)
class ExportOptions:
    """What to export, and how."""

    target: str
    out: Path | None = None
    """The file (a folder for regrouped records). None: in the run folder."""
    choice: Choice = "final"
    unit: Unit | None = None
    """None: what the target's weights usually mean."""
    data: Path | None = None
    """Where the domains' data is, or shall be. None: in the run folder."""
    regroup: bool = False
    """Write files of the domains even where they are whole sources."""
    column: str | None = None
    """Name of the field for the domain in one file of all records. None: one file a domain."""
    steps: int | None = None
    """Of the training that is planned. None: as many as the run had."""
    batch_size: int | None = None
    """Sequences of one of those steps. None: the run's."""


def export_run(run: Path, options: ExportOptions, progress: Progress) -> list[str]:
    """Write the export.

    Args:
        run: The run folder.
        options: What to write.
        progress: Where progress goes.

    Returns:
        Sentences that say what was written where, and what weights mean.

    Raises:
        InputError: If there is no finished run, no such target, or the target cannot take what the
            run has. Then no file of the mixture is written.
    """
    is_data = options.target in DATA_FORMATS
    target = None if is_data else find_target(options.target)
    work = Workspace(open_run(run), RunFolder(run), progress)
    record = _finished(run)
    with work.folder.locked():
        if target is None:
            return _export_records(work, options)
        return _export_mixture(work, record, target, options)


def _finished(run: Path) -> RunRecord:
    if not (run / "result.json").exists():
        raise InputError(
            f"{run}: the run is not finished, so it has no result.json; `dids run {run}` goes on."
        )
    return read_run_record(run / "result.json")


def _export_records(work: Workspace, options: ExportOptions) -> list[str]:
    format: DataFormat = "parquet" if options.target == "parquet" else "jsonl"
    if options.choice != "final" or options.unit is not None or options.data is not None:
        raise InputError(
            f"--to {format} writes records and no weights; leave --weights, --unit and --data out."
        )
    folder = work.path(FOLDER)
    if options.column == "":
        raise InputError("--column is empty; name the field that shall hold the domain.")
    if options.column is None:
        out = options.out or folder / (RECORDS if format == "jsonl" else f"{RECORDS}-{format}")
        found = write_by_domain(work, out, format)
        lines = [
            f"{out}: {found.num_records:,} records in the files of {len(found.domains)} domains"
        ]
        counts: Any = found
    else:
        out = options.out or folder / f"{RECORDS}.{format}"
        counts = write_with_column(work, out, format, options.column)
        num_records = counts.by_domain.total() + counts.num_without_domain
        lines = [f"{out}: {num_records:,} records with their domain in '{options.column}'"]
    if counts.num_divided:
        lines.append(
            f"{counts.num_divided:,} long records have parts in several domains; each is in the "
            "one that has most of its tokens"
        )
    if counts.num_without_domain:
        lines.append(f"{counts.num_without_domain:,} records are too short to be in a domain")
    if counts.num_skipped:
        lines.append(f"{counts.num_skipped:,} bad records are left out, as the run left them out")
    return lines


def _export_mixture(
    work: Workspace, record: RunRecord, target: Target, options: ExportOptions
) -> list[str]:
    if options.column is not None:
        raise InputError(f"--column goes with --to {' or '.join(DATA_FORMATS)}.")
    if options.choice == "schedule" and not target.takes_schedule:
        raise InputError(
            f"{target.title} takes one mixture for a whole training, so --weights must be final "
            "or average."
        )
    out = (options.out or work.path(FOLDER) / target.file_name).absolute()
    if out.is_dir():
        raise InputError(f"{out} is a folder; --out must name a file.")
    is_own = target.data == "own"
    records_folder = work.path(FOLDER) / RECORDS
    own_folder = work.path(FOLDER) / target.name
    if options.data is not None:
        records_folder, own_folder = (
            (records_folder, options.data) if is_own else (options.data, own_folder)
        )
    files = domain_files(
        work,
        records_folder,
        may_be_several=target.takes_several_files,
        regroup=options.regroup,
    )
    blend = _blend(record, work, target, files, own_folder.absolute(), options)
    texts = target.write(blend, out.with_suffix(""))
    _write(out, target, blend, texts)
    return [f"{out}: {len(blend.domains)} domains for {target.title}", *blend.about[1:]]


def _blend(
    record: RunRecord,
    work: Workspace,
    target: Target,
    files: dict[str, DomainFiles],
    own_folder: Path,
    options: ExportOptions,
) -> Blend:
    unit = options.unit or target.unit
    mixture = RunMixture.of_run(record, {name: found.records for name, found in files.items()})
    stages = mixture.chosen(options.choice, unit)
    stems = file_stems(mixture.names)
    kept = [name for name in mixture.names if any(stage.weights[name] > 0 for stage in stages)]
    left_out = [name for name in mixture.names if name not in kept]
    run_steps = int(read_json(work.path("result.json"))["steps"])
    steps = options.steps or run_steps
    about = [
        f"Written by dids {__version__}: {_CHOICES[options.choice]} {work.folder.path.absolute()}.",
        f"Weights are shares of {unit}: {target.meaning}"
        if unit == target.unit
        else f"Weights are shares of {unit}, as asked for.",
    ]
    if left_out:
        about.append(f"Left out, for they have no weight or no record: {', '.join(left_out)}.")
    if target.data == "own":
        places = sorted({str(Path(file).parent) for name in kept for file in files[name].files})
        about.append(
            f"The records in {', '.join(places)} must be brought into {target.title}'s own form "
            f"first, each domain's below {own_folder}."
        )
    return Blend(
        domains=tuple(
            BlendDomain(
                name=name,
                stem=stems[name],
                files=files[name].files,
                kinds=files[name].kinds,
                records=files[name].records,
                tokens=record.domains[name].tokens,
            )
            for name in kept
        ),
        stages=stages,
        unit=unit,
        about=tuple(about),
        folder=str(own_folder),
        seed=record.seed,
        steps=steps,
        batch_size=options.batch_size or batch_size(work.config),
        tokens=round(record.tokens * steps / run_steps),
    )


def _write(out: Path, target: Target, blend: Blend, texts: dict[str, str]) -> None:
    """The file, what belongs beside it, and last the file itself: with it the export is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_suffix("")
    for name, text in texts.items():
        if name:
            folder.mkdir(exist_ok=True)
            write_text(folder / name, text)
    if target.place is not None:
        place = target.place
        write_json(
            places_file(out),
            {
                "about": list(blend.about),
                "unit": blend.unit,
                "places": {place(blend, domain): domain.name for domain in blend.domains},
            },
        )
    header = ""
    if target.comment is not None:
        header = "".join(f"{target.comment} {sentence}\n" for sentence in blend.about)
    write_text(out, header + texts[""])


def places_file(out: Path) -> Path:
    """The file beside an export that says which place is which domain, where it has no names."""
    return out.with_name(f"{out.name}.domains.json")
