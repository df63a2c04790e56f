"""The command."""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.tightness import mean_cosine
from dids.config import load_config
from dids.config.schema import Config, DomainsConfig
from dids.domains.clustering import clusters
from dids.domains.feature_source import FeatureSource, SomeSamples, SparseFeatures
from dids.domains.needed_features import needed_features
from dids.domains.ngram_vectors import NgramVectors
from dids.domains.spherical_kmeans import CHUNK
from dids.domains.stability import agreement_within
from dids.run.features import computed_features
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages
from dids.run.workspace import Workspace

_SHARES = (0.5, 0.25, 0.1)


def main() -> None:
    """Compute the features, then print a table for each way of clustering."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--run", default=None, help="run folder; without one, the config's")
    parser.add_argument("--domains", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    work = _with_features(load_config(arguments.config), arguments.run, arguments.domains)
    features, vectors = computed_features(work), _in_memory(NgramVectors(work.dataset))
    source_n, num_sources = work.dataset.source_of_sample, len(work.sources)
    print(f"{len(features):,} samples of {num_sources} sources into {arguments.domains} domains")
    print(f"sources as domains: cosine {mean_cosine(features, source_n):.4f}")
    for within in ("all", "source"):
        print(f"\nwithin {within}\n{'share':>6} {'features':>9} {'rand':>15} {'information':>15} "
              f"{'cosine':>16}")  # fmt: skip
        settings = {"num_domains": arguments.domains, "within": within}
        full: list[np.ndarray] = []
        for share in (1.0, *_SHARES):
            made, drawn = [], len(features)
            for seed in range(arguments.seeds):
                needed = needed_features(
                    source_n, num_sources, seed=seed, share=share, vectors=vectors, **settings
                )
                some: FeatureSource = features
                if needed is not None:
                    drawn = len(needed)
                    some = SparseFeatures(SomeSamples(features, needed), needed, len(features))
                made.append(
                    clusters(
                        some, source_n, seed=seed, num_sources=num_sources,
                        min_samples=work.config.domains.min_samples,
                        vectors=None if needed is None else vectors, **settings,
                    )
                )  # fmt: skip
            full = full or made
            border_n = source_n if within == "source" else np.zeros_like(source_n)
            pairs = itertools.permutations(range(len(made)), 2)
            found = [agreement_within(made[a], full[b], border_n) for a, b in pairs]
            agreements = [agreement for agreement in found if agreement is not None]
            print(f"{share:6} {drawn:9,} {_spread([a.adjusted_rand for a in agreements])} "
                  f"{_spread([a.mutual_information for a in agreements])} "
                  f"{_spread([mean_cosine(features, each) for each in made], 4)}",
                  flush=True)  # fmt: skip


def _with_features(config: Config, run: str | None, num_domains: int) -> Workspace:
    """The run, brought up to features of every sample."""
    changes = {
        "domains": DomainsConfig(number=num_domains, within="all"),
        "features": config.features.model_copy(update={"share": 1.0}),
        "run": run or config.run,
    }
    config = config.model_copy(update=changes)
    return run_stages(config, RunFolder(Path(config.run)), ConsoleProgress(), last="features")


def _in_memory(vectors: NgramVectors) -> np.ndarray:
    """The same vectors, made once: every share and seed reads them."""
    return np.concatenate([vectors[chunk] for chunk in _chunks(len(vectors))])


def _chunks(count: int) -> Iterator[np.ndarray]:
    return (np.arange(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK))


def _spread(values: Sequence[float], digits: int = 3) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}".rjust(15)


if __name__ == "__main__":
    main()
