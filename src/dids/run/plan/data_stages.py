"""Check, tokenizer and tokens: rehearsed on the slices, carried on by characters."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from dids.atomic import whole_folder
from dids.data.python_corpus import is_python_path
from dids.data.readers import read_records
from dids.data.token_parts import file_groups
from dids.data.tokenizer import train_tokenizer
from dids.run.counts import run_counts
from dids.run.engines.engine import Advance, Engine, Shards
from dids.run.plan.calibration import Calibration, Rehearsed, folder_bytes
from dids.run.plan.estimate import Known, StageEstimate
from dids.run.plan.peak_memory import PeakMemory
from dids.run.plan.processes import longest_s
from dids.run.plan.stage_clock import Bar
from dids.run.stages import STAGES
from dids.run.stages.tokenizer import MAX_CHARACTERS, tokenizer_like, training_texts
from dids.run.workspace import Split, task_files

TOKENIZER_CHARACTERS = 40_000_000
"""That a tokenizer is trained on here, at most."""

SPLITS: tuple[Split, ...] = ("validation", "test")


def check(here: Calibration) -> StageEstimate:
    """Scanning by characters, looking for duplicates by records, the rest as it is."""
    took = _at_its_largest(here, here.rehearsed("check", lambda: STAGES["check"](here.work)))
    scanned_s = sum(_whole_scan_s(here, bar) for bar in took.bars if _source_of(bar, here))
    others = [bar for bar in took.bars if not _source_of(bar, here)]
    records = sum(volume.records for volume in here.sources.values())
    share = sum(here.slices[name].records for name in here.sources) / records
    rest_s = took.time_s - took.bars_s
    return here.estimate(
        "check",
        took,
        Known(
            rest_s + scanned_s + sum(bar.time_s for bar in others) / share + _reading_s(here),
            _is_whole(here),
        ),
        Known(took.disk_bytes / share, _is_whole(here)),
        _of_characters(here, "checked"),
    )


def tokenizer(here: Calibration) -> StageEstimate:
    """Trained on the sources themselves, or on the first characters of each."""
    if here.config.tokenizer.train is None:
        took = here.rehearsed("tokenizer", lambda: STAGES["tokenizer"](here.work))
        how = "loaded as in the run"
        return here.estimate(
            "tokenizer", took, Known(took.time_s, True), Known(took.disk_bytes, True), how
        )
    whole = replace(here.work, config=here.config)
    vocab_size = here.config.tokenizer.train.vocab_size

    def train() -> dict[str, int]:
        trained = train_tokenizer(training_texts(whole, TOKENIZER_CHARACTERS), vocab_size)
        with whole_folder(here.work.path("tokenizer")) as folder:
            trained.save_pretrained(folder)
        return {"vocab_size": len(trained)}

    took = here.rehearsed("tokenizer", train)
    read, needed = (
        _characters_up_to(here, most) for most in (TOKENIZER_CHARACTERS, MAX_CHARACTERS)
    )
    how = f"trained on {read / 1e6:,.1f} of {needed / 1e6:,.1f} million characters"
    return here.estimate(
        "tokenizer",
        took,
        Known(took.time_s * needed / read, read == needed),
        Known(took.disk_bytes, True),
        how,
    )


def tokens(here: Calibration) -> StageEstimate:
    """By characters; what the whole run comes to is known from here on."""
    took_s: dict[str, float] = {}
    work = replace(here.work, engine=_timed(took_s, here.clock.now))
    took = here.rehearsed("tokens", lambda: STAGES["tokens"](work))
    scale = {name: part.scale for name, part in here.slices.items()}
    num_parts = _num_parts(here)
    parts_s = [
        time_s * scale[name] / num_parts[name]
        for name, time_s in took_s.items()
        for _ in range(num_parts[name])
    ]
    tokenised_s = longest_s(parts_s, here.num_processes)
    stores = dict(zip(here.work.sources, here.work.source_stores, strict=True))
    sizes = [
        (round(store.num_samples * scale[name]), round(store.num_tokens * scale[name]))
        for name, store in stores.items()
    ]
    here.counts = run_counts(here.config, sizes, here.num_processes)
    tasks = {
        f"{task}-{split}": here.work.task_store(task, split)
        for split in SPLITS
        for task in here.config.tasks
    }
    on_disk = sum(folder_bytes(s.folder) * scale[name] for name, s in {**stores, **tasks}.items())
    return here.estimate(
        "tokens",
        took,
        Known(
            took.time_s - took.bars_s + tokenised_s + _reading_s(here, again=True), _is_whole(here)
        ),
        Known(on_disk, _is_whole(here)),
        _of_characters(here, "tokenised"),
    )


def _num_parts(here: Calibration) -> dict[str, int]:
    """Pieces that each source, and each split of a task, is tokenised in, by name."""
    whole = replace(here.work, config=here.config, with_added=False)
    kinds = [whole.sources, *(whole.task_files(split) for split in SPLITS)]
    sources = [source for named in kinds for source in named.values()]
    return {source.name: max(1, len(file_groups(source))) for source in sources}


def _timed(took_s: dict[str, float], now: Callable[[], float]) -> Engine:
    """One shard after the other in this process, its seconds added to those of its source."""

    def engine(
        work: Shards[Any, Any], shards: Sequence[Any], advance: Advance
    ) -> Iterator[tuple[Any, Any]]:
        result_of = work.opened()
        for shard in shards:
            began_s = now()
            result = result_of(shard, advance)
            name = shard.source.name
            took_s[name] = took_s.get(name, 0.0) + now() - began_s
            yield shard, result

    return engine


def _at_its_largest(here: Calibration, took: Rehearsed) -> Rehearsed:
    """With the memory of estimating lengths from as many characters as the run will."""
    largest = max(
        (volume.estimate for volume in here.sources.values()),
        key=lambda estimate: sum(len(text) for each in estimate.drawn for text in each.texts),
    )
    data = here.config.data
    tokenizer = tokenizer_like(here.work.config, list(here.work.sources.values()))
    with PeakMemory() as peak:
        largest.size(
            tokenizer, sequence_length=data.sequence_length, prompt_format=data.prompt_format
        )
    return replace(took, memory_bytes=max(took.memory_bytes, peak.bytes))


def _whole_scan_s(here: Calibration, bar: Bar) -> float:
    """Records are scanned until the last mark; then lengths are estimated from a few of them."""
    part = here.slices[_source_of(bar, here)]
    lengths_s = bar.time_s - bar.until_last_mark_s
    return bar.until_last_mark_s * part.scale + lengths_s * part.drawn_scale


def _source_of(bar: Bar, here: Calibration) -> str:
    name = bar.title.removeprefix("checking ")
    return name if name in here.sources else ""


def _reading_s(here: Calibration, *, again: bool = False) -> float:
    """What reading the files of sources and tasks takes beyond reading the slices.

    Args:
        here: The calibration.
        again: Whether they were read before: Python's own files are kept in memory.
    """
    tasks = here.config.tasks
    read = [(here.sources[name], here.work.sources[name]) for name in here.sources]
    paths = [source.path for source in here.config.data.sources.values()]
    for split in SPLITS:
        files = here.work.task_files(split)
        read += [(here.tasks[split][task], files[task]) for task in tasks]
        paths += [task_files(name, task, split).paths for name, task in tasks.items()]
    extra_s = 0.0
    for (volume, small), path in zip(read, paths, strict=True):
        if again and any(is_python_path(place) for place in path):
            continue
        began_s = here.clock.now()
        for _ in read_records(small, purpose="task"):
            pass
        slice_s = (here.clock.now() - began_s) * here.slices[small.name].scale
        extra_s += max(0.0, volume.read_s - slice_s)
    return extra_s


def _characters_up_to(here: Calibration, most: int) -> float:
    """Characters that a tokenizer is trained on, if every source gives its share of so many."""
    share = most // len(here.sources)
    return sum(min(volume.characters, share) for volume in here.sources.values())


def _is_whole(here: Calibration) -> bool:
    return all(
        here.slices[name].characters == volume.characters for name, volume in here.sources.items()
    )


def _of_characters(here: Calibration, done: str) -> str:
    small = sum(here.slices[name].characters for name in here.sources)
    whole = sum(volume.characters for volume in here.sources.values())
    return f"{done} {small / 1e6:,.1f} of {whole / 1e6:,.1f} million characters"
