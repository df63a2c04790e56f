"""Domains by name: checked settings, and the sampler and the forecast that follow from them.

Axis letters: k domains, n samples of the data set.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from dids.errors import InputError
from dids.sampling.domain_samples import AtEnd
from dids.sampling.forecast import DomainForecast, forecast
from dids.sampling.mixture_log import MixtureLog, checked_mixture
from dids.sampling.sampler import MixtureSampler
from dids.sampling.token_unit import Unit


class DomainSettings:
    """What is known of the domains before a run.

    Args:
        sizes: Samples of each domain, which lie one behind the other.
        unit: What weights are shares of.
        max_repeats: How often the samples of a domain may be drawn again; no limit where not named.
        at_end: ``renormalise`` or ``stop``, by domain; ``renormalise`` where not named.

    Raises:
        InputError: If a setting names a domain that is not there, or a domain has no samples.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        unit: Unit,
        max_repeats: Mapping[str, int | None],
        at_end: Mapping[str, AtEnd],
    ) -> None:
        self.sizes = dict(sizes)
        for name, size in self.sizes.items():
            if not isinstance(size, int | np.integer) or size < 1:
                raise InputError(f"sizes: '{name}' must have 1 sample or more, but has {size!r}.")
        self.unit: Unit = unit
        self.max_repeats: list[int | None] = self._by_domain("max_repeats", max_repeats, None)
        self.at_end: list[AtEnd] = self._by_domain("at_end", at_end, "renormalise")

    @property
    def sizes_k(self) -> Int64[np.ndarray, " k"]:
        """Samples of each domain, in their order."""
        return np.array(list(self.sizes.values()), dtype=np.int64)

    def weights(self, mixture: Mapping[str, float]) -> Float64[np.ndarray, " k"]:
        """A mixture in the order of the domains.

        Raises:
            InputError: If a domain is missing or unknown, or the weights are no mixture.
        """
        self._refuse_unknown("mixture", mixture)
        missing = [name for name in self.sizes if name not in mixture]
        if missing:
            raise InputError(f"mixture: '{missing[0]}' has no weight; 0 leaves a domain out.")
        weights = [weight_of("mixture", name, mixture[name]) for name in self.sizes]
        try:
            return checked_mixture(weights)
        except ValueError as error:
            raise InputError(
                f"mixture: {str(error).rstrip('.')}. The domains are {', '.join(self.sizes)}."
            ) from None

    def sampler(
        self, mixture_k: np.ndarray, lengths: np.ndarray | int, batch_size: int, seed: int
    ) -> MixtureSampler:
        """The sampler of these domains."""
        ends = np.cumsum(self.sizes_k).tolist()
        return MixtureSampler(
            [range(end - size, end) for size, end in zip(self.sizes.values(), ends, strict=True)],
            lengths,
            batch_size=batch_size,
            seed=seed,
            mixture=mixture_k,
            max_repeats=self.max_repeats,
            unit=self.unit,
            at_end=self.at_end,
        )

    def forecast(
        self,
        mixtures: MixtureLog,
        lengths: np.ndarray | int | None,
        batch_size: int,
        num_steps: int,
    ) -> dict[str, DomainForecast]:
        """What mixtures and a number of steps imply for each domain.

        Raises:
            InputError: If the unit is tokens and the lengths are not known.
        """
        if self.unit == "tokens" and lengths is None:
            raise InputError("forecast: a mixture in tokens needs the samples' lengths.")
        mean_lengths = None
        if isinstance(lengths, np.ndarray):
            parts = np.split(lengths, np.cumsum(self.sizes_k)[:-1])
            mean_lengths = [float(part.mean()) if len(part) > 0 else 1.0 for part in parts]
        elif lengths is not None:
            mean_lengths = [float(lengths)] * len(self.sizes)
        found = forecast(
            list(self.sizes.values()),
            self.max_repeats,
            mixtures,
            batch_size,
            num_steps,
            unit=self.unit,
            mean_lengths=mean_lengths,
            at_end=self.at_end,
        )
        return dict(zip(self.sizes, found, strict=True))

    def _by_domain(self, setting: str, given: Mapping[str, Any], default: Any) -> list[Any]:  # noqa: ANN401
        self._refuse_unknown(setting, given)
        return [given.get(name, default) for name in self.sizes]

    def _refuse_unknown(self, setting: str, given: Mapping[str, Any]) -> None:
        unknown = [name for name in given if name not in self.sizes]
        if unknown:
            raise InputError(
                f"{setting}: there is no domain '{unknown[0]}'; the domains are "
                f"{', '.join(self.sizes)}."
            )


def weight_of(setting: str, name: object, weight: object) -> float:
    """A domain's weight as a number.

    Raises:
        InputError: If it is none.
    """
    try:
        return float(weight)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(
            f"{setting}: the weight of '{name}' must be a number, but it is {weight!r}."
        ) from None
