import json
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.errors import InputError
from dids.gradients import FeatureStore


def features(rows, dim=4, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def filled_store(folder, dtype="float32"):
    store = FeatureStore.create(folder, "key", 10, 4, shard_size=4, dtype=dtype)
    whole = features(10)
    for shard in store.missing_shards():
        rows = store.shard_range(shard)
        store.write_shard(shard, whole[rows.start : rows.stop])
    return store, whole


def test_what_was_written_is_read_across_shards_in_any_order(tmp_path):
    store, whole = filled_store(tmp_path / "f")
    assert store.is_complete
    assert len(store) == 10
    np.testing.assert_array_equal(store.rows(2, 9), whole[2:9])
    np.testing.assert_array_equal(store.rows(8, 99), whole[8:])
    wanted = np.array([9, 0, 4, 4, 3])
    np.testing.assert_array_equal(store[wanted], whole[wanted])
    np.testing.assert_array_equal(np.concatenate(list(store.shards())), whole)
    assert all(isinstance(shard, np.memmap) for shard in store.shards())


def test_half_precision_is_stored_as_such_and_read_as_float32(tmp_path):
    store, whole = filled_store(tmp_path / "f", dtype="float16")
    assert next(store.shards()).dtype == np.float16
    assert store.rows(0, 10).dtype == np.float32
    np.testing.assert_allclose(store.rows(0, 10), whole, rtol=1e-3, atol=1e-6)


def test_a_reopened_store_goes_on_where_it_stopped(tmp_path):
    store = FeatureStore.create(tmp_path / "f", "key", 10, 4, shard_size=4, dtype="float32")
    store.write_shard(1, features(4))
    again = FeatureStore.open_or_create(tmp_path / "f", "key", 10, 4, shard_size=4, dtype="float32")
    assert again.missing_shards() == [0, 2]
    np.testing.assert_array_equal(again.rows(4, 8), features(4))


def test_another_key_or_shape_begins_anew(tmp_path):
    filled_store(tmp_path / "f")
    assert FeatureStore.open(tmp_path / "f", "other") is None
    assert FeatureStore.open(tmp_path / "nowhere", "key") is None
    assert FeatureStore.open(tmp_path / "f", "key").is_complete
    other = FeatureStore.open_or_create(tmp_path / "f", "other", 10, 4, shard_size=4)
    assert other.missing_shards() == [0, 1, 2]
    assert list((tmp_path / "f").glob("part-*")) == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_corrupt_shard_is_found_named_and_rebuilt(tmp_path, caplog, damage):
    _, whole = filled_store(tmp_path / "f")
    path = tmp_path / "f" / "part-00001.npy"
    octets = bytearray(path.read_bytes())
    if damage == "flip":
        octets[-3] ^= 1
        path.write_bytes(octets)
    elif damage == "truncate":
        path.write_bytes(octets[:-5])
    else:
        path.unlink()
    with caplog.at_level(logging.WARNING):
        store = FeatureStore.open(tmp_path / "f", "key")
    assert store.missing_shards() == [1]
    assert "part-00001.npy" in caplog.text
    with pytest.raises(KeyError):
        store.rows(4, 5)
    store.write_shard(1, whole[4:8])
    np.testing.assert_array_equal(FeatureStore.open(tmp_path / "f", "key").rows(0, 10), whole)


def test_a_shard_whose_checksum_was_not_yet_written_is_missing(tmp_path):
    filled_store(tmp_path / "f")
    store = FeatureStore.open(tmp_path / "f", "key")
    del store._checksums["2"]
    store._write_manifest()
    assert FeatureStore.open(tmp_path / "f", "key").missing_shards() == [2]


@pytest.mark.parametrize("damage", ["half", "empty", "list", "flip", "no checksums"])
def test_a_damaged_manifest_is_found_named_and_rebuilt(tmp_path, caplog, damage):
    filled_store(tmp_path / "f")
    path = tmp_path / "f" / "manifest.json"
    content = path.read_text()
    other = {
        "half": content[: len(content) // 2],
        "empty": "",
        "list": "[]",
        "flip": content.replace('"num_samples": 10', '"num_samples": 11'),
        "no checksums": json.dumps({**json.loads(content), "checksums": {}}),
    }[damage]
    assert other != content
    path.write_text(other)
    with caplog.at_level(logging.WARNING):
        store = FeatureStore.open_or_create(
            tmp_path / "f", "key", 10, 4, shard_size=4, dtype="float32"
        )
    assert "manifest.json is damaged" in caplog.text
    assert store.missing_shards() == [0, 1, 2]
    assert FeatureStore.open(tmp_path / "f", "key") is not None


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found_and_never_read_as_a_feature(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("flip")
    _, whole = filled_store(folder)
    files = sorted(folder.iterdir())
    sizes = np.cumsum([file.stat().st_size for file in files])
    place %= sizes[-1]
    number = int(np.searchsorted(sizes, place, side="right"))
    octets = bytearray(files[number].read_bytes())
    octets[place - sizes[number]] ^= 1 << bit
    files[number].write_bytes(octets)
    store = FeatureStore.open_or_create(folder, "key", 10, 4, shard_size=4, dtype="float32")
    if files[number].name == "manifest.json":
        assert store.missing_shards() == [0, 1, 2]
    else:
        assert store.missing_shards() == [number - 1]
    for shard in set(range(3)) - set(store.missing_shards()):
        rows = store.shard_range(shard)
        np.testing.assert_array_equal(
            store.rows(rows.start, rows.stop), whole[rows.start : rows.stop]
        )


def written_until_killed(folder, calls):
    """Fill a store in a process that dies, with no clean-up, in one of its calls to the disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        process = os.fork()
    if process == 0:
        left = [calls]

        def dying(call):
            def counted(*arguments, **keywords):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return call(*arguments, **keywords)

            return counted

        np.save, os.fsync = dying(np.save), dying(os.fsync)
        Path.replace = dying(Path.replace)
        store = FeatureStore.open_or_create(folder, "key", 10, 4, shard_size=4, dtype="float32")
        for shard in store.missing_shards():
            rows = store.shard_range(shard)
            store.write_shard(shard, features(10)[rows.start : rows.stop])
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_store_killed_at_any_call_goes_on_where_it_stopped(tmp_path):
    codes, done_before = [], 0
    for calls in range(40):
        folder = tmp_path / f"{calls}"
        codes.append(written_until_killed(folder, calls))
        store = FeatureStore.open_or_create(folder, "key", 10, 4, shard_size=4, dtype="float32")
        done = 3 - len(store.missing_shards())
        assert done >= done_before  # what was done is not done again
        done_before = done
        for shard in store.missing_shards():
            rows = store.shard_range(shard)
            store.write_shard(shard, features(10)[rows.start : rows.stop])
        np.testing.assert_array_equal(store.rows(0, 10), features(10))
        assert FeatureStore.open(folder, "key").is_complete
        names = {path.name for path in folder.iterdir()}
        assert names == {"manifest.json", *(f"part-0000{shard}.npy" for shard in range(3))}
        if codes[-1] == 0:
            break
    assert codes[-1] == 0
    assert codes[:-1] == [9] * (len(codes) - 1)
    # Two calls for the empty manifest, then save, sync, rename, sync, rename for each shard.
    assert len(codes) - 1 == 2 + 3 * 5


def test_features_that_are_no_numbers_name_their_sample(tmp_path):
    store = FeatureStore.create(tmp_path / "f", "key", 10, 4, shard_size=4)
    shard = features(4)
    shard[2, 1] = np.nan
    with pytest.raises(InputError, match="sample 6 "):
        store.write_shard(1, shard)
    shard[2, 1] = 1e6  # too large for float16
    with pytest.raises(InputError, match="float32"):
        store.write_shard(1, shard)
    with pytest.raises(ValueError, match="must be"):
        store.write_shard(0, features(3))
    assert list((tmp_path / "f").glob("*.tmp")) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    store = FeatureStore.create(tmp_path / "f", "key", 10, 4, shard_size=4)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(InputError, match="disk is full"):
        store.write_shard(0, features(4))
    assert store.missing_shards() == [0, 1, 2]
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == ["manifest.json"]
