"""The tests' own checks see what is called wrongly, whether sizes are annotated or not."""

import numpy as np
import pytest
from shape_checks import SIZES_FOLLOWED, begin_test

from dids.checksum import file_checksum
from dids.data.records import Origin
from dids.mixture.prior import leaning_prior
from dids.mixture.saturation import fresh_passes


def test_sizes_that_differ_are_seen():
    assert leaning_prior(np.ones(2) / 2, np.ones(2), 1.0).shape == (2,)
    with pytest.raises(Exception, match="loss_k"):
        leaning_prior(np.ones(3) / 3, np.ones(2), 1.0)
    with pytest.raises(Exception, match="repeats_k"):
        fresh_passes(np.ones((3, 1)))


def test_a_wrong_type_is_seen_where_there_are_no_sizes():
    with pytest.raises(Exception, match="violates type hint"):
        file_checksum("a path")
    with pytest.raises(Exception, match="violates type hint"):
        Origin("a.jsonl", "2")


def test_sizes_are_followed_in_the_first_calls_of_a_test_and_in_one_of_many_after_them():
    def is_seen():
        try:
            fresh_passes(np.ones((3, 1)))
        except Exception as error:  # jaxtyping's own
            return "repeats_k" in str(error)
        return False

    for _ in range(2):
        begin_test()
        assert [is_seen() for _ in range(SIZES_FOLLOWED)] == [True] * SIZES_FOLLOWED
        after = [is_seen() for _ in range(3 * SIZES_FOLLOWED)]
        assert sum(after) == 3
