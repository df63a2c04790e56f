import numpy as np
import pytest

from dids.domains import cluster_features
from dids.domains import stability as stability_file
from dids.domains.agreement import adjusted_rand_index
from dids.domains.clustering import clusters
from dids.domains.stability import seed_stability


def mixture(sizes, noise, seed=0, dim=16):
    """Samples around one random direction each."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(len(sizes), dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    label = np.repeat(np.arange(len(sizes)), sizes)
    noise = noise * generator.normal(size=(len(label), dim)) / np.sqrt(dim)
    return (centres[label] + noise).astype(np.float32)


def stability_of(feature, source, number, within, **more):
    num_sources = int(source.max()) + 1
    names = [f"s{n}" for n in range(num_sources)]
    domains = cluster_features(
        feature, source, number, within, 0, source_names=names, min_samples=5
    )
    return domains, seed_stability(
        domains, feature, source, number, within, 0, num_sources=num_sources, min_samples=5, **more
    )


def test_clear_clusters_are_found_by_every_seed_and_noise_is_not():
    source = np.zeros(300, dtype=np.int32)
    _, clear = stability_of(mixture([100, 120, 80], noise=0.3), source, 3, "all")
    assert clear.adjusted_rand == pytest.approx(1.0)
    assert clear.mutual_information == pytest.approx(1.0)
    assert clear.num_samples == 300
    noise = np.random.default_rng(1).normal(size=(300, 64)).astype(np.float32)
    _, unclear = stability_of(noise, source, 8, "all")
    assert unclear.adjusted_rand < 0.3


def test_borders_of_sources_are_not_counted_as_agreement():
    # Source 0 is left whole and source 1 is noise: by all samples they would agree well.
    noise = np.random.default_rng(0).normal(size=(400, 64)).astype(np.float32)
    source = np.repeat([0, 1], [40, 360]).astype(np.int32)
    domains, stability = stability_of(noise, source, 4, "source")
    assert stability.num_samples == 360
    second = clusters(noise, source, 4, "source", 1, num_sources=2, min_samples=5)
    inside = adjusted_rand_index(domains.domain_of_sample[source == 1], second[source == 1])
    assert stability.adjusted_rand == pytest.approx(inside)
    assert inside < adjusted_rand_index(domains.domain_of_sample, second)


def test_divided_sources_are_weighted_by_their_samples():
    noise = np.random.default_rng(2).normal(size=(500, 32)).astype(np.float32)
    source = np.repeat([0, 1], [100, 400]).astype(np.int32)
    domains, stability = stability_of(noise, source, 6, "source")
    second = clusters(noise, source, 6, "source", 1, num_sources=2, min_samples=5)
    inside = [
        adjusted_rand_index(domains.domain_of_sample[source == s], second[source == s])
        for s in range(2)
    ]
    assert stability.adjusted_rand == pytest.approx(0.2 * inside[0] + 0.8 * inside[1])


def test_nothing_divided_has_no_stability():
    feature = mixture([30, 30], noise=0.1)
    source = np.repeat([0, 1], 30).astype(np.int32)
    assert stability_of(feature, source, 2, "source")[1] is None


def test_of_many_samples_a_seeded_draw_is_compared(monkeypatch):
    monkeypatch.setattr(stability_file, "MAX_COMPARED", 90)
    done = []
    source = np.zeros(300, dtype=np.int32)
    feature = mixture([100, 120, 80], noise=0.3)
    domains, stability = stability_of(feature, source, 3, "all", progress=done.append)
    assert stability.num_samples == sum(done) == 90
    assert stability.adjusted_rand == pytest.approx(1.0)
    again = seed_stability(domains, feature, source, 3, "all", 0, num_sources=1, min_samples=5)
    assert again == stability
