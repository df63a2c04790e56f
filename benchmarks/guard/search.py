"""The search for pairs alone, over drawn sketches: ``python -m benchmarks.guard.search 10000000``.

What the whole check needs for reading and hashing is left out, so that the search can be looked at
for numbers of records that take long to read.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from dids.check.duplicates import find_duplicates
from dids.check.sketches import ARRAY_TYPES, SIGNATURE_BYTES, Sketches
from dids.data.array_file import ArrayWriter

_AT_ONCE = 1 << 16
_REPEATED = 0.04
"""Share of the records that repeat one of the block before, exactly; as many repeat one nearly."""
_CHANGED_BYTES = 12
"""Of a near-duplicate's signature: similarity 0.91."""


def main() -> None:
    """Draw, search, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="+")
    print("| records | s | CPU s | peak memory, MB | equal, nearly found | planted, each |")
    print("|---|---|---|---|---|---|")
    for num_records in parser.parse_args().records:
        with tempfile.TemporaryDirectory() as folder:
            print(_row(Path(folder), num_records), flush=True)


def _row(folder: Path, num_records: int) -> str:
    planted = _write(folder, num_records)
    scratch = folder / "scratch"
    scratch.mkdir()
    sketches = Sketches(folder, "web", num_records, [("web.jsonl", 0)])
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    found = {some.kind: some.records for some in find_duplicates([sketches], scratch).by_source}
    seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {num_records:,} | {seconds:.0f} | {cpu_s:.0f} | {peak_mb:.0f} "
        f"| {found['exact']:,}, {found['near']:,} | {planted:,} |"
    )


def _write(folder: Path, num_records: int) -> int:
    """Sketches of so many records; how many repeat another exactly."""
    writers = {
        name: ArrayWriter(folder / f"{name}.npy", kind) for name, kind in ARRAY_TYPES.items()
    }
    generator = np.random.default_rng(0)
    before: tuple[np.ndarray, np.ndarray] | None = None
    planted = 0
    for first in range(0, num_records, _AT_ONCE):
        size = min(_AT_ONCE, num_records - first)
        wholes = generator.integers(1, 1 << 63, size, dtype=np.uint64)
        rows = generator.integers(0, 256, (size, SIGNATURE_BYTES), dtype=np.uint8)
        count = int(_REPEATED * size)
        if before is not None:
            wholes[:count], rows[:count] = before[0][-count:], before[1][-count:]
            near = before[1][-2 * count : -count].copy()
            near[:, :: SIGNATURE_BYTES // _CHANGED_BYTES][:, :_CHANGED_BYTES] += 1
            rows[count : 2 * count] = near
            planted += count
        writers["wholes"].append(wholes)
        writers["signatures"].append(rows.ravel())
        writers["lines"].append(np.arange(first + 1, first + size + 1))
        before = wholes, rows
    for writer in writers.values():
        writer.finish()
    return planted


if __name__ == "__main__":
    main()
