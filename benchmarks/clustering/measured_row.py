"""One row in a process of its own: time, peak memory, and how tight its clusters are."""

import json
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.clustering.mixture_data import KEY
from benchmarks.clustering.rows import ROWS
from benchmarks.tightness import mean_cosine
from dids.gradients.feature_store import FeatureStore


def measured_row(name: str, folder: Path, num_clusters: int, seed: int) -> str:
    """One line of the table; the row runs in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(name, folder, num_clusters, seed, sender))
    process.start()
    sender.close()
    try:
        result = json.loads(receiver.recv())
    except EOFError:
        result = {"problem": "the process ended without a result: too little memory?"}
    process.join()
    if "problem" in result:
        return f"{name:30} {result['problem']}"
    return (
        f"{name:30} {result['elapsed_s']:8.1f} {result['cpu_s']:8.1f} {result['peak_mb']:8.0f} "
        f"{result['own_mb']:8.0f} {result['cosine']:7.4f} {result['num_clusters']}"
    )


def _run(name: str, folder: Path, num_clusters: int, seed: int, sender: Connection) -> None:
    store = FeatureStore.open(folder, KEY)
    assert store is not None
    before_mb = _peak_mb()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    try:
        cluster_n = ROWS[name](store, num_clusters, seed)
    except ImportError as error:
        sender.send(json.dumps({"problem": str(error)}))
        return
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    peak_mb = _peak_mb()
    result = {
        "elapsed_s": elapsed_s,
        "cpu_s": cpu_s,
        "peak_mb": peak_mb,
        "own_mb": peak_mb - before_mb,
    }
    result |= {"cosine": mean_cosine(store, cluster_n)}
    sender.send(json.dumps(result | {"num_clusters": len(np.unique(cluster_n))}))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
