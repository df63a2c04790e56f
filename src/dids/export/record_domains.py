"""The domain of every record, from those of its samples.

A long text is cut into several samples, which may lie in several domains; the record goes to the
one that holds most of its tokens.

Axes: n samples of one source, r records that have a sample, p pairs of a record and a domain.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Integer


@dataclass(frozen=True, eq=False)
class RecordDomains:
    """Where the samples of one source put its records.

    Attributes:
        first_sample_r: The first sample of each record.
        domain_r: The domain that holds most of the record's tokens.
        num_divided: Records whose samples lie in several domains.
    """

    first_sample_r: Int64[np.ndarray, " r"]
    domain_r: Int64[np.ndarray, " r"]
    num_divided: int

    def counts(self, num_domains: int) -> Int64[np.ndarray, " k"]:
        """Records of each domain."""
        return np.bincount(self.domain_r, minlength=num_domains).astype(np.int64)


def record_domains(
    line_n: Integer[np.ndarray, " n"],
    file_n: Integer[np.ndarray, " n"],
    length_n: Integer[np.ndarray, " n"],
    domain_n: Integer[np.ndarray, " n"],
) -> RecordDomains:
    """Find the records that samples were cut from, and their domains.

    Args:
        line_n: Line of each sample's record in its file.
        file_n: Number of that file.
        length_n: Tokens of each sample.
        domain_n: Domain of each sample.

    Returns:
        The records in order. Where two domains hold as many tokens, the lower number has it.

    Example:
        >>> samples = np.array([1, 2, 2, 2]), np.zeros(4, int), np.array([9, 8, 8, 5])
        >>> record_domains(*samples, np.array([0, 0, 1, 1])).domain_r
        array([0, 1])
    """
    is_first_n = np.ones(len(line_n), dtype=bool)
    is_first_n[1:] = (line_n[1:] != line_n[:-1]) | (file_n[1:] != file_n[:-1])
    first_sample_r = np.flatnonzero(is_first_n)
    domain_r = domain_n[first_sample_r].astype(np.int64)
    # Most records are one sample: only the others need their tokens counted by domain.
    is_cut_r = np.diff(first_sample_r, append=len(line_n)) > 1
    record_n = np.cumsum(is_first_n) - 1
    cut_n = np.flatnonzero(is_cut_r[record_n])
    num_domains = int(domain_n.max(initial=0)) + 1
    pair_p, pair_of_cut = np.unique(
        record_n[cut_n] * num_domains + domain_n[cut_n], return_inverse=True
    )
    tokens_p = np.bincount(pair_of_cut, weights=length_n[cut_n], minlength=len(pair_p))
    record_p, domain_p = np.divmod(pair_p, num_domains)
    order_p = np.lexsort((-domain_p, tokens_p, record_p))  # the last of a record has most tokens
    domain_r[record_p[order_p]] = domain_p[order_p]
    num_divided = int((np.bincount(record_p, minlength=1) > 1).sum())
    return RecordDomains(first_sample_r, domain_r, num_divided)
