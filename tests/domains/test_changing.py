"""Splits, merges and sources that join change what they name and nothing else."""

import numpy as np
import pytest

from dids.domains.changing import merged_domains, split_domain, with_new_source
from dids.domains.clustering import cluster_features
from dids.domains.domains import Domains
from dids.domains.regrouping import Regrouping
from dids.errors import InputError

# Two sources; the first has two directions, the second one.
SOURCE_N = np.array([0] * 30 + [1] * 20)
TRUE_N = np.array([0] * 18 + [1] * 12 + [2] * 20)
FEATURES = (np.eye(3)[TRUE_N] + 0.1 * np.random.default_rng(0).normal(size=(50, 3))).astype(
    np.float32
)


@pytest.fixture
def domains():
    return cluster_features(FEATURES, SOURCE_N, "sources", source_names=["web", "code"])


def test_a_split_finds_the_parts_and_leaves_the_rest(domains, tmp_path):
    after = split_domain(domains, "web", 2, SOURCE_N, FEATURES, FEATURES, 0)
    assert after.names == ["web/0", "web/1", "code"]
    np.testing.assert_array_equal(after.domain_of_sample, TRUE_N)
    np.testing.assert_array_equal(after.source_counts_ks, [[18, 0], [12, 0], [0, 20]])
    np.testing.assert_array_equal(after.centroid_kd[2], domains.centroid_kd[1])
    assert after.central_samples[2] == domains.central_samples[1]
    mean_d = (FEATURES[:18] / np.linalg.norm(FEATURES[:18], axis=1, keepdims=True)).mean(0)
    np.testing.assert_allclose(after.centroid_kd[0], mean_d / np.linalg.norm(mean_d), rtol=1e-5)
    assert set(after.central_samples[1]) <= set(range(18, 30))
    after.save(tmp_path / "domains")
    assert Domains.load(tmp_path / "domains").names == after.names


def test_merging_the_parts_gives_back_the_whole(domains):
    parts = split_domain(domains, "web", 2, SOURCE_N, FEATURES, FEATURES, 0)
    whole = merged_domains(parts, "web", ["web/1", "web/0"], SOURCE_N, FEATURES)
    assert whole.names == domains.names
    np.testing.assert_array_equal(whole.domain_of_sample, domains.domain_of_sample)
    np.testing.assert_allclose(whole.centroid_kd, domains.centroid_kd, rtol=1e-5)
    assert whole.central_samples == domains.central_samples


def test_a_domain_without_features_is_split_by_its_text(domains):
    unknown = FEATURES * (SOURCE_N == 1)[:, None]
    after = split_domain(domains, "web", 2, SOURCE_N, unknown, FEATURES, 0)
    np.testing.assert_array_equal(after.domain_of_sample, TRUE_N)


def test_a_source_that_joins_is_the_last_domain(domains):
    after = with_new_source(domains, "poems", 7)
    assert after.names == ["web", "code", "poems"]
    assert after.size_k.tolist() == [30, 20, 7]
    np.testing.assert_array_equal(after.source_counts_ks, [[30, 0, 0], [0, 20, 0], [0, 0, 7]])
    assert after.central_samples[2] == [50, 51, 52, 53, 54]
    np.testing.assert_array_equal(after.centroid_kd[:2], domains.centroid_kd)


def test_alike_samples_are_not_divided_and_the_sentence_says_so(domains):
    alike = np.ones_like(FEATURES)
    with pytest.raises(InputError, match=r"--split web=3: .*different parts only"):
        split_domain(domains, "web", 3, SOURCE_N, alike, alike, 0)


def test_what_became_of_what_is_told_by_name():
    before = np.array([0, 0, 1, 2, 3, 4])
    now = np.array([0, 1, 2, 2, 3, 4, 5])
    found = Regrouping.between(
        before, now, np.ones(7, dtype=int),
        ["a", "b", "c", "d", "e"], ["a/0", "a/1", "bc", "d", "other", "new"],
    )  # fmt: skip
    assert found.changes() == [
        {"from": ["a"], "into": ["a/0", "a/1"]},
        {"from": ["b", "c"], "into": ["bc"]},
        {"from": ["e"], "into": ["other"]},
        {"from": [], "into": ["new"]},
    ]
    assert found.is_untouched_k.tolist() == [False, False, False, True, True, False]
