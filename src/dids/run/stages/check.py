"""Stage zero: is the data fit to train on. Reads everything once, writes ``check.json``."""

import hashlib
import json
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from dids.atomic import read_json, whole_file, write_json
from dids.check.advice import warnings
from dids.check.duplicates import Repetitions, find_duplicates
from dids.check.leaks import LeakGuard
from dids.check.result import Found, TaskScan, found_values
from dids.check.scan import Few, ScanSettings, SourceScan, scanned_source
from dids.check.task_items import Group
from dids.check.token_estimate import SourceSize
from dids.check.words import normalised_words
from dids.data.readers import read_records
from dids.data.sources import SourceFiles, content_hash
from dids.errors import InputError
from dids.run.counts import run_counts
from dids.run.stages.tokenizer import tokenizer_like
from dids.run.workspace import Workspace

RESULT = "check.json"
_VERSION = 1
"""Goes into the key: raise it when the same data would be found to be otherwise."""
_SPLITS: tuple[Literal["validation", "test"], ...] = ("validation", "test")


def run(work: Workspace) -> dict[str, Any]:
    """Check the data, and stop where the config says that such data stops a run."""
    hashes = _content_hashes(work)
    result = checked(work, hashes)
    refuse_bad_records(work, result)
    found = [warning for warning in result["warnings"] if warning["kind"] == "leak"]
    leaks = [warning for warning in found if warning["severity"] == "error"]
    if leaks:
        worst = leaks[0]
        more = f" (and {len(leaks) - 1} more, in {work.path(RESULT)})" if len(leaks) > 1 else ""
        raise InputError(f"{worst['sentence'][:-1]}{more}. {worst['advice']}")
    return {"content": hashes, "verdict": result["verdict"]}


def refuse_bad_records(work: Workspace, result: dict[str, Any]) -> None:
    """Stop at records that cannot be used, unless they are to be skipped."""
    if work.config.data.on_bad_record == "skip":
        return
    found = [*result["sources"].values()]
    found += [scan for splits in result["tasks"].values() for scan in splits.values()]
    total = sum(scan["bad"]["count"] for scan in found)
    if total:
        first = next(scan["bad"]["examples"][0] for scan in found if scan["bad"]["count"])
        more = f" ({total - 1:,} more cannot be used)" if total > 1 else ""
        raise InputError(f"{first['file']}, line {first['line']}: {first['reason']}{more}.")


def checked(
    work: Workspace, hashes: dict[str, str] | None = None, list_path: Path | None = None
) -> dict[str, Any]:
    """Check the data whatever comes of it.

    Args:
        work: The run.
        hashes: Of the content of its sources and tasks, where they are known.
        list_path: Where to list every record that leaks or repeats an earlier one.

    Returns:
        What was written to ``check.json``.

    Raises:
        InputError: If a file is missing, unreadable or cut off, or nothing in it can be used.
    """
    began_s = time.perf_counter()
    key = _key(work, hashes if hashes is not None else _content_hashes(work))
    guard, tasks = _guard(work)
    scans = _scans(work, guard, key)
    repetitions = _repetitions(work, scans)
    if list_path is not None:
        _write_list(work, list_path, guard, scans, repetitions)
    found = Found(
        scans=scans,
        tasks=tasks,
        items=guard.items,
        duplicates=repetitions.by_source,
        containment=work.config.check.containment,
        near_duplicates=work.config.check.near_duplicates,
        is_allowed=lambda group: _is_allowed(work, group),
    )
    result = found_values(found)
    result["settings"] = work.config.check.model_dump(
        include={"ngram_words", "containment", "near_duplicates", "similarity"}
    )
    _add_budget(work, result, [scan.size for scan in scans])
    result["warnings"] = warnings(
        result, stops_on_bad_records=work.config.data.on_bad_record == "stop"
    )
    result["verdict"] = _verdict(result)
    seconds = time.perf_counter() - began_s
    num_records = sum(scan.records for scan in scans)
    result |= {"seconds": round(seconds, 3), "records_per_s": round(num_records / seconds)}
    write_json(work.path(RESULT), result)
    return result


def check_result(work: Workspace) -> dict[str, Any]:
    """What the stage wrote."""
    result: dict[str, Any] = read_json(work.path(RESULT))
    return result


def check_unchanged(work: Workspace) -> None:
    """Refuse to go on with other data than the run began with."""
    added = {name: source["content"] for name, source in work.added_sources.items()}
    recorded = {**work.folder.facts("check")["content"], **added}
    for source in _all_files(work):
        if content_hash(source) != recorded[source.name]:
            raise InputError(
                f"{source.paths[0]}: '{source.name}' has changed since this run began; give the "
                "run another folder, or bring the old file back."
            )


def check_added(work: Workspace, source: SourceFiles) -> None:
    """Check a source that joins a run under way for items of the tasks, as the first ones were.

    Raises:
        InputError: If it holds one, and the config does not allow it.
    """
    guard, _ = _guard(work)
    work.path("check").mkdir(exist_ok=True)
    with (
        TemporaryDirectory(dir=work.path("check"), prefix="scratch-") as scratch,
        work.progress.bar(f"checking {source.name}", 0) as advance,
    ):
        folder = Path(scratch) / source.name
        scan = scanned_source(source, folder, "added", guard, _settings(work), advance)
        for place, number in scan.leaking():
            task, split = guard.items[number].group
            if not _is_allowed(work, (task, split)):
                raise InputError(
                    f"{place.file}, line {place.line}: this record holds an item of the {split} "
                    f"set of {task}; take such records out, or allow them with "
                    f"check.allowed_leaks: [{task}/{split}]."
                )


def _all_files(work: Workspace) -> list[SourceFiles]:
    tasks = [source for split in _SPLITS for source in work.task_files(split).values()]
    return [*work.sources.values(), *tasks]


