"""The tests' own checks see what is called wrongly, whether sizes are annotated or not."""

import numpy as np
import pytest

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
