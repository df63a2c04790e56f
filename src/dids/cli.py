"""The command line. Heavy imports wait until a command needs them: help is instant."""

import errno
import gc
import logging
import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dids import __version__
from dids.errors import InputError, is_disk_full
from dids.run.launched_ranks import LostRankError, launched_ranks

if TYPE_CHECKING:
    from dids.config import Config

_ON_SEVERAL_PROCESSES = ("run", "features", "domains", "impact", "train", "evaluate")
_OF_ONE_PROCESS = ("--dry-run", "--add", "--split", "--merge")

app = typer.Typer(
    name="dids",
    help="What should a language model train on next? Measure it, while the model trains.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The config, or its run folder.")
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN_FOLDER", help="A run folder, or a config to start one from.")
]
EngineOption = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="What tokenises and computes features: this process (of several that torchrun has "
        "started, all), or the workers of Ray (on the cluster that RAY_ADDRESS names, else on this "
        "machine's cores). The result is the same."
    ),
]


def _print_version(is_asked: bool) -> bool:
    if is_asked:
        typer.echo(f"dids {__version__}")
        raise typer.Exit
    return is_asked


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("config.yaml"),
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PATH",
            help="A source: a file, a folder, a glob in quotes (without a name, a source for every "
            "file that is no task's) or hf:NAME. Once for each.",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALIDATION[,TEST]",
            help="A task and its files (without a test, half of the validation is kept for it), or "
            "a folder with a file called validation and one called test. Once for each.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A hub name, or a folder with weights.")
    ] = None,
) -> None:
    """Write a commented config to start from, with your files if you point at them."""
    from dids.config.given_files import given_sources, given_tasks
    from dids.config.template import config_text

    tasks = given_tasks(task or ())
    files = [path for paths in tasks.values() for path in paths if path is not None]
    text = config_text(given_sources(data or (), files), tasks, model)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path} is there already; name another file, or remove it.") from None
    except FileNotFoundError:
        raise InputError(
            f"{path.parent}: there is no such folder to write {path.name} to."
        ) from None
    given = {"data": data, "tasks": task, "model": model}
    examples = [name for name, said in given.items() if not said]
    *others, last = examples or ["what you like"]
    change = f"{', '.join(others)} and {last}" if others else last
    typer.echo(f"{path} written; change {change}, then: dids run {path}")


@app.command()
def check(
    config: ConfigArgument,
    allow_leaks: Annotated[
        bool, typer.Option("--allow-leaks", help="Exit with 0 even if tasks' items leak.")
    ] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="PATH", help="Write the result there, too.")
    ] = None,
    list_path: Annotated[
        Path | None,
        typer.Option("--list", metavar="PATH", help="List all records that leak or repeat there."),
    ] = None,
) -> None:
    """Look for leaks, duplicates and records that say nothing; exit with 1 at leaks."""
    from dids.atomic import write_json
    from dids.run.check_table import print_check
    from dids.run.folder import RunFolder
    from dids.run.progress import ConsoleProgress
    from dids.run.runner import opened_run
    from dids.run.stages.check import checked, refuse_bad_records

    settings = _settings(config)
    _quieten_libraries()
    for path in (json_path, list_path):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"{path.parent}: there is no such folder to write {path.name} to.")
    with opened_run(settings, RunFolder(Path(settings.run)), ConsoleProgress()) as work:
        result = checked(work, list_path=list_path)
    print_check(result)
    if json_path is not None:
        write_json(json_path, result)
    refuse_bad_records(work, result)
    if result["verdict"] == "leaks" and not allow_leaks:
        raise typer.Exit(1)


@app.command()
def run(
    config: ConfigArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the run would take, and stop.")
    ] = False,
    no_calibration: Annotated[
        bool,
        typer.Option(
            "--no-calibration", help="With --dry-run: count, but try nothing out; no times."
        ),
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            help="With --dry-run: how many processes the run will be started with.",
        ),
    ] = None,
    engine: EngineOption = "local",
) -> None:
    """Run the whole path, or go on where an earlier call stopped."""
    settings = _settings(config)
    if no_calibration and not dry_run:
        raise InputError("--no-calibration goes with --dry-run; a run has no calibration.")
    if processes is not None and not dry_run:
        raise InputError(
            "--processes goes with --dry-run; those of a run are started by torchrun: torchrun "
            f"--nproc-per-node {processes} -m dids run …"
        )
    if dry_run:
        _print_plan(settings, calibrate=not no_calibration, num_processes=processes or 1)
        return
    _run_until(settings, "report", engine)
    from dids.run.summary import print_summary

    print_summary(Path(settings.run))


