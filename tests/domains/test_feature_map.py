"""The map keeps what lies apart apart, and its memory does not grow with the corpus."""

import numpy as np
import pytest

from dids.domains.feature_map import FeatureMap, feature_map
from dids.domains.feature_source import SparseFeatures

NUM, DIM = 400, 32


@pytest.fixture
def blobs():
    """Three groups of samples about three directions, very unequal in size."""
    rng = np.random.default_rng(0)
    domain_n = np.repeat([0, 1, 2], [340, 50, 10])
    centre_kd = np.eye(3, DIM)
    feature_nd = centre_kd[domain_n] + 0.1 * rng.normal(size=(NUM, DIM))
    order = rng.permutation(NUM)
    return feature_nd[order].astype(np.float32), domain_n[order]


def test_coordinates_are_the_leading_principal_components(blobs):
    feature_nd, domain_n = blobs
    found = feature_map(feature_nd, domain_n, seed=0, max_samples=60)
    direction_md = feature_nd[found.samples_m].astype(np.float64)
    direction_md /= np.linalg.norm(direction_md, axis=1, keepdims=True)
    centred_md = direction_md - direction_md.mean(axis=0)
    left_mm, value_m, _ = np.linalg.svd(centred_md, full_matrices=False)
    expected_m2 = left_mm[:, :2] * value_m[:2]
    np.testing.assert_allclose(np.abs(found.place_m2), np.abs(expected_m2), atol=1e-4)
    share_m = value_m**2 / (value_m**2).sum()
    np.testing.assert_allclose(found.explained, share_m[:2], atol=1e-5)


def test_domains_have_equally_many_samples_as_far_as_they_have_them(blobs):
    feature_nd, domain_n = blobs
    found = feature_map(feature_nd, domain_n, seed=0, max_samples=60)
    assert np.bincount(domain_n[found.samples_m]).tolist() == [25, 25, 10]
    assert len(np.unique(found.samples_m)) == 60


def test_groups_that_lie_apart_lie_apart_on_the_map(blobs):
    feature_nd, domain_n = blobs
    found = feature_map(feature_nd, domain_n, seed=0)
    domain_m = domain_n[found.samples_m]
    centre_k2 = np.array([found.place_m2[domain_m == k].mean(axis=0) for k in range(3)])
    away_mk = np.linalg.norm(found.place_m2[:, None] - centre_k2, axis=2)
    assert (away_mk.argmin(axis=1) == domain_m).all()


def test_samples_without_a_feature_are_left_out(blobs):
    feature_nd, domain_n = blobs
    known_m = np.arange(0, NUM, 7)
    features = SparseFeatures(feature_nd[known_m], known_m, NUM)
    found = feature_map(features, domain_n, seed=0)
    assert set(found.samples_m) == set(known_m)
    silent_nd = np.where(domain_n[:, None] == 0, 0.0, feature_nd)
    assert (domain_n[feature_map(silent_nd, domain_n, seed=0).samples_m] != 0).all()


def test_too_few_samples_make_no_map(blobs):
    feature_nd, domain_n = blobs
    assert feature_map(feature_nd[:2], domain_n[:2], seed=0) is None
    assert feature_map(np.zeros((9, 4), np.float32), np.zeros(9, int), seed=0) is None


def test_features_of_a_single_dimension_still_have_a_map():
    found = feature_map(np.array([[1.0], [-1.0], [1.0]], np.float32), np.zeros(3, int), seed=0)
    assert np.isfinite(found.place_m2).all()
    assert found.explained[0] == pytest.approx(1.0)


def test_the_map_is_the_same_again_and_survives_a_file(blobs, tmp_path):
    first, second = feature_map(*blobs, seed=3), feature_map(*blobs, seed=3)
    np.testing.assert_array_equal(first.place_m2, second.place_m2)
    first.save(tmp_path / "map.json")
    loaded = FeatureMap.load(tmp_path / "map.json")
    np.testing.assert_array_equal(loaded.samples_m, first.samples_m)
    np.testing.assert_allclose(loaded.place_m2, first.place_m2, atol=1e-4)
    assert loaded.explained == first.explained