def _content_hashes(work: Workspace) -> dict[str, str]:
    return {source.name: content_hash(source) for source in _all_files(work)}


def _key(work: Workspace, hashes: dict[str, str]) -> str:
    """A hash of everything that decides what is found in a source."""
    config = work.config
    parts = {
        "version": _VERSION,
        "content": hashes,
        "check": config.check.model_dump(include={"ngram_words", "containment", "near_duplicates"}),
        "data": config.data.model_dump(include={"sequence_length", "prompt_format"}),
        "tokenizer": config.tokenizer.model_dump(),
        "is_tokenised": work.folder.is_done("tokenizer"),
        "seed": config.seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _guard(work: Workspace) -> tuple[LeakGuard, dict[Group, TaskScan]]:
    """The guard that knows the tasks' items, and what was found in them."""
    guard = LeakGuard(work.config.check.ngram_words)
    tasks: dict[Group, TaskScan] = {}
    followed: set[str] = set()  # what all validation sets say: they come first
    for split in _SPLITS:
        for task, source in work.task_files(split).items():
            bad, wordless, in_validation, known = Few(), Few(), Few(), len(guard.items)
            records = read_records(source, purpose="task", on_bad_record="skip", bad_records=bad)
            guard.add((task, split), records)
            new = guard.items[known:]
            for item in new:
                said = " ".join(normalised_words(item.whole))
                if not said:
                    wordless.append(item.origin)
                elif split == "validation":
                    followed.add(said)
                elif said in followed:
                    in_validation.append(item.origin)
            tasks[task, split] = TaskScan(
                len(new),
                bad.counted,
                wordless.counted,
                in_validation.counted if split == "test" else None,
            )
    return guard, tasks


def _scans(work: Workspace, guard: LeakGuard, key: str) -> list[SourceScan]:
    scans, settings = [], _settings(work)
    for name, source in work.sources.items():
        folder = work.path("check") / f"{name}-{key[:16]}"
        with work.progress.bar(f"checking {name}", 0) as advance:
            scans.append(scanned_source(source, folder, key, guard, settings, advance))
    _drop_others(work.path("check"), {scan.sketches.folder.name for scan in scans})
    return scans


def _settings(work: Workspace) -> ScanSettings:
    data, check = work.config.data, work.config.check
    return ScanSettings(
        tokenizer=_tokenizer(work),
        sequence_length=data.sequence_length,
        prompt_format=data.prompt_format,
        containment=check.containment,
        near_duplicates=check.near_duplicates,
        seed=work.config.seed,
    )


def _drop_others(folder: Path, kept: set[str]) -> None:
    """Remove scans of other data or settings, and what a killed check left behind."""
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path)


def _repetitions(work: Workspace, scans: list[SourceScan]) -> Repetitions:
    check = work.config.check
    with (
        TemporaryDirectory(dir=work.path("check"), prefix="scratch-") as scratch,
        work.progress.bar("looking for duplicates", 1.0) as advance,
    ):
        return find_duplicates(
            [scan.sketches for scan in scans],
            Path(scratch),
            min_similarity=check.similarity if check.near_duplicates else None,
            progress=advance,
        )


def _write_list(
    work: Workspace,
    path: Path,
    guard: LeakGuard,
    scans: list[SourceScan],
    repetitions: Repetitions,
) -> None:
    """A JSON object a line: file, line, and why; a record that does both stands there twice."""
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for scan in scans:
            for place, number in scan.leaking():
                task, split = guard.items[number].group
                if not _is_allowed(work, (task, split)):
                    why = {"why": "leak", "task": task, "split": split}
                    file.write(json.dumps({**vars(place), **why}) + "\n")
        for place in repetitions.records:
            file.write(json.dumps({**vars(place), "why": "repeats"}) + "\n")


def _tokenizer(work: Workspace) -> PreTrainedTokenizerBase:
    """The run's own where it is there, else one like it."""
    if work.folder.is_done("tokenizer"):
        return work.tokenizer
    return tokenizer_like(work.config, list(work.sources.values()))


def _add_budget(work: Workspace, result: dict[str, Any], sizes: list[SourceSize]) -> None:
    """Put epochs and steps in, and exact sizes where the data is tokenised."""
    if work.folder.is_done("tokens"):
        for source, store in zip(result["sources"].values(), work.source_stores, strict=True):
            source |= {"samples": store.num_samples, "tokens": store.num_tokens, "is_exact": True}
            source["truncated"] |= {
                "count": store.num_truncated,
                "share": store.num_truncated / max(1, store.num_records),
            }
    counts = run_counts(work.config, [(size.samples, size.tokens) for size in sizes])
    for (name, source), counted in zip(result["sources"].items(), counts.sources, strict=True):
        source |= {
            "epochs": round(counted.drawn.epochs, 4),
            "max_repeats": work.config.data.sources[name].max_repeats,
            "used_up_at_step": counted.drawn.cap_reached_at_step,
        }
    result["budget"] = {
        "tokens": counts.budget_tokens,
        "steps": counts.num_steps,
        "batch_size": counts.batch_size,
    }


def _is_allowed(work: Workspace, group: Group) -> bool:
    check = work.config.check
    task, split = group
    names = (task, f"{task}/{split}")
    return check.on_leak == "warn" or any(name in check.allowed_leaks for name in names)


def _verdict(result: dict[str, Any]) -> str:
    if any(not leak["is_allowed"] for leak in result["leaks"]):
        return "leaks"
    if any(warning["severity"] == "error" for warning in result["warnings"]):
        return "errors"
    is_clean = all(warning["severity"] == "note" for warning in result["warnings"])
    return "clean" if is_clean else "warnings"
