"""The same multiple-choice items through lm-eval, to be compared with what others publish.

Prompts are rendered here, with the tokenizer's own template, and handed over as plain strings;
lm-eval tokenises prompt and choice as one string. Task files, data and cache stay in the work
folder; nothing is looked up on a hub.
"""

import json
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn
from transformers import PreTrainedTokenizerBase

from dids.atomic import write_text
from dids.data.records import Record
from dids.data.rendering import PromptFormat, prompt_text
from dids.errors import InputError
from dids.gradients.model_state import evaluation_mode

logger = logging.getLogger(__name__)


def write_lm_eval_items(
    path: Path,
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_format: PromptFormat = "chat",
) -> int:
    """Write a task's multiple-choice items as lm-eval reads them: prompt, choices, answer.

    Args:
        path: The JSONL file to write; none is written if no record has choices.
        records: The task's records; those without choices are left out.
        tokenizer: Its chat template makes the prompts.
        prompt_format: What is made of a prompt.

    Returns:
        How many items there are.
    """
    lines = [
        json.dumps(
            {
                "prompt": prompt_text(record, tokenizer, prompt_format),
                "choices": list(record.choices),
                "answer": record.answer,
            },
            ensure_ascii=False,
        )
        for record in records
        if record.prompt is not None and record.choices and record.answer is not None
    ]
    if lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "\n".join(lines) + "\n")
    return len(lines)


def lm_eval_accuracy(
    model: nn.Module | Path,
    tokenizer: PreTrainedTokenizerBase | Path,
    task_files: Mapping[str, Path],
    work_folder: Path,
    *,
    limit: int | None = None,
    batch_size: int = 8,
    max_length: int | None = None,
) -> dict[str, dict[str, float]]:
    """Accuracy of a model by lm-eval.

    Args:
        model: A model, or the folder of a checkpoint.
        tokenizer: A tokenizer, or the folder that it is in.
        task_files: By task, what `write_lm_eval_items` wrote.
        work_folder: Where lm-eval's task files and cache go.
        limit: How many items of each task; None for all.
        batch_size: Choices in one forward pass.
        max_length: Greatest number of tokens; None for what the model's config says.

    Returns:
        By task, ``acc`` and ``acc_norm`` with their standard errors ``acc_stderr`` and
        ``acc_norm_stderr``, and ``num_items``. Items with a choice that does not fit into
        ``max_length`` are left out, because lm-eval refuses them; a task without any other is
        missing.

    Raises:
        InputError: If lm-eval is not installed.

    Note:
        lm-eval moves white space at the end of a prompt into the choice. That leaves ``acc`` as
        `dids.evaluation.choices` has it, because it adds the same to every choice, but not
        ``acc_norm``, where the same is divided by different lengths.
    """
    if not task_files:
        return {}
    evaluator, hflm, task_manager = _lm_eval()
    settings: dict[str, Any] = {"max_length": max_length, "batch_size": batch_size}
    if isinstance(model, Path):
        settings["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    with ExitStack() as borrowed:
        borrowed.enter_context(_kept_randomness())
        borrowed.enter_context(_quiet_loggers())
        if isinstance(model, nn.Module):
            borrowed.enter_context(evaluation_mode(model))
        wrapped = hflm(pretrained=_named(model), tokenizer=_named(tokenizer), **settings)
        fitting, counts = _fitting_items(task_files, work_folder, wrapped)
        if not fitting:
            return {}
        names = write_task_files(fitting, work_folder)
        manager = task_manager(include_path=str(work_folder / "tasks"), include_defaults=False)
        has_load = hasattr(manager, "load")  # since lm-eval 0.4.12
        load = manager.load if has_load else manager.load_task_or_group
        # Not by `simple_evaluate`, which asks the machine's git and pip for seconds.
        found: dict[str, Any] = evaluator.evaluate(
            lm=wrapped,
            task_dict=load(list(names.values())),
            limit=limit,
            bootstrap_iters=1,  # 0 would leave out the errors, which are computed, not drawn
            log_samples=False,
        )
    return {
        task: _metrics(found["results"][name])
        | {"num_items": min(counts[task], limit) if limit is not None else counts[task]}
        for task, name in names.items()
    }


def write_task_files(task_files: Mapping[str, Path], work_folder: Path) -> dict[str, str]:
    """Write one lm-eval task file a task.

    Args:
        task_files: By task, the JSONL file of its items.
        work_folder: Its folder ``tasks`` gets the files.

    Returns:
        By task, the name it has for lm-eval.
    """
    folder = work_folder / "tasks"
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.yaml"):
        stale.unlink()
    names = {}
    for index, (task, path) in enumerate(task_files.items()):
        # Task names are the user's; lm-eval reads some characters as wildcards and groups.
        name = f"dids_{index}_" + "".join(c if c.isalnum() else "_" for c in task)
        names[task] = name
        settings = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"test": str(path.resolve())},
                "cache_dir": str((work_folder / "cache").resolve()),
            },
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": "prompt",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "target_delimiter": "",
            "num_fewshot": 0,
            "metric_list": [
                {"metric": metric, "aggregation": "mean", "higher_is_better": True}
                for metric in ("acc", "acc_norm")
            ],
        }
        write_text(folder / f"{name}.yaml", yaml.safe_dump(settings, sort_keys=False))
    return names


