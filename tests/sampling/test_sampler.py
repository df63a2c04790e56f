import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.errors import InputError
from dids.sampling import MixtureSampler


def sampler_of(sizes, mixture, *, batch_size=8, seed=0, max_repeats=None, lengths=None):
    ids = np.random.default_rng(5).permutation(sum(sizes))
    return MixtureSampler(
        np.split(ids, np.cumsum(sizes)[:-1]),
        np.arange(1, sum(sizes) + 1) if lengths is None else lengths,
        batch_size=batch_size,
        seed=seed,
        max_repeats=max_repeats or [None] * len(sizes),
        mixture=mixture,
    )


def domains_of(sizes):
    ids = np.random.default_rng(5).permutation(sum(sizes))
    return np.split(ids, np.cumsum(sizes)[:-1])


@st.composite
def mixtures(draw, num_domains, num_zero=1):
    weights = draw(st.lists(st.floats(0.001, 1.0), min_size=num_domains, max_size=num_domains))
    weights = np.array(weights)
    for _ in range(num_zero):
        weights[draw(st.integers(0, num_domains - 1))] *= draw(st.sampled_from([0.0, 1.0]))
    if weights.sum() == 0.0:
        weights[0] = 1.0
    return weights / weights.sum()


@st.composite
def cases(draw):
    num_domains = draw(st.integers(1, 7))
    sizes = draw(st.lists(st.integers(1, 40), min_size=num_domains, max_size=num_domains))
    return {
        "sizes": sizes,
        "mixture": draw(mixtures(num_domains)),
        "batch_size": draw(st.integers(4, 33)),
        "seed": draw(st.integers(0, 2**40)),
    }


@settings(max_examples=30)
@given(cases())
def test_every_sample_is_drawn_once_before_any_repeats(case):
    sampler = sampler_of(**case)
    stream = np.concatenate([sampler.plan(step) for step in range(12)])
    for ids, drawn in zip(domains_of(case["sizes"]), sampler.draws_by_domain(12), strict=True):
        times = np.bincount(stream[np.isin(stream, ids)], minlength=sum(case["sizes"]))[ids]
        assert times.sum() == drawn
        assert times.max() - times.min() <= 1


@settings(max_examples=30)
@given(cases())
def test_draws_stay_near_what_was_asked(case):
    sampler = sampler_of(**case)
    for step in range(1, 40):
        asked = case["mixture"] * step * case["batch_size"]
        assert np.abs(sampler.draws_by_domain(step) - asked).max() < 1.7
        assert sampler.draws_by_domain(step).sum() == step * case["batch_size"]


@settings(max_examples=30)
@given(st.data())
def test_draws_stay_within_two_of_what_was_asked_when_the_mixture_changes(data):
    num_domains = data.draw(st.integers(2, 8))
    mixture = st.lists(st.floats(0.01, 1.0), min_size=num_domains, max_size=num_domains)
    sampler = sampler_of([50] * num_domains, [1 / num_domains] * num_domains, batch_size=5)
    for step in range(1, 30):
        weights = np.array(data.draw(mixture))
        sampler.set_mixture(weights / weights.sum(), step)
        asked = sampler.log.steps_asked(step + 1) * 5
        assert np.abs(sampler.draws_by_domain(step + 1) - asked).max() < 2


@settings(max_examples=30)
@given(cases())
def test_a_domain_with_zero_probability_is_never_drawn(case):
    sampler = sampler_of(**case)
    assert (sampler.draws_by_domain(10)[case["mixture"] == 0.0] == 0).all()


@settings(max_examples=30)
@given(cases(), st.data())
def test_resuming_anywhere_gives_the_identical_tail(case, data):
    num_domains = len(case["sizes"])
    changes = {data.draw(st.integers(0, 19)): data.draw(mixtures(num_domains)) for _ in range(3)}
    whole, stop = sampler_of(**case), data.draw(st.integers(0, 20))
    tail, saved = [], None
    for step in range(20):
        if step == stop:
            saved = json.loads(json.dumps(whole.state_dict(step)))
        if step in changes:
            whole.set_mixture(changes[step], step)
        tail.append(whole.plan(step))
    resumed = sampler_of(**case)
    resumed.load_state_dict(saved or whole.state_dict(20))
    assert resumed.num_planned_steps == stop
    for step in range(stop, 20):
        if step in changes:
            resumed.set_mixture(changes[step], step)
        np.testing.assert_array_equal(resumed.plan(step), tail[step])
    assert resumed.state_dict(20) == whole.state_dict(20)
    for step in range(20):
        np.testing.assert_array_equal(whole.plan(step), tail[step])
        if step < stop:
            with pytest.raises(ValueError, match=f"this run begins with step {stop}"):
                resumed.plan(step)


def test_a_state_taken_behind_the_read_ahead_resumes_at_the_step_it_was_taken_for():
    ahead, resumed = sampler_of([9, 5], [0.5, 0.5]), sampler_of([9, 5], [0.5, 0.5])
    ahead.plan(11)
    resumed.load_state_dict(ahead.state_dict(7))
    assert resumed.num_planned_steps == 7
    np.testing.assert_array_equal(resumed.plan(7), ahead.plan(7))


def test_the_plan_of_an_old_step_is_the_same_after_it_left_the_window():
    sampler = sampler_of([30, 20], [0.3, 0.7], batch_size=4)
    first, tokens = sampler.plan(0).copy(), sampler.tokens(3)
    sampler.plan(600)
    np.testing.assert_array_equal(sampler.plan(0), first)
    assert sampler.tokens(3) == tokens
    assert sampler.num_planned_steps == 601


