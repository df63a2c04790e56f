"""Stage ten: the models on the tests that the run never looked at, after training and before."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dids.atomic import read_json, write_json
from dids.config.schema import ModelConfig
from dids.data.readers import read_records
from dids.data.records import Record
from dids.evaluation.lm_eval_tasks import lm_eval_accuracy, write_lm_eval_items
from dids.run.engines import AllRanks
from dids.run.task_tests import TaskTest, TaskTests
from dids.run.workspace import Workspace
from dids.training.models import tested_model


def run(work: Workspace) -> dict[str, Any]:
    """Write ``evaluation.json``: by model (train, control, base), then by task."""
    models = _tested_models(work)
    records = _choice_records(work)
    item_files = _lm_eval_items(work, records)
    limit = work.config.evaluation.accuracy_limit
    tests = [
        TaskTest(task, work.task_store(task, "test"), records[task][:limit]) for task in records
    ]
    results = _Results.of(work, models)
    for name, model in models.items():
        _test(work, name, model, tests, results)
        if item_files and _uses_lm_eval(work):
            _add_lm_eval(work, name, model, item_files, results)
    in_order = {
        name: {test.task: results.by_model[name][test.task] for test in tests} for name in models
    }
    write_json(work.path("evaluation.json"), in_order)
    results.path.unlink(missing_ok=True)
    return {"lm_eval": _uses_lm_eval(work)}


def _tested_models(work: Workspace) -> dict[str, Path | ModelConfig]:
    """Folders of the models that were trained, and what the run's own is before training."""
    folders = {name: work.path(name) / "model" for name in ("train", "control")}
    models: dict[str, Path | ModelConfig] = {
        name: folder for name, folder in folders.items() if folder.exists()
    }
    base = work.config.base_model
    if base is not None and work.config.evaluation.base:
        models["base"] = base
    return models


@dataclass(frozen=True)
class _Results:
    """Results so far, kept on disk until all are there.

    Attributes:
        path: Where they are kept.
        models: What was tested, by SHA-256 where the run has made it: they are of other models
            where it is another.
        by_model: Results by model, then by task, in the order in which they came.
    """

    path: Path
    models: Mapping[str, Any]
    by_model: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, work: Workspace, tested: Mapping[str, Path | ModelConfig]) -> "_Results":
        """What an evaluation that was stopped has left, or nothing yet."""
        path = work.path("evaluation.partial.json")
        models = {
            name: work.folder.facts(name).get("checksums")
            if isinstance(model, Path)
            else model.model_dump(mode="json")
            for name, model in tested.items()
        }
        kept = read_json(path) if path.exists() else {}
        by_model = kept["results"] if kept.get("models") == models else {}
        return cls(path, models, {name: by_model.get(name, {}) for name in tested})

    def keep(self) -> None:
        """Write them down."""
        write_json(self.path, {"models": self.models, "results": self.by_model})


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


def _test(
    work: Workspace,
    name: str,
    model: Path | ModelConfig,
    tests: Sequence[TaskTest],
    results: _Results,
) -> None:
    """Add a model's results on the tasks that have none, which all ranks of the run make."""
    what = TaskTests(
        model=model,
        tokenizer_folder=work.path("tokenizer"),
        trust_remote_code=work.config.trust_remote_code,
        collate=work.collate,
        prompt_format=work.config.data.prompt_format,
        sequence_length=work.config.data.sequence_length,
        batch_size=work.config.evaluation.batch_size,
    )
    by_task = results.by_model[name]
    missing = [test for test in tests if test.task not in by_task]
    if not missing:
        return
    with work.progress.bar(f"testing {name}", len(missing)) as advance:
        # Not by the run's engine, which is for the corpus: a test is seconds of a worker's.
        for test, result in AllRanks(work.ranks)(what, missing, advance):
            by_task[test.task] = result
            results.keep()


def _add_lm_eval(
    work: Workspace,
    name: str,
    model: Path | ModelConfig,
    item_files: Mapping[str, Path],
    results: _Results,
) -> None:
    by_task = results.by_model[name]
    if any("lm_eval" in result for result in by_task.values()):
        return
    work.progress.say(f"testing {name} through lm-eval")
    scores = lm_eval_accuracy(
        tested_model(
            model,
            work.device,
            vocab_size=len(work.tokenizer),
            trust_remote_code=work.config.trust_remote_code,
        ),
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
