"""Steps are planned several at once; nobody can tell."""

import hashlib
import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.sampling import MixtureSampler


def sampler_of(num_domains=5, batch_size=6):
    sizes = range(3, 3 + num_domains)
    ends = np.cumsum(sizes).tolist()
    ranges = [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return MixtureSampler(
        ranges,
        np.arange(1, ends[-1] + 1),
        batch_size=batch_size,
        seed=8,
        mixture=np.full(num_domains, 1 / num_domains),
    )


@settings(max_examples=20)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.integers(0, 3))
def test_the_order_of_questions_does_not_change_the_answers(steps, change):
    late = np.array([0.5, 0.5, 0.0, 0.0, 0.0])
    asked, in_order = sampler_of(), sampler_of()
    for sampler in (asked, in_order):
        sampler.set_mixture(late, 20 + change)
    expected = [in_order.plan(step) for step in range(61)]
    for step in steps:
        np.testing.assert_array_equal(asked.plan(step), expected[step])
    assert asked.num_planned_steps == max(steps) + 1


def test_a_step_that_was_only_planned_ahead_still_follows_a_new_mixture():
    sampler = sampler_of()
    for step in range(40):
        sampler.plan(step)
    assert sampler.num_planned_steps == 40
    before = sampler.draws_by_domain(40)
    sampler.set_mixture([1.0, 0.0, 0.0, 0.0, 0.0], 40)
    assert (sampler.draws_by_domain(50) - before)[0] >= 58


def test_ranges_draw_what_arrays_draw():
    arrays = MixtureSampler(
        [np.arange(7), np.arange(7, 30)], np.full(30, 4), batch_size=5, seed=2, mixture=[0.4, 0.6]
    )
    ranges = MixtureSampler([range(7), range(7, 30)], 4, batch_size=5, seed=2, mixture=[0.4, 0.6])
    for step in range(20):
        np.testing.assert_array_equal(arrays.plan(step), ranges.plan(step))
    assert arrays.state_dict(20) == ranges.state_dict(20)


def test_the_sequence_of_samples_is_that_of_this_version():
    # Every number in the README rests on it; a change must not go unseen.
    rng = np.random.default_rng(7)
    ids = np.split(rng.permutation(150), [40, 47, 147])
    sampler = MixtureSampler(
        ids, np.arange(150) % 17 + 1, batch_size=8, seed=3, max_repeats=[None] * 4,
        mixture=rng.dirichlet(np.ones(4)),
    )  # fmt: skip
    digest = hashlib.sha256()
    for step in range(60):
        if step in (5, 11, 30):
            weights = rng.dirichlet(np.ones(4) * 0.3)
            if step % 2:
                weights[0] = 0
                weights /= weights.sum()
            sampler.set_mixture(weights, step)
        digest.update(sampler.plan(step).astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "963f983511021efd"


def test_a_billion_samples_take_no_memory():
    tracemalloc.start()
    sampler = MixtureSampler(
        [range(10**9), range(10**9, 3 * 10**9)], 512, batch_size=4096, seed=0,
        mixture=[0.3, 0.7],
    )  # fmt: skip
    sampler.plan(30)
    early = tracemalloc.get_traced_memory()[0]
    state = sampler.state_dict(30)
    # As if a billion samples had been drawn already.
    steps = 10**9 // 4096
    state |= {"step": steps, "draws": "300000000 700000000"}
    sampler.load_state_dict(state)
    seen = np.concatenate([sampler.plan(step) for step in range(steps, steps + 60)])
    late = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(np.unique(seen)) == len(seen) == 60 * 4096
    assert late - early < 3 * seen.nbytes  # ids and domains of the steps in memory, nothing else
    assert early < 40e6
