import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.domains.feature_source import SparseFeatures
from dids.domains.needed_features import needed_features, needed_shares
from dids.domains.stratified_draw import MIN_DRAWN, stratified_draw


def kinds(sizes, dim=32, seed=0):
    """Vectors of clearly different kinds of text."""
    generator = np.random.default_rng(seed)
    centre = generator.normal(size=(len(sizes), dim))
    label = np.repeat(np.arange(len(sizes)), sizes)
    noise = 0.02 * generator.normal(size=(len(label), dim))
    return (centre[label] + noise).astype(np.float32), label


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_every_kind_of_text_gives_its_share_and_at_least_some(share):
    # 1,920 samples are 15 cheap clusters; the smallest kind is 0.3 % of all.
    sizes = [1000, 600, 200, 100, 14, 6]
    vectors, label = kinds(sizes)
    drawn = stratified_draw(vectors, np.arange(len(label)), share, 0)
    assert len(set(drawn)) == len(drawn)
    count = np.bincount(label[drawn], minlength=len(sizes))
    for size, got in zip(sizes, count, strict=True):
        assert got >= min(size, MIN_DRAWN, size * share) and got >= np.floor(share * size)
        assert got <= np.ceil(share * size) + MIN_DRAWN * 15
    np.testing.assert_array_equal(drawn, stratified_draw(vectors, np.arange(len(label)), share, 0))
    other = stratified_draw(vectors, np.arange(len(label)), share, 1)
    assert share == 1.0 or not np.array_equal(drawn, other)


def test_only_the_samples_asked_about_are_drawn():
    vectors, _ = kinds([300, 300])
    samples = np.arange(100, 500, 3)
    drawn = stratified_draw(vectors, samples, 0.3, 0)
    assert set(drawn) <= set(samples)
    np.testing.assert_array_equal(drawn, np.sort(drawn))


def test_all_samples_are_needed_unless_a_share_or_whole_sources_say_otherwise():
    source = np.repeat([0, 1], [1000, 3000])
    assert needed_features(source, 2, "auto", "source", 0) is None
    assert needed_features(source, 2, 8, "all", 0) is None
    whole = needed_features(source, 2, 3, "source", 0)  # source 0 stays one domain
    assert (whole < 1000).sum() == 256
    assert (whole >= 1000).sum() == 3000


@pytest.mark.parametrize("within", ["source", "all"])
@pytest.mark.parametrize("number", [9, "auto"])
def test_what_is_planned_is_what_is_drawn_up_to_rounding(within, number):
    sizes = [150, 1000, 3000]
    source = np.repeat(np.arange(3), sizes)
    vectors, _ = kinds([1500, 1500, 1150])
    needed = needed_features(source, 3, number, within, 0, share=0.3, vectors=vectors)
    shares = needed_shares(sizes, number, within, 0.3)
    groups = sizes if within == "source" else [sum(sizes)]
    planned = sum(share * size for share, size in zip(shares, groups, strict=True))
    # Rounded up in at most 1 + 7 + 23 cheap clusters, each of at least four samples.
    assert planned - 1 <= len(needed) <= planned + 31 * MIN_DRAWN
    np.testing.assert_array_equal(needed, np.unique(needed))


@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=5).filter(lambda s: sum(s) > 0),
    number=st.one_of(st.just("auto"), st.integers(1, 40)),
    within=st.sampled_from(["source", "all"]),
    share=st.floats(0.01, 1.0),
)
def test_a_smaller_share_never_needs_more_and_no_group_goes_without(sizes, number, within, share):
    shares = needed_shares(sizes, number, within, share)
    assert len(shares) == (len(sizes) if within == "source" else 1)
    assert all(0 < each <= 1 for each in shares)
    less = needed_shares(sizes, number, within, share / 2)
    assert all(small <= large for small, large in zip(less, shares, strict=True))


@given(st.sets(st.integers(0, 30), min_size=1), st.lists(st.integers(0, 30), max_size=12))
def test_sparse_features_are_those_of_the_samples_that_have_one(known, wanted):
    samples = np.array(sorted(known))
    stored = np.random.default_rng(0).normal(size=(len(samples), 3)).astype(np.float32)
    whole = np.zeros((31, 3), dtype=np.float32)
    whole[samples] = stored
    sparse = SparseFeatures(stored, samples, 31)
    assert len(sparse) == 31
    wanted = np.array(wanted, dtype=np.int64)
    np.testing.assert_array_equal(sparse[wanted], whole[wanted])
