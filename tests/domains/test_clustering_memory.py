"""Clustering keeps a few shards in memory, however many there are."""

import subprocess
import sys

import numpy as np

from dids.gradients import FeatureStore

SHARDS, ROWS, DIM = 64, 1024, 512
READ_AND_MEASURE = """
import resource, sys
from pathlib import Path
import numpy as np
from dids.domains.clustering import cluster_features
from dids.gradients import FeatureStore

class FirstSamples:
    def __init__(self, store, number):
        self.store, self.number = store, number
    def __len__(self):
        return self.number
    def __getitem__(self, samples):
        return self.store[samples]

store = FeatureStore.open(Path(sys.argv[1]), "key")
for number in (len(store) // 8, len(store)):
    source_n = np.zeros(number, dtype=np.int32)
    cluster_features(FirstSamples(store, number), source_n, 4, "all", source_names=["all"])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_is_flat_in_the_number_of_features(tmp_path):
    store = FeatureStore.create(tmp_path, "key", SHARDS * ROWS, DIM, shard_size=ROWS)
    generator = np.random.default_rng(0)
    shard = generator.standard_normal((ROWS, DIM)).astype(np.float32)
    for number in store.missing_shards():
        store.write_shard(number, shard + number % 4)
    measured = subprocess.run(
        [sys.executable, "-c", READ_AND_MEASURE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    few_mb, all_mb = map(float, measured.stdout.split())
    stored_mb = SHARDS * ROWS * DIM * 2 / 2**20
    assert stored_mb == 64
    # Seven eighths of the store came into the process on the way and were let go.
    assert all_mb - few_mb < stored_mb / 4


def test_shards_are_let_go_and_read_again(tmp_path):
    store = FeatureStore.create(tmp_path, "key", 200, 4, shard_size=4, dtype="float32")
    whole = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    for number in store.missing_shards():
        rows = store.shard_range(number)
        store.write_shard(number, whole[rows.start : rows.stop])
    shards = list(store.shards())
    for samples in (np.arange(200), np.arange(199, -1, -1), np.array([3, 150, 4, 151, 3])):
        np.testing.assert_array_equal(store[samples], whole[samples])
    np.testing.assert_array_equal(np.concatenate(shards), whole)
    assert len(store._maps) < len(shards) / 2