def test_a_planned_step_refuses_a_new_mixture():
    sampler = sampler_of([9, 9], [0.5, 0.5])
    sampler.plan(3)
    with pytest.raises(ValueError, match="step 3 is planned already"):
        sampler.set_mixture([0.1, 0.9], 3)
    before = sampler.plan(3).copy()
    sampler.set_mixture([0.0, 1.0], 4)
    np.testing.assert_array_equal(sampler.plan(3), before)
    assert sampler.draws_by_domain(5)[0] == sampler.draws_by_domain(4)[0]


def test_a_domain_that_runs_out_gives_its_share_to_the_others_by_weight():
    sampler = sampler_of(
        [6, 1000, 1000], [0.5, 0.375, 0.125], batch_size=16, max_repeats=[1, None, None]
    )
    sampler.plan(39)
    drawn = sampler.draws_by_domain(40)
    assert drawn[0] == 12
    # Regression: an even spread of the shortfall would give the third domain a third of the rest.
    rest = 40 * 16 - 12
    assert abs(drawn[1] - 0.75 * rest) < 1
    assert abs(drawn[2] - 0.25 * rest) < 1


@settings(max_examples=30)
@given(cases(), st.data())
def test_caps_are_never_passed_and_the_end_says_which_budget_would_fit(case, data):
    caps = [data.draw(st.sampled_from([0, 1, 2])) for _ in case["sizes"]]
    sampler = sampler_of(**case, max_repeats=caps)
    capacity = np.array(case["sizes"]) * (1 + np.array(caps))
    num_full_steps = int(capacity[case["mixture"] > 0].sum()) // case["batch_size"]
    for step in range(num_full_steps):
        assert not sampler.is_exhausted
        assert len(sampler.plan(step)) == case["batch_size"]
    assert (sampler.draws_by_domain(num_full_steps) <= capacity).all()
    assert sampler.is_exhausted
    tokens = sampler.tokens(num_full_steps)
    with pytest.raises(InputError, match=rf"Lower budget\.tokens to {tokens} or raise max_repeats"):
        sampler.plan(num_full_steps)


def test_tokens_are_those_of_the_drawn_samples():
    lengths = np.arange(100, 130)
    sampler = sampler_of([10, 20], [0.5, 0.5], batch_size=4, lengths=lengths)
    assert sampler.tokens(5) == sum(int(lengths[sampler.plan(step)].sum()) for step in range(5))
    assert sampler.tokens(0) == 0


def test_repeats_count_the_passes_after_the_first():
    sampler = sampler_of([8, 1000], [0.5, 0.5], batch_size=8)
    np.testing.assert_allclose(sampler.repeats_by_domain(1), [0.0, 0.0])
    np.testing.assert_allclose(sampler.repeats_by_domain(5), [1.5, 0.0])


def test_seeds_change_the_order_and_epochs_are_shuffled_anew():
    one, two = (
        sampler_of([64], [1.0], batch_size=64),
        sampler_of([64], [1.0], batch_size=64, seed=1),
    )
    assert set(one.plan(0)) == set(two.plan(0)) == set(one.plan(1))
    assert (one.plan(0) != two.plan(0)).any()
    assert (one.plan(0) != one.plan(1)).any()


def test_an_empty_domain_is_passed_over():
    sampler = sampler_of([0, 5], [0.5, 0.5], batch_size=2)
    assert sampler.draws_by_domain(4).tolist() == [0, 8]


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ([0.5, 0.6], "they sum to 1.1"),
        ([1.5, -0.5], "number 1 is -0.5"),
        ([float("nan"), 1.0], "number 0 is nan"),
        ([1.0], "one entry for each of 2 domains"),
    ],
)
def test_what_is_no_mixture_is_refused(mixture, message):
    with pytest.raises(ValueError, match=message):
        sampler_of([3, 3], mixture)


@pytest.mark.parametrize("domains", [[range(3), range(3, 6)], [np.array([5, 0]), range(0)]])
def test_a_sample_without_a_length_is_refused(domains):
    settings = {"batch_size": 2, "seed": 0, "mixture": [0.5, 0.5]}
    MixtureSampler(domains, np.ones(6, dtype=np.int64), **settings)
    with pytest.raises(ValueError, match="there are 5 lengths, but a sample has number 5"):
        MixtureSampler(domains, np.ones(5, dtype=np.int64), **settings)


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 4}, {"sizes": [9, 8]}])
def test_the_state_of_another_sampler_is_refused(change):
    case = {"sizes": [9, 9], "mixture": [0.5, 0.5], "batch_size": 8, "seed": 0}
    state = sampler_of(**case).state_dict(0)
    with pytest.raises(ValueError, match=f"saved with {next(iter(change))}"):
        sampler_of(**{**case, **change}).load_state_dict(state)


def test_the_achieved_mixture_is_ten_times_closer_than_independent_draws():
    achieved_distance, independent_distance = 0.0, 0.0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        mixture = rng.dirichlet(np.ones(16))
        sampler = sampler_of([500] * 16, mixture, batch_size=64)
        achieved = sampler.draws_by_domain(50) / 3200
        achieved_distance += np.abs(achieved - mixture).sum()
        independent_distance += np.abs(rng.multinomial(3200, mixture) / 3200 - mixture).sum()
    assert 10 * achieved_distance < independent_distance
