import json
from itertools import pairwise

import numpy as np
import pytest

from dids.domains.regrouping import Regrouping
from dids.mixture.last_seen import LastSeen
from dids.mixture.loss_history import LossHistory


def test_blocks_hold_the_means_over_tokens_however_long_the_run_is():
    rng, history = np.random.default_rng(0), LossHistory()
    tokens, loss = rng.integers(0, 3, size=(1000, 2)) * 100.0, rng.uniform(1, 3, size=(1000, 2))
    loss[tokens == 0] = np.nan
    for step in range(1000):
        history.add(step + 1.0, tokens[step], loss[step])
    assert 32 <= len(history) <= 64
    state = json.loads(json.dumps(history.state_dict(), allow_nan=False))
    looks = np.array(state["looks"])
    assert looks.sum() == 1000
    edges = np.concatenate([[0], looks.cumsum()])
    for block, (first, end) in enumerate(pairwise(edges)):
        nats = np.nansum(tokens[first:end] * loss[first:end], axis=0)
        np.testing.assert_allclose(history.loss_bk()[block], nats / tokens[first:end].sum(0))
        seen = np.exp(np.log(np.arange(first + 1, end + 1)).mean())
        assert history.seen_b()[block] == pytest.approx(seen)


def test_history_goes_on_as_if_it_had_not_stopped():
    rng, alone, stopped = np.random.default_rng(1), LossHistory(), LossHistory()
    for step in range(1, 300):
        if step in (40, 133):
            resumed = LossHistory()
            resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
            stopped = resumed
        seen = (float(step), np.array([10.0, 5.0]), rng.uniform(1, 2, size=2))
        alone.add(*seen)
        stopped.add(*seen)
    np.testing.assert_array_equal(alone.loss_bk(), stopped.loss_bk())


# The first domain was split in two of 3:1, the second and third merged, one came anew.
PASSED = np.array([[0.75, 0, 0], [0.25, 0, 0], [0, 1, 1], [0, 0, 0]])
ORIGIN = np.array([[1, 0, 0], [1, 0, 0], [0, 0.4, 0.6], [0, 0, 0]])
REGROUPING = Regrouping(PASSED, ORIGIN, ("a", "b", "c"), ("a/0", "a/1", "b+c", "new"))


def test_regrouped_losses_are_means_over_the_tokens_that_came_along():
    history = LossHistory()
    history.add(1.0, np.array([100.0, 10.0, 30.0]), np.array([2.0, 4.0, 1.0]))
    history.regroup(REGROUPING)
    np.testing.assert_allclose(history.loss_bk(), [[2.0, 2.0, 1.75, np.nan]])


def test_what_was_last_seen_stands_until_it_is_seen_again():
    seen = LastSeen()
    assert seen.filled() is None
    seen.see(np.array([np.nan, np.nan, np.nan]))
    assert seen.filled() is None
    seen.see(np.array([2.0, np.nan, 4.0]))
    seen.see(np.array([np.nan, np.nan, 5.0]))
    np.testing.assert_allclose(seen.filled(), [2.0, 3.5, 5.0])
    again = LastSeen()
    again.load_state_dict(json.loads(json.dumps(seen.state_dict(), allow_nan=False)))
    again.regroup(REGROUPING)
    np.testing.assert_allclose(again.value_k, [2.0, 2.0, 5.0, np.nan])
