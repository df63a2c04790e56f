"""A sample has the same number in its domain whoever trains on it: that of a plain count."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.sampling import MixtureSampler
from dids.sampling.batch_sampler import MixtureBatchSampler
from dids.training import sample_numbers
from dids.training.sample_numbers import SampleNumbers

BATCH, STEPS = 8, 4
DOMAIN_N = np.repeat([0, 1, 2], [20, 3, 9])
LENGTH_N = 3 + np.arange(32) % 5


def sampler():
    parts = [np.flatnonzero(k == DOMAIN_N) for k in range(3)]
    return MixtureSampler(parts, LENGTH_N, batch_size=BATCH, seed=1, mixture=[0.5, 0.3, 0.2])


def plain_count(is_scored_n):
    """Numbers of the samples of every step, micro-batches of one sample on one rank."""
    seen, steps = [0, 0, 0], []
    batches = MixtureBatchSampler(sampler(), 1, BATCH, num_steps=STEPS)
    for ids in batches.steps():
        numbers = []
        for sample in ids.ravel().tolist():
            numbers.append(seen[DOMAIN_N[sample]])
            seen[DOMAIN_N[sample]] += bool(is_scored_n[sample])
        steps.append(numbers)
    return steps


@settings(max_examples=20)
@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]), st.integers(0, 2**32 - 1))
def test_numbers_are_those_of_a_plain_count(world_size, micro, scored_seed):
    is_scored_n = np.random.default_rng(scored_seed).random(32) < 0.8
    expected, accumulation = plain_count(is_scored_n), BATCH // micro // world_size
    found = [[None] * BATCH for _ in range(STEPS)]
    for rank in range(world_size):
        numbers = SampleNumbers(sampler(), DOMAIN_N, is_scored_n)
        own = MixtureBatchSampler(
            sampler(), micro, accumulation, num_steps=STEPS, rank=rank, world_size=world_size
        )
        patched = sample_numbers.num_ranks, sample_numbers.rank
        sample_numbers.num_ranks, sample_numbers.rank = lambda: world_size, lambda rank=rank: rank
        try:
            for step, batches in enumerate(own.steps()):
                numbers.begin_step(step)
                for number, ids in enumerate(batches):
                    start = (number * world_size + rank) * micro
                    found[step][start : start + micro] = numbers.of_batch(ids).tolist()
        finally:
            sample_numbers.num_ranks, sample_numbers.rank = patched
    assert found == expected


def test_counting_begins_anew_and_another_batch_is_refused():
    numbers = SampleNumbers(sampler(), DOMAIN_N, np.ones(32, bool))
    numbers.begin_step(0)
    assert numbers.before_k.sum() == BATCH
    numbers.clear()
    assert numbers.before_k.sum() == 0
    try:
        numbers.of_batch(np.array([-1]))
    except ValueError as error:
        assert "planned" in str(error)
    else:
        raise AssertionError("a strange batch was numbered")
