import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dids.domains.cluster_counts import shared_counts
from dids.domains.merging import merged_into


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(0, 80))
def test_every_source_gets_its_share_and_no_more_than_its_samples(sizes, extra):
    size = np.array(sizes)
    number = min(int((size > 0).sum()) + extra, int(size.sum()))
    count = shared_counts(size, number)
    assert count.sum() == number
    assert (count <= size).all()
    assert (count[size > 0] >= 1).all()
    order = np.argsort(size)
    assert (np.diff(count[order]) >= -1).all()  # larger sources never get clearly less


def test_shares_follow_the_square_root_of_samples():
    count = shared_counts(np.array([100, 10_000]), 112)
    np.testing.assert_array_equal(count - 1, [10, 100])


def test_merging_starts_with_the_smallest_and_counts_what_joined():
    # 2 joins 1, which is then large enough; 3 of another group has nobody to join.
    centroid = np.array([[1.0, 0.0], [0.0, 1.0], [0.1, 0.99], [0.0, 1.0]])
    target = merged_into(centroid, np.array([9, 3, 2, 1]), np.array([0, 0, 0, 1]), 5)
    assert target.tolist() == [0, 1, 1, 3]