def _fitting_items(
    task_files: Mapping[str, Path],
    work_folder: Path,
    wrapped: Any,  # noqa: ANN401 (an HFLM; lm-eval is optional)
) -> tuple[dict[str, Path], dict[str, int]]:
    """By task, a file of the items whose choices fit into the model, and how many they are."""
    files, counts = {}, {}
    for index, (task, path) in enumerate(task_files.items()):
        lines = path.read_text(encoding="utf-8").split("\n")
        items = [(line, json.loads(line)) for line in lines if line]
        kept = [line for line, item in items if _longest_choice(item, wrapped) < wrapped.max_length]
        if len(kept) < len(items):
            logger.warning(
                "lm-eval: %d of %d items of %s left out: a choice is longer than %d tokens.",
                len(items) - len(kept), len(items), task, wrapped.max_length,
            )  # fmt: skip
        if kept:
            files[task] = work_folder / "items" / f"{index}.jsonl"
            files[task].parent.mkdir(parents=True, exist_ok=True)
            write_text(files[task], "\n".join(kept) + "\n")
            counts[task] = len(kept)
    return files, counts


def _longest_choice(item: Mapping[str, Any], wrapped: Any) -> int:  # noqa: ANN401
    prompt = item["prompt"]
    # White space at the end of the prompt is moved into the choice.
    moved = prompt[len(prompt.rstrip()) :]
    texts = [moved + choice for choice in item["choices"]]
    return max(len(ids) for ids in wrapped.tokenizer(texts, add_special_tokens=False)["input_ids"])


@contextmanager
def _kept_randomness() -> Iterator[None]:
    """Puts the generators of Python, numpy and torch back: lm-eval 0.4.13 draws from Python's."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(enabled=torch.cuda.is_available()):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Errors only: lm-eval warns of every prompt it shortens, hundreds of lines on a usual task."""
    theirs = logging.getLogger("lm_eval")
    level = theirs.level
    try:
        theirs.setLevel(logging.ERROR)
        yield
    finally:
        theirs.setLevel(level)


def _lm_eval() -> tuple[Any, Any, Any]:
    try:
        from lm_eval import evaluator
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError(
            "lm-eval is not installed: `pip install dids[lm-eval]`, "
            "or set evaluation.lm_eval to false."
        ) from error
    return evaluator, HFLM, TaskManager


def _named(given: Any) -> Any:  # noqa: ANN401 (a model or a tokenizer, or its folder)
    return str(given) if isinstance(given, Path) else given


def _metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """``acc,none`` and the like under their plain names, numbers only."""
    plain = {key.partition(",")[0]: value for key, value in result.items()}
    wanted = ("acc", "acc_stderr", "acc_norm", "acc_norm_stderr")
    return {key: float(plain[key]) for key in wanted if isinstance(plain.get(key), float)}
