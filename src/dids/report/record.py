"""The record of one run: everything the report shows, as ``result.json`` holds it.

Plain frozen values. Keys that a shorter run has no use for may be missing; what is there must have
the right form, because the file may come from a person or from an older version.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dids.errors import InputError

T = TypeVar("T")


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
    tokens_asked: float | None = None
    tokens_drawn: int | None = None
    samples_drawn: int | None = None
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
    stability: DomainStability | None = None
    control: ControlResult | None = None
    impact: tuple[ImpactRound, ...] = ()
    overhead: float | None = None
    overhead_allowed: float | None = None
    # time spent on impact and mixture, as a fraction of training time
    time_s: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    bad_records: Mapping[str, tuple[SkippedRecord, ...]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

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
        fields = _Fields(result, "")
        return cls(
            version=fields.take("dids", str, "unknown"),
            seed=fields.take("seed", int),
            tokens=fields.take("tokens", int),
            budget_tokens=fields.take("budget_tokens", _optional(int), None),
            tasks=fields.each("tasks", _task),
            mixture=tuple(fields.list("mixture", _mixture_round)),
            domains=fields.each("domains", _domain),
            stability=_stability(fields.inner("stability")) if result.get("stability") else None,
            control=None if not result.get("control") else _control(fields.inner("control")),
            impact=tuple(fields.list("impact", _impact_round)),
            overhead=fields.take("overhead", _optional(float), None),
            overhead_allowed=fields.take("overhead_allowed", _optional(float), None),
            time_s=fields.take("time_s", _mapping_of(float), {}),
            warnings=fields.take("warnings", _tuple_of(str), ()),
            bad_records=fields.take("bad_records", _mapping_of(_tuple_of(_skipped)), {}),
            versions=fields.take("versions", _mapping_of(str), {}),
            config=fields.take("config", dict, {}),
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


class _Fields:
    """Reads the fields of one JSON object and names the one that is wrong."""

    def __init__(self, values: Any, place: str) -> None:  # noqa: ANN401 (what a file holds)
        if not isinstance(values, Mapping):
            raise InputError(
                f"{place or 'result'} must be an object, but it is {type(values).__name__}."
            )
        self.values = values
        self.place = place

    def path(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def take(self, key: str, read: Callable[[Any], T], *default: T) -> T:
        if key not in self.values:
            if default:
                return default[0]
            raise InputError(f"the field {self.path(key)} is missing.")
        try:
            return read(self.values[key])
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            value = repr(self.values[key])[:60]
            raise InputError(f"the field {self.path(key)} cannot be read: {value}.") from error

    def inner(self, key: str) -> "_Fields":
        return _Fields(self.values[key], self.path(key))

    def each(self, key: str, read: Callable[["_Fields"], T]) -> dict[str, T]:
        inner = _Fields(self.values.get(key, {}), self.path(key))
        return {name: read(inner.inner(name)) for name in inner.values}

    def list(self, key: str, read: Callable[["_Fields"], T]) -> "list[T]":
        items = self.values.get(key) or []
        return [read(_Fields(item, f"{self.path(key)}[{i}]")) for i, item in enumerate(items)]


def _optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else read(value)


def _mapping_of(read: Callable[[Any], T]) -> Callable[[Any], dict[str, T]]:
    return lambda value: {str(key): read(item) for key, item in value.items()}


def _tuple_of(read: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
    return lambda value: tuple(read(item) for item in value)


_impacts = _mapping_of(_mapping_of(_optional(float)))


def _task(fields: _Fields) -> TaskResult:
    return TaskResult(
        test_loss=fields.take("test_loss", _optional(float), None),
        test_loss_se=fields.take("test_loss_se", _optional(float), None),
        validation_history=fields.take(
            "validation_history", _tuple_of(lambda point: (int(point[0]), float(point[1]))), ()
        ),
        accuracy=fields.take("accuracy", _optional(float), None),
        accuracy_norm=fields.take("accuracy_norm", _optional(float), None),
        lm_eval=fields.take("lm_eval", lambda value: _mapping_of(float)(value or {}), {}),
        num_test=fields.take("num_test", _optional(int), None),
    )


def _control(fields: _Fields) -> ControlResult:
    return ControlResult(
        policy=fields.take("policy", str, "uniform"),
        tasks=fields.each("tasks", _task),
        tokens=fields.take("tokens", _optional(int), None),
    )


def _mixture_round(fields: _Fields) -> MixtureRound:
    return MixtureRound(
        round=fields.take("round", int),
        step=fields.take("step", int),
        tokens=fields.take("tokens", int),
        probability=fields.take("probability", _mapping_of(float)),
        explanation=fields.take("explanation", lambda value: dict(value or {}), {}),
    )


def _impact_round(fields: _Fields) -> ImpactRound:
    return ImpactRound(
        round=fields.take("round", int),
        step=fields.take("step", int),
        cosine=fields.take("cosine", _impacts),
        cosine_error=fields.take("cosine_error", _impacts, {}),
        kernel=fields.take("kernel", _impacts, {}),
        distance=fields.take("distance", _impacts, {}),
    )


def _domain(fields: _Fields) -> DomainResult:
    return DomainResult(
        samples=fields.take("samples", int),
        tokens=fields.take("tokens", int),
        source_counts=fields.take("source_counts", _mapping_of(int), {}),
        tokens_asked=fields.take("tokens_asked", _optional(float), None),
        tokens_drawn=fields.take("tokens_drawn", _optional(int), None),
        samples_drawn=fields.take("samples_drawn", _optional(int), None),
        repeats=fields.take("repeats", lambda value: float(value or 0.0), 0.0),
        max_repeats=fields.take("max_repeats", _optional(float), None),
        examples=fields.take("examples", _tuple_of(str), ()),
    )


def _stability(fields: _Fields) -> DomainStability:
    return DomainStability(
        adjusted_rand=fields.take("adjusted_rand", float),
        mutual_information=fields.take("mutual_information", float),
        num_samples=fields.take("num_samples", int),
    )


def _skipped(value: Mapping[str, Any]) -> SkippedRecord:
    return SkippedRecord(
        file=str(value["file"]), line=int(value["line"]), reason=str(value["reason"])
    )
