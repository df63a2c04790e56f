"""The command."""

import argparse
import tempfile
from pathlib import Path

import faiss

from benchmarks.clustering.measured_row import measured_row
from benchmarks.clustering.mixture_data import KEY, mixture_store
from benchmarks.clustering.rows import ROWS
from dids.gradients.feature_store import FeatureStore


def main() -> None:
    """Write the data, measure the rows, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1_000_000, help="samples")
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--domains", type=int, default=256)
    parser.add_argument("--centres", type=int, default=400, help="of the mixture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--folder", type=Path, default=None, help="kept; without one, a temporary")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "features"
        store = FeatureStore.open(folder, KEY)
        if store is None or (len(store), store.dim) != (arguments.num, arguments.dim):
            mixture_store(folder, arguments.num, arguments.dim, arguments.centres, arguments.seed)
        print(f"{arguments.num:,} x {arguments.dim} into {arguments.domains}, "
              f"{faiss.omp_get_max_threads()} thread(s)")  # fmt: skip
        print(f"{'':30} {'s':>8} {'cpu s':>8} {'peak MB':>8} {'of that':>8} {'cosine':>7} clusters")
        for name in arguments.rows:
            print(measured_row(name, folder, arguments.domains, arguments.seed), flush=True)


if __name__ == "__main__":
    main()
