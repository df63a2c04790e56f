"""The record of one run: everything the report shows, as ``result.json`` holds it.

Plain frozen values. Keys that a shorter run has no use for may be missing; what is there must have
the right form, because the file may come from a person or from an older version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dids.errors import InputError
from dids.report.json_fields import Fields, mapping_of, optional, tuple_of


@dataclass(frozen=True)
class TaskResult:
    """What one model does on one task."""

    test_loss: float | None = None
    # mean negative log-likelihood, nats a token; None for a task without completions
    test_loss_se: float | None = None
    validation_history: tuple[tuple[int, float], ...] = ()
    # (tokens trained on, validation loss)
    accuracy: float | None = None
    accuracy_norm: float | None = None
    # length-normalised
    lm_eval: Mapping[str, float] = field(default_factory=dict)
    num_test: int | None = None
    weight: float = 1.0
    # of the task in means over tasks, as the config has it


@dataclass(frozen=True)
class ControlResult:
    """The run on the same budget that this one is compared with."""

    policy: str
    tasks: Mapping[str, TaskResult]
    tokens: int | None = None


@dataclass(frozen=True)
class MixtureRound:
    """The mixture that one round trained on, and why."""

    round: int
    step: int
    tokens: int
    # trained on when the round began
    probability: Mapping[str, float]
    explanation: Mapping[str, Any] = field(default_factory=dict)

    def explained(self, form: str) -> dict[str, dict[str, Any]]:
        """What the policy said of each task (``tasks``) or domain (``domains``), if it did.

        Args:
            form: Which of the two.
        """
        said = self.explanation.get(form)
        if not isinstance(said, dict):
            return {}
        return {name: seen for name, seen in said.items() if isinstance(seen, dict)}


@dataclass(frozen=True)
class ImpactRound:
    """Impact of every domain on every task at one round: ``form[domain][task]``."""

    round: int
    step: int
    cosine: Mapping[str, Mapping[str, float | None]]
    cosine_error: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    # standard error, None where it is not known
    kernel: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    distance: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class DomainResult:
    """What one domain is, and what was drawn from it."""

    samples: int
    tokens: int
    source_counts: Mapping[str, int]
    samples_asked: float | None = None
    tokens_asked: float | None = None
    tokens_drawn: int | None = None
    samples_drawn: int | None = None
    tokens_repeated: int | None = None
    # drawn again
    tokens_unseen: int | None = None
    # never drawn
    tokens_left: int | None = None
    # that max_repeats still allows; None without a limit
    repeats: float = 0.0
    # mean passes beyond the first
    max_repeats: float | None = None
    examples: tuple[str, ...] = ()

    @property
    def main_source(self) -> str:
        """The source that most of its samples come from."""
        return max(self.source_counts, key=lambda name: self.source_counts[name], default="")


@dataclass(frozen=True)
class DomainStability:
    """Agreement of the domains with those of another seed on the same features."""

    adjusted_rand: float
    mutual_information: float
    # normalised
    num_samples: int


@dataclass(frozen=True)
class MapPoint:
    """One sample on the map of gradient features."""

    domain: str
    x: float
    y: float
    text: str = ""
    # its beginning


@dataclass(frozen=True)
class SampleMap:
    """Some samples laid out by their gradient features."""

    points: tuple[MapPoint, ...]
    explained: tuple[float, ...] = ()
    # fraction of the variance along either axis


@dataclass(frozen=True)
class Finding:
    """What the check of the data found before the run."""

    severity: str
    # error, warning or note
    sentence: str
    advice: str = ""


@dataclass(frozen=True)
class TrialAccount:
    """A training that the policy asked for before the run."""

    name: str
    tokens: int
    elapsed_s: float


@dataclass(frozen=True)
class SkippedRecord:
    """A record that could not be read and was skipped by request."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class RunRecord:
    """All that the report shows of one run."""

    version: str
    seed: int
    tokens: int
    budget_tokens: int | None
    tasks: Mapping[str, TaskResult]
    mixture: tuple[MixtureRound, ...]
    domains: Mapping[str, DomainResult]
    steps: int | None = None
    stability: DomainStability | None = None
    feature_map: SampleMap | None = None
    control: ControlResult | None = None
    base: Mapping[str, TaskResult] = field(default_factory=dict)
    # the model before training, where it had trained weights
    impact: tuple[ImpactRound, ...] = ()
    overhead: float | None = None
    overhead_allowed: float | None = None
    # time spent on impact and mixture, as a fraction of training time
    time_s: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    # the gravest first
    bad_records: Mapping[str, tuple[SkippedRecord, ...]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    steering: Mapping[str, Any] = field(default_factory=dict)
    # ``changes`` and ``refused`` edits of steering.yaml
    regroupings: tuple[Mapping[str, Any], ...] = ()
    content: Mapping[str, str] = field(default_factory=dict)
    # SHA-256 of what every source and task file holds
    tokenizer_hash: str | None = None
    trials: tuple[TrialAccount, ...] = ()
    # trainings before the run, for policies that search

    @property
    def name(self) -> str:
        """The last part of the run folder's path."""
        path = self.config.get("run")
        return Path(str(path)).name if path else "run"

    @property
    def is_of_a_config(self) -> bool:
        """Whether `dids run` made it, which can make it again."""
        return "data" in self.config

    @classmethod
    def from_dict(cls, result: Mapping[str, Any]) -> "RunRecord":
        """The record that a ``result.json``, read into plain values, describes.

        Args:
            result: The mapping, with the keys that ``result.json`` has.

        Returns:
            The record.

        Raises:
            InputError: If a field is missing or has the wrong form; the sentence names it.
        """
        fields = Fields(result, "")
        config: dict[str, Any] = fields.take("config", dict, {})
        return cls(
            version=fields.take("dids", str, "unknown"),
            seed=fields.take("seed", int),
            tokens=fields.take("tokens", int),
            budget_tokens=fields.take("budget_tokens", optional(int), None),
            tasks=_weighted(fields.each("tasks", _task), config),
            mixture=tuple(fields.list("mixture", _mixture_round)),
            domains=fields.each("domains", _domain),
            stability=_stability(fields.inner("stability")) if result.get("stability") else None,
            steps=fields.take("steps", optional(int), None),
            feature_map=_map(fields.inner("feature_map")) if result.get("feature_map") else None,
            base=fields.each("base", _task) if result.get("base") else {},
            control=None if not result.get("control") else _control(fields.inner("control")),
            impact=tuple(fields.list("impact", _impact_round)),
            overhead=fields.take("overhead", optional(float), None),
            overhead_allowed=fields.take("overhead_allowed", optional(float), None),
            time_s=fields.take("time_s", mapping_of(float), {}),
            warnings=fields.take("warnings", tuple_of(str), ()),
            findings=tuple(fields.list("findings", _finding)),
            bad_records=fields.take("bad_records", mapping_of(tuple_of(_skipped)), {}),
            versions=fields.take("versions", mapping_of(str), {}),
            config=config,
            steering=fields.take("steering", dict, {}),
            regroupings=fields.take("regroupings", tuple_of(dict), ()),
            content=fields.take("content", mapping_of(str), {}),
            tokenizer_hash=fields.take("tokenizer_hash", optional(str), None),
            trials=tuple(fields.list("trials", _trial)),
        )


def read_run_record(path: Path) -> RunRecord:
    """The record in a ``result.json``.

    Args:
        path: The file.

    Returns:
        The record.

    Raises:
        InputError: If the file is missing, is no JSON, or lacks a field.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; a finished run writes it.") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}.") from error
    if not isinstance(result, dict):
        raise InputError(
            f"{path}: must hold one JSON object, but it holds {type(result).__name__}."
        )
    try:
        return RunRecord.from_dict(result)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise InputError(
            f"{path}: not what a run writes ({type(error).__name__}: {error}); `dids report` on "
            "its folder writes it again."
        ) from error


_impacts = mapping_of(mapping_of(optional(float)))


def _task(fields: Fields) -> TaskResult:
    return TaskResult(
        test_loss=fields.take("test_loss", optional(float), None),
        test_loss_se=fields.take("test_loss_se", optional(float), None),
        validation_history=fields.take(
            "validation_history", tuple_of(lambda point: (int(point[0]), float(point[1]))), ()
        ),
        accuracy=fields.take("accuracy", optional(float), None),
        accuracy_norm=fields.take("accuracy_norm", optional(float), None),
        lm_eval=fields.take("lm_eval", lambda value: mapping_of(float)(value or {}), {}),
        num_test=fields.take("num_test", optional(int), None),
    )


def _weighted(tasks: Mapping[str, TaskResult], config: Mapping[str, Any]) -> dict[str, TaskResult]:
    """The tasks with the weights that a config gives them."""
    said = mapping_of(dict)(config.get("tasks") or {})
    return {
        name: replace(task, weight=float(said.get(name, {}).get("weight", 1.0)))
        for name, task in tasks.items()
    }


def _control(fields: Fields) -> ControlResult:
    return ControlResult(
        policy=fields.take("policy", str, "uniform"),
        tasks=fields.each("tasks", _task),
        tokens=fields.take("tokens", optional(int), None),
    )


def _trial(fields: Fields) -> TrialAccount:
    return TrialAccount(
        name=fields.take("name", str),
        tokens=fields.take("tokens", int),
        elapsed_s=fields.take("elapsed_s", float),
    )


def _mixture_round(fields: Fields) -> MixtureRound:
    return MixtureRound(
        round=fields.take("round", int),
        step=fields.take("step", int),
        tokens=fields.take("tokens", int),
        probability=fields.take("probability", mapping_of(float)),
        explanation=fields.take("explanation", lambda value: dict(value or {}), {}),
    )


def _impact_round(fields: Fields) -> ImpactRound:
    return ImpactRound(
        round=fields.take("round", int),
        step=fields.take("step", int),
        cosine=fields.take("cosine", _impacts),
        cosine_error=fields.take("cosine_error", _impacts, {}),
        kernel=fields.take("kernel", _impacts, {}),
        distance=fields.take("distance", _impacts, {}),
    )


def _domain(fields: Fields) -> DomainResult:
    return DomainResult(
        samples=fields.take("samples", int),
        tokens=fields.take("tokens", int),
        source_counts=fields.take("source_counts", mapping_of(int), {}),
        samples_asked=fields.take("samples_asked", optional(float), None),
        tokens_asked=fields.take("tokens_asked", optional(float), None),
        tokens_drawn=fields.take("tokens_drawn", optional(int), None),
        samples_drawn=fields.take("samples_drawn", optional(int), None),
        tokens_repeated=fields.take("tokens_repeated", optional(int), None),
        tokens_unseen=fields.take("tokens_unseen", optional(int), None),
        tokens_left=fields.take("tokens_left", optional(int), None),
        repeats=fields.take("repeats", lambda value: float(value or 0.0), 0.0),
        max_repeats=fields.take("max_repeats", optional(float), None),
        examples=fields.take("examples", tuple_of(str), ()),
    )


def _stability(fields: Fields) -> DomainStability:
    return DomainStability(
        adjusted_rand=fields.take("adjusted_rand", float),
        mutual_information=fields.take("mutual_information", float),
        num_samples=fields.take("num_samples", int),
    )


def _map(fields: Fields) -> SampleMap:
    return SampleMap(
        points=tuple(fields.list("points", _point)),
        explained=fields.take("explained", tuple_of(float), ()),
    )


def _point(fields: Fields) -> MapPoint:
    x, y = fields.take("place", lambda place: (float(place[0]), float(place[1])))
    return MapPoint(fields.take("domain", str), x, y, fields.take("text", str, ""))


def _finding(fields: Fields) -> Finding:
    return Finding(
        severity=fields.take("severity", str, "warning"),
        sentence=fields.take("sentence", str),
        advice=fields.take("advice", lambda value: str(value or ""), ""),
    )


def _skipped(value: Mapping[str, Any]) -> SkippedRecord:
    return SkippedRecord(
        file=str(value["file"]), line=int(value["line"]), reason=str(value["reason"])
    )