@app.command()
def features(run_folder: RunArgument, engine: EngineOption = "local") -> None:
    """Tokenise, warm up the proxy, and take the gradient features of every sample."""
    _run_until(_settings(run_folder), "features", engine)


@app.command()
def domains(
    run_folder: RunArgument,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="NAME=PATH", help="Let a source join, as a domain."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME=NUMBER", help="Divide a domain by its features."),
    ] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option(
            "--merge", metavar="NAME=DOMAIN,...", help="Make one domain of several, * for anything."
        ),
    ] = None,
) -> None:
    """Group the samples into domains by their gradient features.

    With --add, --split or --merge: change the domains of a run that was stopped while it trained.
    """
    settings = _settings(run_folder)
    if add or split or merge:
        _regroup(settings, add or [], split or [], merge or [])
    else:
        _run_until(settings, "domains")
    from dids.run.summary import print_domains

    print_domains(Path(settings.run))


@app.command()
def impact(run_folder: RunArgument) -> None:
    """Measure the impact of every domain on every task before training, on the proxy."""
    settings = _settings(run_folder)
    _run_until(settings, "impact")
    from dids.run.summary import print_impact

    print_impact(Path(settings.run))


@app.command()
def audit(
    run_folder: RunArgument,
    at: Annotated[
        Literal["proxy", "train"],
        typer.Option(
            help="Where to start: the proxy, whose impact makes the first mixture, or the newest "
            "checkpoint of the run."
        ),
    ] = "proxy",
    steps: Annotated[int, typer.Option(help="Optimizer steps on every domain.")] = 16,
    batch_size: Annotated[int, typer.Option(help="Samples of a step.")] = 16,
    share: Annotated[
        float,
        typer.Option(
            help="Part of a step's samples that the domain has, the others being drawn from all "
            "domains alike; 1: the domain alone."
        ),
    ] = 0.25,
    items: Annotated[
        int, typer.Option(help="Validation items of each task, in each of two measurements.")
    ] = 24,
) -> None:
    """Train a little on every domain, and see whether impact has foretold what that does."""
    from dids.audit.audit import AuditSettings
    from dids.audit.command import audit_run
    from dids.run.progress import ConsoleProgress

    settings = _settings(run_folder)
    _run_until(settings, "impact")
    audit_run(settings, AuditSettings(at, steps, batch_size, share, items), ConsoleProgress())


@app.command()
def train(run_folder: RunArgument) -> None:
    """Train with the mixture that follows the run, then the control run."""
    _run_until(_settings(run_folder), "control")


@app.command()
def evaluate(run_folder: RunArgument) -> None:
    """Test the trained models on the tasks' test sets."""
    settings = _settings(run_folder)
    _run_until(settings, "evaluate")
    from dids.run.summary import print_evaluation

    print_evaluation(Path(settings.run))


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_FOLDER...",
            help="A run folder; or several, whose finished runs are compared with the first.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the page of a comparison goes; comparison.html in the first run folder if "
            "not given."
        ),
    ] = None,
) -> None:
    """Write result.json and report.html (again); of several runs, a page that compares them."""
    from dids.atomic import forgotten

    if len(runs) > 1:
        from dids.report import read_run_record, write_comparison

        records = [(str(path), read_run_record(path / "result.json")) for path in runs]
        page = runs[0] / "comparison.html" if out is None else out
        write_comparison(page, records)
        typer.echo(str(page))
        return
    if out is not None:
        raise InputError("--out is for comparisons; the report of one run lies in its folder.")
    settings = _settings(runs[0])
    mark = Path(settings.run) / "stages" / "report.json"
    with forgotten(mark):
        _run_until(settings, "report")
    typer.echo(str(Path(settings.run) / "report.html"))


