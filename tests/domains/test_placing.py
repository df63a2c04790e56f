import numpy as np
import pytest

from dids.domains import cluster_features
from dids.domains.agreement import adjusted_rand_index
from dids.domains.placing import RIDGE, placed_clusters


def unit(matrix):
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def worlds(num=600, seed=0, noise=0.3):
    """Texts of four kinds; the gradient is a linear function of the text, with noise."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 4, num)
    vectors = unit(generator.normal(size=(4, 24))[label] + noise * generator.normal(size=(num, 24)))
    features = unit(vectors @ generator.normal(size=(24, 16)) + 0.1)
    return vectors, features, label


def test_placing_equals_ridge_regression_on_cosines():
    vectors, features, label = worlds(noise=1.0)
    known, rest = np.arange(0, 600, 3), np.arange(1, 600, 3)
    centres = unit(np.stack([features[known][label[known] == k].mean(0) for k in range(4)]))
    design = np.hstack([vectors, np.ones((600, 1))]).astype(np.float64)
    target = features[known].astype(np.float64) @ centres.T
    gram = design[known].T @ design[known]
    ridge = RIDGE * np.trace(gram[:-1, :-1]) / 24
    weight = np.linalg.inv(gram + ridge * np.eye(25)) @ design[known].T @ target
    placed = placed_clusters(vectors, features, known, centres, rest)
    np.testing.assert_array_equal(placed, (design[rest] @ weight).argmax(1))
    assert len(set(placed)) > 1


def test_one_centre_and_nobody_to_place_are_no_special_case():
    vectors, features, _ = worlds()
    known = np.arange(10)
    assert placed_clusters(vectors, features, known, features[:1], np.arange(5)).tolist() == [0] * 5
    assert len(placed_clusters(vectors, features, known, features[:3], np.arange(0))) == 0


@pytest.mark.parametrize("within", ["all", "source"])
@pytest.mark.parametrize("number", [4, "auto"])
def test_a_share_of_the_features_gives_the_domains_that_all_give(within, number):
    vectors, features, label = worlds()
    source = np.zeros(600, dtype=np.int32)
    some = features.copy()
    some[np.random.default_rng(1).random(600) > 0.3] = 0
    done = []
    domains = cluster_features(
        some, source, number, within, 0, source_names=["a"], min_samples=20, vectors=vectors,
        progress=done.append,
    )  # fmt: skip
    assert adjusted_rand_index(domains.domain_of_sample, label) > 0.95
    assert sum(done) == 600
    # Without vectors they all go to the largest one.
    blind = cluster_features(some, source, 4, within, 0, source_names=["a"], min_samples=20)
    assert adjusted_rand_index(blind.domain_of_sample, label) < 0.5


def test_a_source_without_any_feature_stays_whole():
    vectors, features, _ = worlds(num=60)
    source = np.repeat([0, 1], 30).astype(np.int32)
    some = np.where(source[:, None] == 0, features, 0).astype(np.float32)
    domains = cluster_features(
        some, source, 4, "source", 0, source_names=["a", "b"], vectors=vectors
    )
    assert (domains.source_counts_ks[:, 1] > 0).sum() == 1
