"""Impact, evaluation and report: what happens to tasks, by their items."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dids.run.plan.calibration import Calibration, Rehearsed
from dids.run.plan.estimate import Known, StageEstimate
from dids.run.plan.processes import longest_s
from dids.run.plan.training_stages import with_measuring
from dids.run.stages import STAGES

_LM_EVAL_ITEMS = 6, 24
"""Of each task: two numbers give what lm-eval takes at all, and by the item."""


@dataclass(frozen=True)
class LmEvalPrice:
    """What lm-eval takes.

    Attributes:
        import_s: Once.
        model_s: For each model.
        item_s: For each item.
    """

    import_s: float
    model_s: float
    item_s: float

    @classmethod
    def of(
        cls, first_s: float, few_s: float, many_s: float, few: float, many: float
    ) -> "LmEvalPrice":
        """The price, from one model's times: at first, again, and with more items.

        Example:
            >>> LmEvalPrice.of(9.0, 5.0, 7.0, few=10, many=20)
            LmEvalPrice(import_s=4.0, model_s=3.0, item_s=0.2)
        """
        item_s = max(0.0, many_s - few_s) / max(1.0, many - few)
        return cls(max(0.0, first_s - few_s), max(0.0, few_s - few * item_s), item_s)

    def time_s(self, num_models: int, num_items: float) -> float:
        """Of so many models, each on so many items.

        Example:
            >>> LmEvalPrice(4.0, 3.0, 0.25).time_s(2, 100)
            60.0
        """
        return self.import_s + num_models * (self.model_s + num_items * self.item_s)


def impact(here: Calibration) -> StageEstimate:
    """On the proxy, with as many domains, tasks and samples as in the run."""
    work = replace(here.work, config=with_measuring(here))
    took = here.rehearsed("impact", lambda: STAGES["impact"](work))
    return here.estimate(
        "impact", took, Known(took.time_s, True), Known(took.disk_bytes, True), "as in the run"
    )


def evaluate(here: Calibration) -> StageEstimate:
    """Task by task, by items, on all processes; lm-eval by its own items."""
    few, many = (min(limit, _limit(here)) for limit in _LM_EVAL_ITEMS)
    first = took = _evaluated(here, few)
    price = None
    if _lm_eval_s(first):
        first_s, took = _lm_eval_s(first)[0], _evaluated(here, few)
        few_s, took = _lm_eval_s(took)[0], _evaluated(here, many)
        counts = [_lm_eval_items(here, limit, whole=False) for limit in (few, many)]
        price = LmEvalPrice.of(first_s, few_s, _lm_eval_s(took)[0], *counts)
    tests_s = [bar.done_laps_s for bar in took.bars]
    rest_s = took.time_s - sum(map(sum, tests_s)) - sum(_lm_eval_s(took))
    scales = [_padded_scale(here, task) for task in here.config.tasks]
    whole_s = evaluating_s(tests_s, scales, here.num_processes)
    num_items = _lm_eval_items(here, _limit(here), whole=True)
    lm_eval_s = 0.0 if price is None else price.time_s(len(took.bars), num_items)
    small = sum(here.slices[f"{task}-test"].records for task in here.config.tasks)
    whole = sum(volume.records for volume in here.tasks["test"].values())
    return here.estimate(
        "evaluate",
        took,
        Known(rest_s + whole_s + lm_eval_s, small == whole and price is None),
        Known(first.disk_bytes * _items_scale(here), small == whole),  # the others find it there
        f"{small:,} of {whole:,.0f} test items"
        + (f"; lm-eval {many} of {_limit(here):,} items a task" if price is not None else ""),
    )


def report(here: Calibration) -> StageEstimate:
    """The page of the small run."""
    took = here.rehearsed("report", lambda: STAGES["report"](here.work))
    return here.estimate(
        "report",
        took,
        Known(took.time_s, is_measured=True),
        Known(took.disk_bytes, is_measured=True),
        "of the small run",
    )


def evaluating_s(
    tests_s: Sequence[Sequence[float]], scales: Sequence[float], num_processes: int
) -> float:
    """What the tests of some models take, each on all processes, a task a process at a time.

    Args:
        tests_s: What each model's test on each task took, on a slice of its items.
        scales: By task, what testing on all items is of that.
        num_processes: That take one task after another.

    Example:
        >>> evaluating_s([[1.0, 2.0, 1.0]], [3.0, 1.0, 1.0], num_processes=2)
        3.0
    """
    return sum(
        longest_s([s * scale for s, scale in zip(each, scales, strict=True)], num_processes)
        for each in tests_s
    )


def _padded_scale(here: Calibration, task: str) -> float:
    """What testing on all of a task's items is of testing on the slice's, by padded tokens.

    Samples grow as characters do, not as records: a long text is cut into many.
    """
    lengths_n = np.sort(here.work.task_store(task, "test").lengths)[::-1]
    scale = here.slices[f"{task}-test"].scale
    batch_size = here.config.evaluation.batch_size
    return padded_tokens(lengths_n, scale, batch_size) / padded_tokens(lengths_n, 1.0, batch_size)


def _items_scale(here: Calibration) -> float:
    """What all items that lm-eval gets are of the slices', by their length."""
    folder = here.work.path("lm_eval") / "items"
    small = whole = 0.0
    for task in here.config.tasks:
        path = folder / f"{task}.jsonl"
        size = path.stat().st_size if path.exists() else 0
        small += size
        whole += size * here.slices[f"{task}-test"].scale
    return whole / small if small else 1.0