@app.command()
def compare(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="What all runs have in common.")],
    policies: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Policies, or YAML files of entrants, separated by commas; all: every policy of "
            "the package. uniform takes part in any case.",
        ),
    ] = "all",
    seeds: Annotated[str, typer.Option(help="Such as 0-4 or 0,2,7.")] = "0-4",
    tune: Annotated[
        int,
        typer.Option(min=0, help="Settings to try of each policy, on a seed left out of the rest."),
    ] = 0,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time, if not as the machine allows.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder of the contest, if not the config's run-compare."),
    ] = None,
) -> None:
    """Let policies compete on your data: same trainer, sampler, seeds and budget."""
    from dids.compare.command import ContestOptions, run_contest

    options = ContestOptions(policies, seeds, tune, jobs, out)
    settings = _settings(config)
    _quieten_libraries()
    if run_contest(settings, options):
        raise typer.Exit(1)


@app.command()
def export(
    run_folder: Annotated[
        Path, typer.Argument(metavar="RUN_FOLDER", help="The folder of a finished run.")
    ],
    to: Annotated[
        str,
        typer.Option(
            help="llamafactory, axolotl, ms-swift, trl, datasets, megatron, nemo, olmo-core, "
            "torchtitan, litdata, mosaicml, levanter or json for weights; jsonl or parquet for "
            "the records, regrouped."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file (of records: the folder). In the run folder.")
    ] = None,
    weights: Annotated[
        Literal["final", "average", "schedule"],
        typer.Option(help="The last round's, what was trained on in all, or every round's."),
    ] = "final",
    unit: Annotated[
        Literal["records", "tokens"] | None,
        typer.Option(help="What weights are shares of, if not what the target usually means."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the domains' data is, or shall be written.")
    ] = None,
    regroup: Annotated[
        bool, typer.Option("--regroup", help="Write files of domains even where sources are some.")
    ] = False,
    column: Annotated[
        str | None, typer.Option(help="One file of all records with the domain in this field.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="A schedule's length in steps, if not the run's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sequences a step of that training.")
    ] = None,
) -> None:
    """Write weights, schedules or regrouped records for another trainer."""
    from dids.export.export_run import ExportOptions, export_run
    from dids.run.progress import ConsoleProgress

    _quieten_libraries()
    options = ExportOptions(to, out, weights, unit, data, regroup, column, steps, batch_size)
    for line in export_run(run_folder, options, ConsoleProgress()):
        typer.echo(line)


@app.command(name="import")
def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Another trainer's file.")],
    from_: Annotated[str, typer.Option("--from", help="Whose: a name as of dids export --to.")],
    column: Annotated[
        str | None, typer.Option(help="The field that names the domain, in a file of all records.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the files such a file is divided into.")
    ] = None,
) -> None:
    """Print another trainer's weights and domains as a part of a config."""
    from dids.export.import_mixture import config_text, import_mixture

    typer.echo(
        config_text(import_mixture(path, from_, column=column, out=out), path, from_), nl=False
    )


@app.command()
def watch(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="A run folder.")],
    once: Annotated[bool, typer.Option("--once", help="Show it as it is now, and stop.")] = False,
) -> None:
    """Show a run while it goes on: stage, speed, mixture, losses. Exit status 1: it was cut off."""
    from dids.run.watch import watch as watch_run

    if watch_run(run_folder, once=once).status == "stopped":
        raise typer.Exit(1)


def _settings(path: Path) -> "Config":
    from dids.config import load_config
    from dids.run.folder import open_run

    return open_run(path) if path.is_dir() else load_config(path)


def _print_plan(settings: "Config", *, calibrate: bool, num_processes: int) -> None:
    from dids.run.memory import keep_freed_memory
    from dids.run.plan.run_plan import run_plan
    from dids.run.plan.table import print_plan
    from dids.run.progress import ConsoleProgress
    from dids.training.stop_signal import StopSignal

    _quieten_libraries()
    keep_freed_memory()
    with StopSignal().caught():  # a calibration's folder goes, whoever ends it
        plan = run_plan(
            settings, ConsoleProgress(), calibrate=calibrate, num_processes=num_processes
        )
    print_plan(settings, plan)


