"""Stage ten: the trained models on the tests that the run never looked at."""

import importlib.util
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from dids.atomic import read_json, write_json
from dids.data.readers import read_records
from dids.data.records import Record
from dids.evaluation.choices import choice_accuracy
from dids.evaluation.lm_eval_tasks import lm_eval_accuracy, write_lm_eval_items
from dids.evaluation.task_loss import task_loss
from dids.run.workspace import Workspace


def run(work: Workspace) -> dict[str, Any]:
    """Write ``evaluation.json``: by run (train, control), then by task."""
    runs = [name for name in ("train", "control") if (work.path(name) / "model").exists()]
    evaluation = {name: _evaluated(work, name) for name in runs}
    write_json(work.path("evaluation.json"), evaluation)
    return {"lm_eval": _uses_lm_eval(work)}


def _uses_lm_eval(work: Workspace) -> bool:
    return work.config.evaluation.lm_eval and importlib.util.find_spec("lm_eval") is not None


def _evaluated(work: Workspace, name: str) -> dict[str, Any]:
    model = work.saved_model(name)
    files = work.task_files("test")
    result: dict[str, Any] = {}
    item_files: dict[str, Path] = {}
    items_folder = work.path("lm_eval") / "items"
    with work.progress.bar(f"testing {name}", len(files)) as advance:
        for task, source in files.items():
            records = [
                record
                for record in read_records(
                    source, purpose="task", on_bad_record=work.config.data.on_bad_record
                )
                if record.choices is not None
            ]
            path = items_folder / f"{task}.jsonl"
            if write_lm_eval_items(
                path, records, work.tokenizer, prompt_format=work.config.data.prompt_format
            ):
                item_files[task] = path
            result[task] = _task_result(work, model, task, records)
            advance(1)
    if item_files and _uses_lm_eval(work):
        work.progress.say(f"testing {name} through lm-eval")
        scores = lm_eval_accuracy(
            model,
            work.tokenizer,
            item_files,
            work.path("lm_eval") / name,
            limit=work.config.evaluation.lm_eval_limit,
            batch_size=work.config.evaluation.batch_size,
            max_length=work.config.data.sequence_length,
        )
        for task, score in scores.items():
            result[task]["lm_eval"] = score
    return result


def _task_result(
    work: Workspace, model: PreTrainedModel, task: str, records: list[Record]
) -> dict[str, Any]:
    batch_size = work.config.evaluation.batch_size
    store = work.task_store(task, "test")
    result: dict[str, Any] = {"num_test": store.num_samples, "test_loss": None}
    loss = task_loss(model, store, work.collate, batch_size=batch_size)
    if loss is not None:
        result |= {"test_loss": loss.loss, "test_loss_se": loss.standard_error}
    accuracy = choice_accuracy(
        model,
        work.tokenizer,
        records[: work.config.evaluation.accuracy_limit],
        prompt_format=work.config.data.prompt_format,
        sequence_length=work.config.data.sequence_length,
        batch_size=batch_size,
    )
    if accuracy is not None:
        result |= {
            "accuracy": accuracy.accuracy,
            "accuracy_norm": accuracy.length_normalised_accuracy,
            "accuracy_se": accuracy.standard_error,
        }
    return result


def evaluation(work: Workspace) -> dict[str, Any]:
    """What this stage wrote."""
    result: dict[str, Any] = read_json(work.path("evaluation.json"))
    return result