def padded_tokens(lengths_n: np.ndarray, times: float, batch_size: int) -> float:
    """Tokens, with padding, of batches of like length: of so many times as many samples.

    Args:
        lengths_n: Tokens of each sample, longest first.
        times: How many times as many samples of the same lengths; 1 or more.
        batch_size: Samples of a batch.

    Example:
        >>> padded_tokens(np.array([9, 5, 3]), 1.0, 2), padded_tokens(np.array([9, 5, 3]), 2.0, 2)
        (21.0, 34.0)
    """
    number = max(1, round(times * len(lengths_n)))
    place_m = np.arange(number) * len(lengths_n) // number
    longest_b = lengths_n[place_m[::batch_size]]
    sizes_b = np.diff([*range(0, number, batch_size), number])
    return float(longest_b @ sizes_b)


def _evaluated(here: Calibration, limit: int) -> Rehearsed:
    evaluation = here.work.config.evaluation.model_copy(update={"lm_eval_limit": limit})
    config = here.work.config.model_copy(update={"evaluation": evaluation})
    work = replace(here.work, config=config)
    return here.rehearsed("evaluate", lambda: STAGES["evaluate"](work))


def _limit(here: Calibration) -> int:
    """Items of a task that go through lm-eval."""
    given = here.config.evaluation.lm_eval_limit
    largest = max(math.ceil(volume.records) for volume in here.tasks["test"].values())
    return largest if given is None else min(given, largest)


def _lm_eval_s(took: Rehearsed) -> list[float]:
    """What lm-eval took for each model: from the line that speaks of it to what comes next."""
    starts = [at for at, line in took.said if line.endswith("through lm-eval")]
    ends = sorted([bar.began_s for bar in took.bars] + [took.ended_s])
    return [next(end for end in ends if end > at) - at for at in starts]


def _lm_eval_items(here: Calibration, limit: int, *, whole: bool) -> float:
    """Items with choices, up to a limit a task: of the whole run, or of the slices."""
    total = 0.0
    for task, volume in here.tasks["test"].items():
        drawn = volume.estimate.drawn
        share = sum(record.choices is not None for record in drawn) / max(1, len(drawn))
        records = volume.records if whole else here.slices[f"{task}-test"].records
        total += min(float(limit), share * records)
    return total
