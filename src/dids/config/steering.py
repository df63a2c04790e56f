"""What of a config may change while a run goes on: limits of the mixture, priors, task weights.

The same words are fields of the config and of ``steering.yaml`` in the run folder.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from dids.config.section import Fraction, Section, Share, as_tuple
from dids.config.yaml_file import YamlFile

if TYPE_CHECKING:
    from dids.config.schema import Config

STEERING_NAME = "steering.yaml"
_STEERED = re.compile(
    r"mixture\.(floor|domains|groups)(\.|$)"
    r"|data\.sources\..+\.(floor|cap|pin|prior)$"
    r"|tasks\..+\.weight$"
)

TaskWeight = Annotated[float, Field(ge=0.0, le=1e9, allow_inf_nan=False)]


class Limits(Section):
    """What a share of the mixture must keep: the same words for a source, a domain, a group."""

    floor: Share | None = None
    """Least share in every mixture. None: none of its own."""
    cap: Share | None = None
    """Greatest share in every mixture. None: no cap."""
    pin: Share | None = None
    """The share in every mixture, exactly. None: not pinned."""
    prior: Annotated[Fraction, Field(gt=0.0, lt=1.0)] | None = None
    """Share in the mixture that the run starts from and falls back on. None: as the others."""

    @model_validator(mode="after")
    def _one_range(self) -> "Limits":
        if self.pin is not None and (self.floor is not None or self.cap is not None):
            raise ValueError("pin fixes the share, so leave floor and cap out")
        if self.floor is not None and self.cap is not None and self.floor > self.cap:
            raise ValueError(f"floor {self.floor} is above cap {self.cap}; swap or lower it")
        return self

    @property
    def least(self) -> float | None:
        """The floor, or the pin."""
        return self.floor if self.pin is None else self.pin

    @property
    def greatest(self) -> float | None:
        """The cap, or the pin."""
        return self.cap if self.pin is None else self.pin


class GroupLimits(Limits):
    """Limits of the sum of several domains and sources."""

    domains: Annotated[tuple[str, ...], BeforeValidator(as_tuple), "pattern"] = ()
    """Names of domains that belong to the group, ``*`` for anything."""
    sources: Annotated[tuple[str, ...], BeforeValidator(as_tuple), "pattern"] = ()
    """Names of sources that belong to the group, ``*`` for anything; of a domain that mixes sources
    the part that comes from them."""

    @model_validator(mode="after")
    def _somebody(self) -> "GroupLimits":
        if not self.domains and not self.sources:
            raise ValueError("the group is empty; give domains: or sources:, a name or a list")
        return self


class SteeredMixture(Section):
    """Limits of domains and of groups."""

    floor: Share = 0.25
    """Least probability of a domain, as a fraction of its uniform share 1/k: tasks unlike every
    source live on the variety. It yields to all other limits."""
    domains: dict[str, Limits] = Field(default_factory=dict)
    """By name, ``*`` for anything: limits of each domain that it fits."""
    groups: dict[str, GroupLimits] = Field(default_factory=dict)
    """By any name: limits of sums."""


class SteeredData(Section):
    """Limits of sources."""

    sources: dict[str, Limits] = Field(default_factory=dict)


class SteeredTask(Section):
    """How much a task counts."""

    weight: TaskWeight = 1.0
    """Relative to the other tasks, in the mixture and in every mean; 0 follows its loss and gives
    it no say."""


class Steering(Section):
    """All that may change while a run goes on."""

    data: SteeredData = SteeredData()
    mixture: SteeredMixture = SteeredMixture()
    tasks: dict[str, SteeredTask] = Field(default_factory=dict)

    @classmethod
    def of(cls, config: "Config") -> "Steering":
        """What a config says of these fields."""

        def said(section: Section, model: type[Section]) -> dict[str, Any]:
            return section.model_dump(include=set(model.model_fields))

        sources = config.data.sources.items()
        return cls(
            data=SteeredData(sources={name: Limits(**said(s, Limits)) for name, s in sources}),
            mixture=SteeredMixture(**said(config.mixture, SteeredMixture)),
            tasks={name: SteeredTask(weight=task.weight) for name, task in config.tasks.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what is off."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Steering":
        """What ``to_json`` gave."""
        return cls.model_validate(values)


def is_steered(field: str) -> bool:
    """Whether a field of the config, as a path of keys, may change while a run goes on.

    Example:
        >>> is_steered("data.sources.web.cap"), is_steered("data.sources.web.path")
        (True, False)
    """
    return _STEERED.match(field) is not None


def load_steering(path: Path) -> tuple[Steering, YamlFile]:
    """Read and check a steering file by itself; whether its limits fit the domains comes later.

    Returns:
        What it says, and the file, which knows the lines of its fields.

    Raises:
        InputError: If it is missing, no YAML, or says something that the schema does not allow.
    """
    file = YamlFile.read(path, kind="steering file", advice="the next start of the run writes one")
    return file.checked(Steering, file.raw), file
