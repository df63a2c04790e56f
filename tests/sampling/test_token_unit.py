"""Weights in tokens: the share of tokens follows the mixture, whatever the lengths are."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.sampling import MixtureSampler


def drawn_lengths(means, *, size=200, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(1, 2 * mean, size) for mean in means])


def sampler_of(mixture, means, *, size=200, batch_size=16, seed=0, **settings):
    num_domains = len(mixture)
    lengths = drawn_lengths(means, size=size, seed=seed).ravel()
    ranges = [range(k * size, (k + 1) * size) for k in range(num_domains)]
    return MixtureSampler(
        ranges, lengths, batch_size=batch_size, seed=seed, mixture=mixture, unit="tokens",
        **settings,
    )  # fmt: skip


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.floats(0.02, 1.0), st.integers(2, 500)), min_size=2, max_size=6),
    st.integers(0, 2**40),
)
def test_token_shares_are_off_by_no_more_than_the_last_step_was_surprised(domains, seed):
    weights, means = zip(*domains, strict=True)
    mixture = np.array(weights) / sum(weights)
    lengths = drawn_lengths(means, seed=seed)
    sampler = sampler_of(mixture, means, seed=seed)
    for step in (1, 5, 20, 60):
        before, after = sampler.draws_by_domain(step - 1), sampler.draws_by_domain(step)
        drawn = sampler.tokens_by_domain(step) - sampler.tokens_by_domain(step - 1)
        mean_length = lengths.mean(axis=1)
        surprise = np.abs(drawn - (after - before) * mean_length)
        rounding = 2 * mean_length  # no count is two samples from what was asked
        off = np.abs(sampler.tokens_by_domain(step) - mixture * sampler.tokens(step))
        assert (off <= rounding + surprise + mixture * (rounding + surprise).sum()).all()
        assert after.sum() == 16 * step


def test_lengths_are_corrected_for_where_samples_would_not_be():
    # Weights in samples give the long domain nine tenths of the tokens here.
    sampler = sampler_of([0.5, 0.5], [10, 90], size=2000)
    share = sampler.tokens_by_domain(100) / sampler.tokens(100)
    np.testing.assert_allclose(share, [0.5, 0.5], atol=0.01)


def test_equally_long_samples_are_drawn_as_with_weights_in_samples():
    one, other = (
        MixtureSampler([range(9), range(9, 30)], 8, batch_size=8, seed=1, mixture=[0.3, 0.7],
                       unit=unit)
        for unit in ("samples", "tokens")
    )  # fmt: skip
    for step in range(9):
        np.testing.assert_array_equal(one.plan(step), other.plan(step))


def test_a_domain_that_runs_out_gives_its_tokens_to_the_others_by_weight():
    sampler = sampler_of([0.5, 0.375, 0.125], [20, 60, 10], max_repeats=[0, None, None])
    drawn = sampler.tokens_by_domain(200)
    assert sampler.draws_by_domain(200)[0] == 200
    rest = sampler.tokens(200) - drawn[0]
    np.testing.assert_allclose(drawn[1:] / rest, [0.75, 0.25], atol=0.02)


def test_resumed_token_credits_go_on_to_the_last_bit():
    whole, resumed = (sampler_of([0.2, 0.8], [30, 7], seed=3) for _ in range(2))
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict(13))))
    for step in range(13, 40):
        np.testing.assert_array_equal(resumed.plan(step), whole.plan(step))
    in_samples = MixtureSampler(
        [range(200), range(200, 400)], 1, batch_size=16, seed=3, mixture=[0.2, 0.8]
    )
    with pytest.raises(ValueError, match="saved with unit tokens"):
        in_samples.load_state_dict(whole.state_dict(13) | {"seed": 3})
