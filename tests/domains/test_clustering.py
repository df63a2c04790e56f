from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.domains import Domains, cluster_features
from dids.domains.agreement import Agreement
from dids.errors import InputError


def blobs(sizes, dim=16, noise=0.2, seed=0):
    """Samples around one random direction each, at very different lengths."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(len(sizes), dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    label = np.repeat(np.arange(len(sizes)), sizes)
    feature = centres[label] + noise * generator.normal(size=(len(label), dim)) / np.sqrt(dim)
    feature *= generator.lognormal(0, 2, size=(len(label), 1))
    return feature.astype(np.float32), label


def names_of(count):
    return [f"source{n}" for n in range(count)]


def assert_consistent(domains, source_n, num_sources):
    num_domains = len(domains.names)
    assert len(set(domains.names)) == num_domains
    assert domains.domain_of_sample.shape == source_n.shape
    assert set(np.unique(domains.domain_of_sample)) == set(range(num_domains))
    for domain in range(num_domains):
        here = domains.domain_of_sample == domain
        expected = np.bincount(source_n[here], minlength=num_sources)
        np.testing.assert_array_equal(domains.source_counts_ks[domain], expected)
        assert here[domains.central_samples[domain]].all()
        np.testing.assert_array_equal(domains.samples()[domain], np.flatnonzero(here))


def test_directions_are_found_whatever_their_length():
    feature, label = blobs([60, 30, 20])
    domains = cluster_features(
        feature, np.zeros(110, dtype=np.int32), 3, "all", 0, source_names=["a"]
    )
    for domain, blob in enumerate([0, 1, 2]):  # by size
        assert set(label[domains.domain_of_sample == domain]) == {blob}
    assert domains.names == ["a/0", "a/1", "a/2"]
    assert min(domains.cosines) > 0.9
    assert_consistent(domains, np.zeros(110, dtype=int), 1)


def test_centres_and_cosines_equal_their_definition():
    feature, _ = blobs([20, 15], noise=1.0)
    domains = cluster_features(
        feature, np.zeros(35, dtype=np.int32), 2, "all", 0, source_names=["a"]
    )
    direction = feature.astype(np.float64)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    for domain in range(2):
        own = np.flatnonzero(domains.domain_of_sample == domain)
        centre = direction[own].mean(0)
        centre /= np.linalg.norm(centre)
        np.testing.assert_allclose(domains.centroid_kd[domain], centre, atol=1e-6)
        cosine = direction[own] @ centre
        assert domains.cosines[domain] == pytest.approx(cosine.mean(), abs=1e-5)
        assert domains.central_samples[domain] == own[np.argsort(-cosine)[:5]].tolist()


def test_domains_stay_within_their_source():
    feature, _ = blobs([40, 40, 40])
    source = np.tile([0, 1], 60).astype(np.int32)
    domains = cluster_features(feature, source, 6, "source", 1, source_names=names_of(2))
    assert ((domains.source_counts_ks > 0).sum(1) == 1).all()
    assert domains.names == [f"source{s}/{n}" for s in range(2) for n in range(3)]
    assert_consistent(domains, source, 2)


def test_domains_over_all_are_named_by_their_mix():
    feature, label = blobs([40, 30])
    source = np.array([0, 1] * 20 + [2] * 30, dtype=np.int32)
    domains = cluster_features(feature, source, 2, "all", 0, source_names=["code", "prose", "junk"])
    assert domains.names == ["code+prose", "junk"]
    np.testing.assert_array_equal(domains.domain_of_sample, label)


def test_sources_are_kept_with_and_without_features():
    source = np.array([0, 0, 1, 2, 2, 2], dtype=np.int32)
    names = ["a", "b", "c"]
    bare = cluster_features(None, source, "sources", "source", 0, source_names=names)
    assert bare.names == names
    np.testing.assert_array_equal(bare.domain_of_sample, source)
    assert bare.central_samples == [[0, 1], [2], [3, 4, 5]]
    full = cluster_features(blobs([6])[0], source, "sources", "source", 0, source_names=names)
    assert full.centroid_kd.shape == (3, 16)
    with pytest.raises(InputError, match="needs features"):
        cluster_features(None, source, 3, "source", 0, source_names=names)


def test_auto_finds_about_as_many_domains_as_there_are():
    feature, _ = blobs([100, 100, 100, 100])
    source = np.zeros(400, dtype=np.int32)
    domains = cluster_features(
        feature, source, "auto", "all", 0, source_names=["a"], min_samples=10
    )
    assert len(domains) == 4
    one = cluster_features(
        blobs([400])[0], source, "auto", "source", 0, source_names=["a"], min_samples=10
    )
    assert one.names == ["a"]


def test_small_domains_join_the_nearest_of_their_source():
    feature, _ = blobs([50, 3, 40, 2])
    source = np.repeat([0, 1], [53, 42]).astype(np.int32)
    domains = cluster_features(
        feature, source, 4, "source", 0, source_names=names_of(2), min_samples=10
    )
    assert domains.size_k.min() >= 10
    assert ((domains.source_counts_ks > 0).sum(1) == 1).all()
    lonely = cluster_features(
        feature, source, 2, "source", 0, source_names=names_of(2), min_samples=1000
    )
    assert lonely.names == names_of(2)


def test_samples_without_a_direction_are_kept():
    # Nothing scored: a zero feature. The released code's k-means failed on such sources.
    feature, _ = blobs([10, 10])
    feature[[0, 4, 15]] = 0
    source = np.zeros(20, dtype=np.int32)
    domains = cluster_features(feature, source, 2, "source", 0, source_names=["a"])
    assert_consistent(domains, source, 1)
    nothing = cluster_features(
        np.zeros((5, 3), dtype=np.float32), source[:5], 2, "source", 0, source_names=["a"]
    )
    assert nothing.names == ["a"]


def test_impossible_numbers_of_domains_are_told():
    feature, _ = blobs([3, 3])
    source = np.repeat([0, 1], 3).astype(np.int32)
    for number, within, rule in ((7, "all", "6 samples"), (7, "source", "6 samples")):
        with pytest.raises(InputError, match=rule):
            cluster_features(feature, source, number, within, 0, source_names=names_of(2))
    with pytest.raises(InputError, match="at least 2"):
        cluster_features(feature, source, 1, "source", 0, source_names=names_of(2))


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(lambda s: sum(s) > 0),
    extra=st.integers(0, 12),
    within=st.sampled_from(["source", "all"]),
    min_samples=st.integers(0, 6),
    seed=st.integers(0, 5),
)
def test_every_sample_has_one_domain(sizes, extra, within, min_samples, seed):
    source = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    feature = np.random.default_rng(seed).normal(size=(len(source), 4)).astype(np.float32)
    number = min(sum(size > 0 for size in sizes) + extra, len(source))
    domains = cluster_features(
        feature,
        source,
        number,
        within,
        seed,
        source_names=names_of(len(sizes)),
        min_samples=min_samples,
    )
    assert_consistent(domains, source, len(sizes))
    assert len(domains) <= number


def test_the_same_seed_gives_the_same_domains_and_progress_counts_samples():
    feature, _ = blobs([300, 200, 100], noise=2.0)
    source = np.zeros(600, dtype=np.int32)
    done = []
    runs = [
        cluster_features(feature, source, 5, "all", 3, source_names=["a"], progress=done.append)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0].domain_of_sample, runs[1].domain_of_sample)
    assert sum(done) == 1200


def test_domains_come_back_from_disk_as_they_were(tmp_path):
    feature, _ = blobs([20, 10])
    source = np.zeros(30, dtype=np.int32)
    domains = cluster_features(feature, source, 2, "all", 0, source_names=["ä"])
    domains = replace(domains, stability=Agreement(0.5, 0.75, 30))
    domains.save(tmp_path / "domains")
    domains.save(tmp_path / "domains")
    again = Domains.load(tmp_path / "domains")
    assert again.names == domains.names
    assert again.central_samples == domains.central_samples
    assert again.cosines == domains.cosines
    assert again.stability == domains.stability
    np.testing.assert_array_equal(again.domain_of_sample, domains.domain_of_sample)
    np.testing.assert_array_equal(again.centroid_kd, domains.centroid_kd)
    np.testing.assert_array_equal(again.source_counts_ks, domains.source_counts_ks)
    assert again.domain_of_sample.dtype == np.int32


@pytest.mark.parametrize("name", ["domains.json", "centroids.npy"])
def test_damaged_domains_are_told(tmp_path, name):
    feature, _ = blobs([20])
    source = np.zeros(20, dtype=np.int32)
    cluster_features(feature, source, 2, "all", 0, source_names=["a"]).save(tmp_path / "d")
    (tmp_path / "d" / name).write_bytes(b"{")
    with pytest.raises(InputError, match="cannot be read"):
        Domains.load(tmp_path / "d")
