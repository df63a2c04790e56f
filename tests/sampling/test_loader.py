"""The loader for loops of one's own: it knows where it stands, and may change its mind."""

import json
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import assert_resumes

from dids.sampling import MixtureLoader, MixtureSampler


def loader_of(*, accumulation=2, num_workers=0, rank=0, world_size=1, num_steps=12, seed=1):
    sampler = MixtureSampler(
        [range(30), range(30, 50)], np.arange(1, 51), batch_size=8, seed=seed, mixture=[0.4, 0.6]
    )
    return MixtureLoader(
        torch.arange(50),
        sampler,
        micro_batch_size=8 // accumulation // world_size,
        accumulation=accumulation,
        num_steps=num_steps,
        num_workers=num_workers,
        rank=rank,
        world_size=world_size,
    )


def steps_of(loader):
    """Samples by step."""
    found, batches = {}, []
    for batch in loader:
        batches += batch.tolist()
        if len(batches) == 8 // loader._batches.world_size:
            found[loader.step - 1], batches = batches, []
    return found


@settings(max_examples=25)
@given(
    st.integers(0, 2**40),
    st.integers(1, 11),
    st.sampled_from([1, 2, 4]),
    st.dictionaries(st.integers(1, 11), st.floats(0.0, 1.0), max_size=3),
)
def test_a_loop_stopped_anywhere_goes_on_with_the_same_samples(seed, stop, accumulation, changes):
    changes = {step: [p, 1 - p] for step, p in changes.items()}
    saved = {}

    def a_run(stop=None, resume=None):
        loader = loader_of(seed=seed, accumulation=accumulation)
        if resume is not None:
            loader.load_state_dict(json.loads(json.dumps(saved[resume])))
        samples, states, batches = {}, {}, []
        for batch in loader:
            batches += batch.tolist()
            if len(batches) == 8:
                step = loader.step
                samples[step - 1], batches = batches, []
                if step in changes:
                    loader.set_mixture(changes[step])
                states[step - 1] = saved[step] = loader.state_dict()
        return {"samples": samples, "states": states}

    assert_resumes(a_run, stop)


def test_workers_and_ranks_read_the_same_steps():
    expected = {s: sorted(ids) for s, ids in steps_of(loader_of()).items()}
    assert {s: sorted(i) for s, i in steps_of(loader_of(num_workers=2)).items()} == expected
    for world_size in (2, 4):
        parts = [
            steps_of(loader_of(accumulation=1, rank=rank, world_size=world_size))
            for rank in range(world_size)
        ]
        joined = {step: sorted(chain(*(part[step] for part in parts))) for step in parts[0]}
        assert joined == expected


def test_a_new_mixture_starts_where_no_worker_can_have_read():
    loader = loader_of(accumulation=1, num_workers=2)
    batches = iter(loader)
    next(batches)
    assert loader.step == 1
    assert loader.set_mixture([1.0, 0.0]) == 1 + 5
    assert loader._batches.sampler.num_planned_steps <= 6


def test_reading_takes_nothing_from_the_random_numbers_that_dropout_uses():
    before = torch.get_rng_state()
    list(loader_of(num_workers=2, num_steps=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_size_that_does_not_fit_is_refused():
    sampler = MixtureSampler([range(8)], 1, batch_size=8, seed=0, mixture=[1.0])
    with pytest.raises(ValueError, match=r"must be 2 x 2 x 1 .* but it is 8"):
        MixtureLoader(torch.arange(8), sampler, micro_batch_size=2, accumulation=2, num_steps=1)
