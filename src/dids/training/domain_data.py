"""The training samples by domain, as a run has them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dids.data.dataset import TokenDataset
from dids.sampling.domain_samples import AtEnd
from dids.sampling.regrouping import OrderedDomains
from dids.sampling.sampler import MixtureSampler
from dids.sampling.token_unit import Unit
from dids.training.regrouping import Grouping


@dataclass(frozen=True)
class DomainData:
    """The training samples by domain.

    Attributes:
        dataset: All samples, by flat index.
        names: Of the domains.
        members: Flat sample ids of each domain.
        max_repeats: How often a sample of each domain may be drawn again; None: no limit.
        at_end: What happens when a domain's repeats are used up; None: the others share its weight.
        earlier: The domains of before, from the run's beginning, where they were regrouped since.
    """

    dataset: TokenDataset
    names: Sequence[str]
    members: Sequence[np.ndarray]
    max_repeats: Sequence[int | None]
    at_end: Sequence[AtEnd] | None = None
    earlier: Sequence[Grouping] = ()

    @property
    def groupings(self) -> list[Grouping]:
        """All groupings of the run; the last one holds."""
        return [*self.earlier, Grouping(self.names, self.members)]

    @property
    def sizes(self) -> np.ndarray:
        """Samples of each domain."""
        return np.array([len(members) for members in self.members], dtype=np.int64)

    @property
    def domain_of_sample(self) -> np.ndarray:
        """Number of the domain of each sample; -1 for one in none."""
        domain_n = np.full(len(self.dataset), -1, dtype=np.int64)
        for domain, members in enumerate(self.members):
            domain_n[members] = domain
        return domain_n

    @property
    def tokens(self) -> np.ndarray:
        """Tokens of all samples of each domain."""
        length_n = self.dataset.lengths
        sums = [int(length_n[members].sum(dtype=np.int64)) for members in self.members]
        return np.array(sums, dtype=np.int64)

    @property
    def mean_scored_tokens(self) -> np.ndarray:
        """Mean scored tokens of a sample, by domain; at least one, to divide by."""
        counts = self.dataset.scored_counts
        return np.array([max(1.0, float(counts[members].mean())) for members in self.members])

    @property
    def mean_lengths(self) -> np.ndarray:
        """Mean tokens of a sample, by domain."""
        length_n = self.dataset.lengths
        return np.array([length_n[members].mean() for members in self.members])

    def sampler(
        self,
        ordered: OrderedDomains,
        mixture: np.ndarray,
        batch_size: int,
        seed: int,
        unit: Unit,
    ) -> MixtureSampler:
        """What draws from these domains, in this order."""
        return MixtureSampler(
            ordered.members,
            self.dataset.lengths,
            batch_size=batch_size,
            seed=seed,
            max_repeats=self.max_repeats,
            at_end=self.at_end,
            unit=unit,
            mixture=mixture,
            orders=ordered.orders,
        )
