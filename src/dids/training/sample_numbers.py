"""The number of every sample that training draws from a domain, the same on any number of ranks.

What is measured from training steps looks at some of a domain's samples and not at others (every
other one, the first few). A rank sees its own batches alone, but the sampler's plan tells it whose
turn the others' are.

Axes: k domains, b samples of one step over all ranks, m samples of a batch.
"""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from dids.ranks import num_ranks, rank
from dids.sampling.batch_sampler import in_batches
from dids.sampling.sampler import MixtureSampler


class SampleNumbers:
    """Counts the scored samples of every domain since ``clear``.

    Args:
        sampler: Plans the steps.
        domain_of_sample: Number of the domain of each sample.
        is_scored: Whether each sample has a scored token; others have no number of their own.
    """

    def __init__(
        self, sampler: MixtureSampler, domain_of_sample: np.ndarray, is_scored: np.ndarray
    ) -> None:
        self._sampler = sampler
        self._domain_n = domain_of_sample
        self._is_scored_n = is_scored
        self.before_k = torch.zeros(sampler.num_domains, dtype=torch.int64)
        """Samples of the steps begun before the present one."""
        self._id_b = np.zeros(0, dtype=np.int64)
        self._nth_b = np.zeros(0, dtype=np.int64)
        self._num_batches = 0

    def begin_step(self, step: int) -> None:
        """Number the samples of a step, whose batches come next."""
        self._id_b = in_batches(self._sampler, self._sampler.plan(step))
        self._num_batches = 0
        domain_b, is_scored_b = self._domain_n[self._id_b], self._is_scored_n[self._id_b]
        self._nth_b = np.zeros(len(domain_b), dtype=np.int64)
        for domain in np.unique(domain_b):
            is_own_b = domain_b == domain
            counted_b = np.cumsum(is_scored_b[is_own_b])
            self._nth_b[is_own_b] = int(self.before_k[domain]) + counted_b - is_scored_b[is_own_b]
            self.before_k[domain] += int(counted_b[-1])

    def planned(self, num_rows: int) -> Int64[np.ndarray, " m"]:
        """Samples of this rank's next batch of the step, by the sampler's plan."""
        start = (self._num_batches * num_ranks() + (rank() or 0)) * num_rows
        return self._id_b[start : start + num_rows]

    def of_batch(self, id_m: np.ndarray) -> Int64[Tensor, " m"]:
        """Numbers of the samples of this rank's next batch of the step.

        Raises:
            ValueError: If these are not the samples that the sampler deals to this rank.
        """
        start = (self._num_batches * num_ranks() + (rank() or 0)) * len(id_m)
        own = slice(start, start + len(id_m))
        if not np.array_equal(self.planned(len(id_m)), id_m):
            raise ValueError("a batch does not have the samples that the sampler planned for it.")
        self._num_batches += 1
        return torch.from_numpy(self._nth_b[own])

    def clear(self) -> None:
        """Count anew."""
        self.before_k.zero_()