@cache
def _keep_imports() -> None:
    """Let no garbage collection look through what was imported: a third of a second each time.

    The Trainer asks for one whenever it starts. Once a process: later there may be real garbage.
    """
    gc.freeze()


def _run_until(settings: "Config", last: str, engine: str = "local") -> None:
    """Bring a run up to a stage; of several processes the first alone returns."""
    from dids.run.engines import ENGINES
    from dids.run.folder import RunFolder
    from dids.run.memory import keep_freed_memory
    from dids.run.progress import ConsoleProgress, RankProgress
    from dids.run.runner import run_stages
    from dids.training.stop_signal import StopSignal

    _quieten_libraries()
    keep_freed_memory()
    _keep_imports()
    ranks, stop, console = launched_ranks(), StopSignal(), ConsoleProgress()
    progress = console if ranks.is_first else RankProgress(console, ranks.number)
    with stop.caught():
        run_stages(
            settings,
            RunFolder(Path(settings.run)),
            progress,
            last=last,
            engine=ENGINES[engine],
            ranks=ranks,
            stop=stop,
        )
    if not ranks.is_first:
        raise typer.Exit


def _regroup(settings: "Config", adds: list[str], splits: list[str], merges: list[str]) -> None:
    from dids.run.folder import RunFolder
    from dids.run.progress import ConsoleProgress
    from dids.run.regroup import DomainChanges, regroup_domains

    _quieten_libraries()
    changes = DomainChanges(adds, splits, merges)
    regroup_domains(settings, RunFolder(Path(settings.run)), ConsoleProgress(), changes)


def _quieten_libraries() -> None:
    """Keep other libraries' progress bars and notices out of ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import transformers

    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("accelerate").setLevel(logging.ERROR)


_INTERRUPTED = 130
"""The exit status that typer makes of Ctrl-C."""
_TERMINATED = 128 + signal.SIGTERM
_CANNOT_BE_WRITTEN = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
)


_NO_HOME = "Could not determine home directory."


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 2.

    SIGTERM ends with 143, which is what a shell makes of it.
    """
    try:
        _refuse_several_processes(sys.argv[1:])
        app()
    except InputError as error:
        _fail(str(error))
    except LostRankError:
        _say("another process of the run has ended; the same command goes on from here.")
        sys.exit(1)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            _say("stopped; the same command goes on from here.")
        elif end.code == _TERMINATED:
            _say(str(end))
        raise
    except Exception as error:
        if str(error) == _NO_HOME:  # of Path.expanduser
            _fail("a path begins with ~ and a name, but there is no such user here; write the "
                  "folder out.")  # fmt: skip
        where = getattr(error, "filename", None) or "the run folder"
        if is_disk_full(error):
            _fail(f"{where}: the disk is full; free some space and run the same command again.")
        if not isinstance(error, OSError) or error.errno not in _CANNOT_BE_WRITTEN:
            raise
        if error.errno == errno.ENAMETOOLONG:
            _fail(f"{where}: the path is too long for this file system; give a shorter one.")
        reason = os.strerror(error.errno).lower()
        _fail(f"{where}: cannot be written ({reason}); mend that and run the same command again.")


def _refuse_several_processes(words: list[str]) -> None:
    """Stop where several processes were started for what one does."""
    num = launched_ranks().num
    if num == 1 or not words:
        return
    alone = [word for word in words if word.partition("=")[0] in _OF_ONE_PROCESS]
    if words[0] not in _ON_SEVERAL_PROCESSES or alone:
        if not launched_ranks().is_first:  # each finds out by itself; one says so
            sys.exit(2)
        command = " ".join(["dids", words[0], *alone])
        hint = f", with --processes {num}" if "--dry-run" in command else ""
        raise InputError(
            f"{num} processes were started, but `{command}` is one process; start it without "
            f"torchrun or accelerate{hint}."
        )


def _fail(sentence: str) -> None:
    _say(f"dids: {sentence}")
    sys.exit(2)


def _say(sentence: str) -> None:
    """Print how it ended; one of several processes does."""
    if launched_ranks().speaks("end"):
        typer.echo(sentence, err=True)
