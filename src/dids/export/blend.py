"""What every target is given to write: domains with weights and files, stages, and how it came."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dids.data.record_fields import KINDS
from dids.errors import InputError
from dids.export.run_mixture import Stage, Unit

DIGITS = 10
"""Significant digits of a weight. A thousand of them then sum to 1 within 1e-8, which numpy asks of
probabilities."""


@dataclass(frozen=True)
class BlendDomain:
    """A domain as a target sees it."""

    name: str
    stem: str
    """A file name without ending that is its own."""
    files: tuple[str, ...]
    """Its records: absolute paths of JSONL or Parquet files, all of one format."""
    kinds: tuple[str, ...]
    """What its records are, of `KINDS`: usually one of them."""
    records: int
    tokens: int

    @property
    def data_format(self) -> str:
        """``json`` or ``parquet``, as ``datasets.load_dataset`` names them."""
        return "parquet" if self.files[0].endswith(".parquet") else "json"


@dataclass(frozen=True)
class Blend:
    """A mixture to be written for one target."""

    domains: tuple[BlendDomain, ...]
    """Those with a weight in some stage."""
    stages: tuple[Stage, ...]
    """One, unless the schedule is exported."""
    unit: Unit
    about: tuple[str, ...]
    """Sentences: where this comes from and what the weights mean."""
    folder: str
    """Where a target that has data of a form of its own finds it."""
    seed: int
    steps: int
    """Of the training that the blend is for."""
    batch_size: int
    """Sequences of one of those steps."""
    tokens: int
    """Of the run."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the domains."""
        return tuple(domain.name for domain in self.domains)

    def weights(self, stage: Stage | None = None) -> list[float]:
        """Weights of the domains in one stage, the first if none is named; rounded."""
        weights = (stage or self.stages[0]).weights
        return [rounded(weights[name]) for name in self.names]

    def named_weights(self, stage: Stage | None = None) -> dict[str, float]:
        """The same by name."""
        return dict(zip(self.names, self.weights(stage), strict=True))

    def positive(self, stage: Stage) -> "Blend":
        """The domains that have a weight in one stage, and that stage alone."""
        domains = tuple(domain for domain in self.domains if stage.weights[domain.name] > 0)
        return replace(self, domains=domains, stages=(stage,))

    def pairs(self) -> Iterator[tuple[BlendDomain, float]]:
        """Domains with their weights in the first stage."""
        return zip(self.domains, self.weights(), strict=True)

    def step_of(self, stage: Stage) -> int:
        """The step at which a stage begins."""
        fraction = stage.fraction if stage.of_steps is None else stage.of_steps
        return int(fraction * self.steps + 0.5)


def rounded(weight: float) -> float:
    """A weight with few digits.

    Example:
        >>> rounded(1 / 24)
        0.04166666667
    """
    return float(f"{weight:.{DIGITS}g}")


def one_kind(domain: BlendDomain, target: str) -> str:
    """What a domain's records are, for a target that reads one kind a file.

    Raises:
        InputError: If the domain mixes kinds.
    """
    if len(domain.kinds) != 1 or domain.kinds[0] not in KINDS:
        raise InputError(
            f"Domain '{domain.name}' mixes records with {' and '.join(domain.kinds)}, and {target} "
            "reads one kind a file; write all records in one form, or keep kinds in sources of "
            "their own with domains.within: source."
        )
    return domain.kinds[0]


def check_no_character(values: Sequence[str], characters: str, target: str) -> None:
    """Refuse names or paths with a character that a target takes for something else.

    Raises:
        InputError: If there is one; blanks stand for any white space.
    """
    for value in values:
        for character in characters:
            if character in value or (character == " " and len(value.split()) > 1):
                what = "a blank" if character == " " else f"'{character}'"
                raise InputError(
                    f"'{value}' has {what} in it, which {target} cannot take; name another place "
                    "with --out or --data, or rename the source."
                )
