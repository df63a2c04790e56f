"""What a check found, as plain JSON values: the form that docs/run-folder.md describes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dids import __version__
from dids.check.duplicates import Duplicates
from dids.check.leaks import Hit
from dids.check.scan import NUM_EXAMPLES, Counted, SourceScan
from dids.check.task_items import Group, TaskItem

FORM = 1

Json = dict[str, Any]


@dataclass(frozen=True)
class TaskScan:
    """What was found in one split of a task."""

    items: int
    bad: Counted
    wordless: Counted
    in_validation: Counted | None
    """Of a test the items that stand in a validation set as well; None of a validation set."""


@dataclass(frozen=True)
class Found:
    """All that a check found."""

    scans: Sequence[SourceScan]
    tasks: Mapping[Group, TaskScan]
    items: Sequence[TaskItem]
    duplicates: Sequence[Duplicates]
    containment: float
    near_duplicates: bool
    is_allowed: Callable[[Group], bool]
    """Whether leaks of a task's split are on purpose."""


def found_values(found: Found) -> Json:
    """Sources, tasks, leaks, overlaps and duplicates.

    Args:
        found: All that was found.

    Returns:
        The part of ``check.json`` that comes from reading the data.
    """
    leaks, overlaps = _leaks(found)
    return {
        "form": FORM,
        "dids": __version__,
        "sources": {scan.name: _source(scan, found) for scan in found.scans},
        "tasks": _tasks(found.tasks),
        "leaks": leaks,
        "overlaps": overlaps,
        "duplicates": [_duplicates(some) for some in found.duplicates],
    }


def _source(scan: SourceScan, found: Found) -> Json:
    size = scan.size
    counts = Counter[str]()
    for some in found.duplicates:
        if some.source == scan.name:
            counts[some.kind] += some.records
    return {
        "records": scan.records,
        "characters": scan.characters,
        "words": scan.words,
        "samples": size.samples,
        "tokens": size.tokens,
        "is_exact": size.is_exact,
        "bad": _counted(scan.bad),
        "wordless": _counted(scan.wordless),
        "truncated": {
            "count": size.num_truncated,
            "share": size.num_truncated / max(1, scan.records),
            "examples": [vars(place) for place in size.truncated[:NUM_EXAMPLES]],
        },
        "duplicates": {
            "exact": counts["exact"],
            "near": counts["near"] if found.near_duplicates else None,
        },
    }


def _tasks(tasks: Mapping[Group, TaskScan]) -> Json:
    result: Json = {}
    for (task, split), scan in tasks.items():
        values = {
            "items": scan.items,
            "bad": _counted(scan.bad),
            "wordless": _counted(scan.wordless),
        }
        if scan.in_validation is not None:
            values["in_validation"] = _counted(scan.in_validation)
        result.setdefault(task, {})[split] = values
    return result


def _leaks(found: Found) -> tuple[list[Json], list[Json]]:
    """Items that leaked, and those that only share an n-gram, by task, split, source and kind."""
    hits: dict[tuple[bool, Group, str, str], list[Hit]] = {}
    for scan in found.scans:
        for hit in scan.hits:
            is_leak = hit.is_leak(found.containment)
            group = found.items[hit.item].group
            hits.setdefault((is_leak, group, scan.name, hit.kind), []).append(hit)
    num_items = Counter(item.group for item in found.items)
    order = {group: number for number, group in enumerate(found.tasks)}
    leaks: list[Json] = []
    overlaps: list[Json] = []
    for (is_leak, group, source, kind), some in sorted(
        # By task; what stands there word for word first.
        hits.items(),
        key=lambda entry: (order[entry[0][1]], entry[0][3] == "ngrams"),
    ):
        values = {
            "task": group[0],
            "split": group[1],
            "source": source,
            "kind": kind,
            "items": len(some),
            "of": num_items[group],
            "examples": [_leak_example(hit, found.items) for hit in _best(some)],
        }
        if is_leak:
            leaks.append({**values, "is_allowed": found.is_allowed(group)})
        else:
            overlaps.append(values)
    return leaks, overlaps


def _best(hits: Sequence[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.share, hit.item))[:NUM_EXAMPLES]


def _leak_example(hit: Hit, items: Sequence[TaskItem]) -> Json:
    item = items[hit.item]
    return {
        "item": vars(item.origin),
        "record": vars(hit.record),
        "share": round(hit.share, 4),
        "text": item.beginning,
    }


def _duplicates(some: Duplicates) -> Json:
    return {
        "source": some.source,
        "of_source": some.of_source,
        "kind": some.kind,
        "records": some.records,
        "examples": [
            {
                "record": vars(pair.record),
                "of": vars(pair.of),
                "similarity": round(pair.similarity, 4),
            }
            for pair in some.examples
        ],
    }


def _counted(counted: Counted) -> Json:
    return {"count": counted.count, "examples": [vars(example) for example in counted.examples]}
