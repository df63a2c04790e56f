"""The data of the benchmark: domains of equally long samples, each marked with its domain.

Axes: n samples, t tokens, k domains.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Corpus:
    """Samples on disk, the domains one behind the other; token 0 is the domain's number.

    Attributes:
        path: An ``.npy`` file of int32 ``[n, t]``.
        num_domains: Number of domains, of equal size.
        samples_per_domain: Samples of each.
        mixture_k: What is asked of every loader.
    """

    path: Path
    num_domains: int
    samples_per_domain: int
    mixture_k: np.ndarray

    def tokens(self) -> np.memmap:
        """The memory-mapped samples."""
        mapped: np.memmap = np.load(self.path, mmap_mode="r")
        return mapped

    def domain_folder(self, kind: str, domain: int) -> Path:
        """Where a loader with a format of its own keeps a domain."""
        return self.path.parent / f"{kind}-{self.num_domains}" / f"{domain:04d}"

    def rows_of(self, domain: int) -> np.ndarray:
        """Samples of one domain ``[n, t]``."""
        first = domain * self.samples_per_domain
        return np.asarray(self.tokens()[first : first + self.samples_per_domain])


def written_corpus(
    folder: Path, num_domains: int, samples_per_domain: int, num_tokens: int
) -> Corpus:
    """Random tokens and a mixture drawn from a Dirichlet distribution, seeded."""
    generator = np.random.default_rng(0)
    mixture_k = generator.dirichlet(np.ones(num_domains))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rows-{num_domains}-{samples_per_domain}-{num_tokens}.npy"
    if not path.exists():
        num = num_domains * samples_per_domain
        tokens_nt = generator.integers(0, 50_000, (num, num_tokens), dtype=np.int32)
        tokens_nt[:, 0] = np.repeat(np.arange(num_domains), samples_per_domain)
        np.save(path, tokens_nt)
    corpus = Corpus(path, num_domains, samples_per_domain, mixture_k)
    corpus.tokens().sum()  # the page cache is warm for everyone
    return corpus
