"""Stage ten: the trained models on the tests that the run never looked at."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dids.atomic import read_json, write_json
from dids.data.readers import read_records
from dids.data.records import Record
from dids.evaluation.lm_eval_tasks import lm_eval_accuracy, write_lm_eval_items
from dids.run.engines import AllRanks
from dids.run.task_tests import TaskTest, TaskTests
from dids.run.workspace import Workspace


def run(work: Workspace) -> dict[str, Any]:
    """Write ``evaluation.json``: by run (train, control), then by task."""
    runs = [name for name in ("train", "control") if (work.path(name) / "model").exists()]
    records = _choice_records(work)
    item_files = _lm_eval_items(work, records)
    limit = work.config.evaluation.accuracy_limit
    tests = [
        TaskTest(task, work.task_store(task, "test"), records[task][:limit]) for task in records
    ]
    results = _Results.of(work, runs)
    for name in runs:
        _test(work, name, tests, results)
        if item_files and _uses_lm_eval(work):
            _add_lm_eval(work, name, item_files, results)
    in_order = {
        name: {test.task: results.by_run[name][test.task] for test in tests} for name in runs
    }
    write_json(work.path("evaluation.json"), in_order)
    results.path.unlink(missing_ok=True)
    return {"lm_eval": _uses_lm_eval(work)}


@dataclass(frozen=True)
class _Results:
    """Results so far, kept on disk until all are there.

    Attributes:
        path: Where they are kept.
        models: SHA-256 of what was tested: they are of other models where it is another.
        by_run: Results by run, then by task, in the order in which they came.
    """

    path: Path
    models: Mapping[str, Any]
    by_run: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, work: Workspace, runs: Sequence[str]) -> "_Results":
        """What an evaluation that was stopped has left, or nothing yet."""
        path = work.path("evaluation.partial.json")
        models = {name: work.folder.facts(name).get("checksums") for name in runs}
        kept = read_json(path) if path.exists() else {}
        by_run = kept["results"] if kept.get("models") == models else {}
        return cls(path, models, {name: by_run.get(name, {}) for name in runs})

    def keep(self) -> None:
        """Write them down."""
        write_json(self.path, {"models": self.models, "results": self.by_run})


def _uses_lm_eval(work: Workspace) -> bool:
    return work.config.evaluation.lm_eval and importlib.util.find_spec("lm_eval") is not None


def _choice_records(work: Workspace) -> dict[str, list[Record]]:
    """By task, the test records that have choices."""
    on_bad_record = work.config.data.on_bad_record
    return {
        task: [
            record
            for record in read_records(source, purpose="task", on_bad_record=on_bad_record)
            if record.choices is not None
        ]
        for task, source in work.task_files("test").items()
    }


def _lm_eval_items(work: Workspace, records: Mapping[str, list[Record]]) -> dict[str, Path]:
    """Write the items as lm-eval reads them; by task, the file of those that have any."""
    folder, prompt_format = work.path("lm_eval") / "items", work.config.data.prompt_format
    paths = {task: folder / f"{task}.jsonl" for task in records}
    return {
        task: path
        for task, path in paths.items()
        if write_lm_eval_items(path, records[task], work.tokenizer, prompt_format=prompt_format)
    }


def _test(work: Workspace, name: str, tests: Sequence[TaskTest], results: _Results) -> None:
    """Add a model's results on the tasks that have none, which all ranks of the run make."""
    what = TaskTests(
        model_folder=work.path(name) / "model",
        tokenizer_folder=work.path("tokenizer"),
        trust_remote_code=work.config.trust_remote_code,
        collate=work.collate,
        prompt_format=work.config.data.prompt_format,
        sequence_length=work.config.data.sequence_length,
        batch_size=work.config.evaluation.batch_size,
    )
    by_task = results.by_run[name]
    missing = [test for test in tests if test.task not in by_task]
    if not missing:
        return
    with work.progress.bar(f"testing {name}", len(missing)) as advance:
        # Not by the run's engine, which is for the corpus: a test is seconds of a worker's.
        for test, result in AllRanks(work.ranks)(what, missing, advance):
            by_task[test.task] = result
            results.keep()


def _add_lm_eval(
    work: Workspace, name: str, item_files: Mapping[str, Path], results: _Results
) -> None:
    by_task = results.by_run[name]
    if any("lm_eval" in result for result in by_task.values()):
        return
    work.progress.say(f"testing {name} through lm-eval")
    scores = lm_eval_accuracy(
        work.saved_model(name),
        work.tokenizer,
        item_files,
        work.path("lm_eval") / name,
        limit=work.config.evaluation.lm_eval_limit,
        batch_size=work.config.evaluation.batch_size,
        max_length=work.config.data.sequence_length,
    )
    for task, score in scores.items():
        by_task[task]["lm_eval"] = score
    results.keep()


def evaluation(work: Workspace) -> dict[str, Any]:
    """What this stage wrote."""
    result: dict[str, Any] = read_json(work.path("evaluation.json"))
    return result
