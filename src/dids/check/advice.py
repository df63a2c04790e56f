"""What a check found, as sentences: what is wrong, where it is first, and what to do about it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MANY_DUPLICATES = 0.05
MANY_TRUNCATED = 0.05
"""Shares of a source from which on they are a warning and not a note."""
FEW_TRUNCATED = 0.01
GOOD_EPOCHS = 4.0
USELESS_EPOCHS = 16.0
"""Up to four passes are nearly worth fresh data, beyond sixteen hardly anything (Muennighoff et al.
2023, arXiv:2305.16264)."""

FEW_ITEMS = 32
"""Validation items below which a task is named: what a run follows its loss by, by default."""

SEVERITIES = ("error", "warning", "note")

Json = dict[str, Any]


def warnings(result: Mapping[str, Any], *, stops_on_bad_records: bool) -> list[Json]:
    """The warnings of a check, the gravest first.

    Args:
        result: ``check.json`` without them.
        stops_on_bad_records: Whether records that cannot be used stop the run.

    Returns:
        Objects as docs/run-folder.md describes them.
    """
    bad_severity = "error" if stops_on_bad_records else "warning"
    found = [*_leak_warnings(result), *_overlap_notes(result)]
    for name, source in result["sources"].items():
        found += _record_warnings(source, bad_severity, source=name)
        found += _duplicate_warnings(result, name, source)
        found += _budget_warnings(name, source)
    for task, splits in result["tasks"].items():
        for split, scan in splits.items():
            found += _record_warnings(scan, bad_severity, task=task, split=split)
        found += _few_items_notes(task, splits["validation"])
        found += _followed_warnings(task, splits["test"])
    return sorted(found, key=lambda warning: SEVERITIES.index(warning["severity"]))


def place(where: Mapping[str, Any]) -> str:
    """A place in a sentence.

    Example:
        >>> place({"file": "/data/web.jsonl", "line": 1200})
        'web.jsonl line 1200'
    """
    return f"{Path(where['file']).name} line {where['line']}"


def _warning(severity: str, kind: str, sentence: str, advice: str, **about: str | None) -> Json:
    nowhere = {"task": None, "split": None, "source": None}
    return {"severity": severity, "kind": kind, **nowhere, **about, "sentence": sentence,
            "advice": advice}  # fmt: skip


def _leak_warnings(result: Mapping[str, Any]) -> Iterator[Json]:
    harm = {
        "test": "its test loss will be too good",
        "validation": "the run would steer towards its own copies",
    }
    for (task, split, source), leaks in _by_place(result["leaks"]).items():
        count = sum(leak["items"] for leak in leaks)
        how = " and ".join(
            f"{leak['items']:,} {'word for word' if leak['kind'] == 'verbatim' else 'in part'}"
            for leak in leaks
        )
        example = leaks[0]["examples"][0]
        sentence = (
            f"{task}: {count:,} of {leaks[0]['of']:,} {split} items also stand in source {source} "
            f"({how}), so {harm[split]}; first: {place(example['item'])} in "
            f"{place(example['record'])}."
        )
        advice = (
            f"Remove these records from {source}, or the items from the task; if it is on purpose, "
            f"set check.allowed_leaks: [{task}/{split}]."
        )
        severity = "warning" if leaks[0]["is_allowed"] else "error"
        yield _warning(severity, "leak", sentence, advice, task=task, split=split, source=source)


def _overlap_notes(result: Mapping[str, Any]) -> Iterator[Json]:
    ngram_words = result["settings"]["ngram_words"]
    for (task, split, source), (overlap,) in _by_place(result["overlaps"]).items():
        example = overlap["examples"][0]
        sentence = (
            f"{task}: {overlap['items']:,} of {overlap['of']:,} {split} items share {ngram_words} "
            f"words in a row with source {source}, but no more than "
            f"{example['share']:.0%} of an item; first: {place(example['item'])} and "
            f"{place(example['record'])}."
        )
        advice = (
            "Compare the two; if they are the same exercise, remove the record, or lower "
            "check.containment."
        )
        yield _warning("note", "overlap", sentence, advice, task=task, split=split, source=source)


def _by_place(
    objects: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str, str], list[Mapping[str, Any]]]:
    result: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for some in objects:
        result.setdefault((some["task"], some["split"], some["source"]), []).append(some)
    return result


def _record_warnings(found: Mapping[str, Any], bad_severity: str, **about: str) -> Iterator[Json]:
    name = about.get("source") or f"{about['task']} ({about['split']})"
    if bad := found["bad"]["count"]:
        example = found["bad"]["examples"][0]
        yield _warning(
            bad_severity,
            "bad_records",
            f"{name}: {bad:,} {_records(bad)} cannot be used; first: {place(example)}, "
            f"{example['reason']}.",
            "Mend or remove them, or set data.on_bad_record: skip.",
            **about,
        )
    if wordless := found["wordless"]["count"]:
        example = found["wordless"]["examples"][0]
        yield _warning(
            "warning",
            "wordless",
            f"{name}: {wordless:,} {_records(wordless)} without one letter or digit; first: "
            f"{place(example)}.",
            "Remove them: a model learns nothing from them.",
            **about,
        )


def _few_items_notes(task: str, scan: Mapping[str, Any]) -> Iterator[Json]:
    count = scan["items"]
    if 0 < count < FEW_ITEMS:
        yield _warning(
            "note",
            "few_items",
            f"{task} (validation): {count} {'item' if count == 1 else 'items'}, so that its loss "
            "and what domains do for it are known roughly, and the mixture keeps near the prior.",
            "Add validation items, to a hundred or more; none that are tested on.",
            task=task,
            split="validation",
        )


def _followed_warnings(task: str, scan: Mapping[str, Any]) -> Iterator[Json]:
    count = scan["in_validation"]["count"]
    if count:
        yield _warning(
            "warning",
            "in_validation",
            f"{task}: {count:,} of {scan['items']:,} test items also stand in a validation set, so "
            "that the test asks what the run has steered by; first: "
            f"{place(scan['in_validation']['examples'][0])}.",
            f"Remove them from one of the two; of a single file leave tasks.{task}.test out, and "
            "half of it is kept for the test.",
            task=task,
            split="test",
        )


def _duplicate_warnings(
    result: Mapping[str, Any], name: str, source: Mapping[str, Any]
) -> Iterator[Json]:
    exact, near = source["duplicates"]["exact"], source["duplicates"]["near"]
    count = exact + (near or 0)
    if count == 0:
        return
    own = [some for some in result["duplicates"] if some["source"] == name]
    most = max(own, key=lambda some: int(some["records"]))
    example = most["examples"][0]
    share = count / max(1, source["records"])
    how = f"{exact:,} word for word" + ("" if near is None else f", {near:,} nearly")
    where = "itself" if most["of_source"] == name else f"source {most['of_source']}"
    yield _warning(
        "warning" if share >= MANY_DUPLICATES else "note",
        "duplicates",
        f"{name}: {count:,} of {source['records']:,} records ({share:.1%}) repeat earlier ones "
        f"({how}), most of them of {where}; first: {place(example['record'])} is like "
        f"{place(example['of'])}.",
        "Remove them, unless the weight is meant: what stands there twice is drawn twice as often.",
        source=name,
    )


def _budget_warnings(name: str, source: Mapping[str, Any]) -> Iterator[Json]:
    truncated = source["truncated"]
    if truncated["share"] > FEW_TRUNCATED:
        about = "" if source["is_exact"] else "about "
        example = truncated["examples"]
        first = f"; first: {place(example[0])}" if example else ""
        yield _warning(
            "warning" if truncated["share"] > MANY_TRUNCATED else "note",
            "truncated",
            f"{name}: {about}{truncated['share']:.0%} of the records do not fit "
            f"data.sequence_length and lose tokens{first}.",
            "Raise data.sequence_length, or shorten them.",
            source=name,
        )
    if source["epochs"] > GOOD_EPOCHS:
        yield _warning(
            "warning" if source["epochs"] > USELESS_EPOCHS else "note",
            "epochs",
            f"{name}: a uniform mixture passes over it {source['epochs']:.1f} times; beyond four "
            "passes repeats are worth less and less.",
            "Lower budget.tokens, add data, or give the source max_repeats.",
            source=name,
        )
    if source["used_up_at_step"] is not None:
        yield _warning(
            "note",
            "used_up",
            f"{name}: under a uniform mixture used up at step {source['used_up_at_step']:,}, with "
            f"max_repeats {source['max_repeats']}.",
            "Lower budget.tokens, add data, or raise max_repeats.",
            source=name,
        )


def _records(count: int) -> str:
    return "record" if count == 1 else "records"
