"""``python -m benchmarks.gradients``: measure, print a Markdown table, write JSON and Markdown."""

import argparse
import fnmatch
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.gradients.aims import aims_of
from benchmarks.gradients.exact_gradients import gradient_grams
from benchmarks.gradients.machine import load, machine, versions
from benchmarks.gradients.measured import Measured
from benchmarks.gradients.peak_memory import note_memory, peak_by_samples
from benchmarks.gradients.quality import note_fisher_error, note_quality, reference_fisher
from benchmarks.gradients.row import Row
from benchmarks.gradients.rows import ROWS
from benchmarks.gradients.subject import (
    SHAPES,
    Subject,
    SubjectSettings,
    load_subject,
    subject_folder,
)
from benchmarks.gradients.table import as_json, inserted, markdown
from benchmarks.gradients.timing import alternated, clock_of, progress
from dids.atomic import write_json, write_text
from dids.run.memory import keep_freed_memory

SAMPLE_COUNTS = (64, 512)
"""Between which peak memory must not grow."""


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gradients", description=__doc__.split(":", 1)[1].strip()
    )
    parser.add_argument(
        "--size", choices=list(SHAPES), default="7m", help="parameters of the model"
    )
    parser.add_argument("--rounds", type=int, default=8, help="timed rounds of all rows")
    parser.add_argument("--row-seconds", type=float, default=25.0, help="a slow row's time in all")
    parser.add_argument("--sequences", type=int, default=128, help="sequences whose cosines count")
    parser.add_argument("--batch-size", type=int, default=8, help="sequences of a batch")
    parser.add_argument("--num-tokens", type=int, default=256, help="tokens of a sequence")
    parser.add_argument("--training-steps", type=int, default=200, help="of the model, once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", nargs="*", default=["*"], help="rows, by pattern; baselines stay")
    parser.add_argument("--without", nargs="*", default=[], help="rows to leave out, by pattern")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument("--work", type=Path, help="where the trained model is kept for next time")
    parser.add_argument("--out", type=Path, help="folder for gradients-SIZE.json and .md")
    parser.add_argument("--page", type=Path, help="Markdown with markers where the table goes")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure everything and tell."""
    arguments = parsed(words)
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    keep_freed_memory()  # as `dids` does
    with tempfile.TemporaryDirectory() as temporary:
        _measure(arguments, arguments.work or Path(temporary))


def _measure(arguments: argparse.Namespace, work: Path) -> None:
    began_s = time.perf_counter()
    settings = SubjectSettings(
        arguments.size,
        num_tokens=arguments.num_tokens,
        batch_size=arguments.batch_size,
        training_steps=arguments.training_steps,
    )
    progress("model and sequences")
    folder = subject_folder(settings, work, arguments.device)
    subject = load_subject(folder, arguments.sequences, arguments.device)
    rows = chosen_rows(ROWS, arguments.only, arguments.without)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' are nothing to act on here
        results = measured_rows(rows, subject, arguments.rounds, arguments.row_seconds)
    peaks: dict[int, float | None] = {}
    if not arguments.no_memory:
        note_memory(results, subject)
        peaks = peak_by_samples(subject, SAMPLE_COUNTS)
    aims = aims_of(results, arguments.size, peaks)
    described = {
        "size": arguments.size,
        "batch": "×".join(map(str, subject.batches[0]["input_ids"].shape)),
        "sequences": subject.num_sequences,
        "rounds": max((len(result.ratios) for result in results), default=0),
        "threads": arguments.threads,
        "dtype": "float32",
        "clock": clock_of(subject.device)[1],
        "load": load(),
        "minutes": round((time.perf_counter() - began_s) / 60, 1),
        "machine": machine(subject.device),
        "versions": versions(),
    }
    text = markdown(results, aims, described, subject.batch_tokens)
    print(text)
    name = f"gradients-{arguments.size}" + ("" if arguments.device == "cpu" else "-gpu")
    if arguments.page is not None:
        page = arguments.page.read_text(encoding="utf-8")
        write_text(arguments.page, inserted(page, name, text))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_text(arguments.out / f"{name}.md", text)
        found = as_json(results, aims, described, subject.batch_tokens)
        write_json(arguments.out / f"{name}.json", {**found, "peak_mb_by_samples": peaks})


def chosen_rows(rows: Sequence[Row], only: Sequence[str], without: Sequence[str]) -> list[Row]:
    """The rows that were asked for, and their baselines."""
    asked = [row for row in rows if _matches(row, only) and not _matches(row, without)]
    needed = {row.baseline for row in asked} | {rows[0].name}
    return [row for row in rows if row in asked or row.name in needed]


def _matches(row: Row, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(row.name.lower(), pattern.lower()) for pattern in patterns)


def measured_rows(
    rows: Sequence[Row], subject: Subject, num_rounds: int, row_seconds: float
) -> list[Measured]:
    """Time, and quality of what came out."""
    results, steps = alternated(rows, subject, num_rounds, row_seconds)
    grams = _kept_grams(subject)
    for result in results:
        if result.row.kind == "features" and result.problem is None:
            note_quality(result, subject, steps[result.row.name], grams)
    diagonals = [r for r in results if r.row.kind == "fisher" and r.problem is None]
    if diagonals:
        reference = reference_fisher(results, subject)
        for result in diagonals:
            note_fisher_error(result, reference)
    return results


def _kept_grams(subject: Subject) -> dict[str, Tensor]:
    """The full gradients' inner products, kept with the subject: they never change."""
    path = subject.folder / f"grams-{subject.num_sequences}.safetensors"
    if not path.exists():
        progress("full gradients")
        save_file(gradient_grams(subject), path)
    return load_file(path)


if __name__ == "__main__":
    main()
