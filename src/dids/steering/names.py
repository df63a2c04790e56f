"""What names and patterns of domains, sources and tasks stand for.

Axis letters: k domains, s sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer

from dids.domains.name_patterns import fitting, no_such_name
from dids.errors import InputError


class FieldError(InputError):
    """A mistake in one field.

    Attributes:
        location: The field, as a path of keys.
        sentence: What is wrong with it.
    """

    def __init__(self, location: Sequence[str], sentence: str) -> None:
        super().__init__(f"'{'.'.join(location)}': {sentence}")
        self.location = tuple(location)
        self.sentence = sentence


@dataclass(frozen=True)
class KnownNames:
    """The names of a run.

    Attributes:
        domains: Of the domains, in their order.
        sources: Of the sources.
        tasks: Of all tasks.
        scored_tasks: Of those with a loss, in the order of the impact's tasks.
        source_share_sk: Share of each domain's samples that comes from each source.
    """

    domains: tuple[str, ...]
    sources: tuple[str, ...]
    tasks: tuple[str, ...]
    scored_tasks: tuple[str, ...]
    source_share_sk: Float64[np.ndarray, "s k"]

    @classmethod
    def of(
        cls,
        domains: Sequence[str],
        sources: Sequence[str],
        tasks: Sequence[str],
        scored_tasks: Sequence[str],
        source_counts_ks: Integer[np.ndarray, "k s"],
    ) -> "KnownNames":
        """The names, with shares from counts of samples."""
        total_k = np.maximum(source_counts_ks.sum(axis=1), 1)
        share_sk = source_counts_ks.T / total_k
        return cls(tuple(domains), tuple(sources), tuple(tasks), tuple(scored_tasks), share_sk)

    def domains_like(self, pattern: str, location: Sequence[str]) -> list[int]:
        """Numbers of the domains that a pattern fits.

        Raises:
            FieldError: If it fits none.
        """
        return _fitting(pattern, self.domains, "domain", location)

    def source_row(
        self, patterns: Sequence[str], location: Sequence[str]
    ) -> Float64[np.ndarray, " k"]:
        """Share of each domain that comes from sources that one of several patterns fits.

        Raises:
            FieldError: If one of them fits none.
        """
        sources = {s for p in patterns for s in _fitting(p, self.sources, "source", location)}
        return np.asarray(self.source_share_sk[sorted(sources)].sum(axis=0))

    def check_task(self, name: str, location: Sequence[str]) -> None:
        """Refuse a name of no task.

        Raises:
            FieldError: If there is no such task.
        """
        if name not in self.tasks:
            raise FieldError(location, no_such_name(name, self.tasks, "task"))


def _fitting(pattern: str, names: Sequence[str], kind: str, location: Sequence[str]) -> list[int]:
    found = fitting(pattern, names)
    if not found:
        raise FieldError(location, no_such_name(pattern, names, kind))
    return found
