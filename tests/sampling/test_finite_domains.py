"""What becomes of a domain that is used up; what is left is always known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.errors import InputError
from dids.sampling import MixtureBatchSampler, MixtureSampler, forecast


def sampler_of(at_end, *, max_repeats=(0, None), sizes=(20, 50), mixture=(0.5, 0.5), lengths=10):
    return MixtureSampler(
        [range(sizes[0]), range(sizes[0], sum(sizes))],
        lengths,
        batch_size=8,
        seed=0,
        mixture=mixture,
        max_repeats=max_repeats,
        at_end=at_end,
    )


def test_a_domain_that_stops_the_run_ends_it_with_the_last_step_that_it_fills():
    sampler = sampler_of(["stop", "renormalise"])
    # 20 samples at 4 a step: five steps.
    assert [sampler.has_step(step) for step in (0, 4, 5)] == [True, True, False]
    batches = list(MixtureBatchSampler(sampler, 4, 2, num_steps=100))
    assert len(batches) == 5 * 2
    with pytest.raises(InputError, match="domain number 0, which ends the run"):
        sampler.plan(5)
    assert sampler_of(["renormalise"] * 2).has_step(5)


def test_asking_whether_there_is_a_step_does_not_plan_it():
    sampler = sampler_of(["stop", "renormalise"])
    assert sampler.has_step(3)
    assert sampler.num_planned_steps == 3
    sampler.set_mixture([0.0, 1.0], 3)
    assert sampler.has_step(50)  # a domain with no weight ends nothing


def test_a_stopping_domain_without_a_limit_never_ends_the_run():
    assert sampler_of(["stop", "stop"], max_repeats=(None, None)).has_step(10_000)


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(0, 3), st.integers(0, 25))
def test_usage_says_what_is_drawn_and_what_is_left(size, repeats, steps):
    lengths = np.arange(1, size + 51)
    sampler = sampler_of(None, max_repeats=(repeats, None), sizes=(size, 50), lengths=lengths)
    first, second = sampler.usage(steps)
    assert first.samples + second.samples == 8 * steps
    assert first.tokens == sampler.tokens_by_domain(steps)[0]
    assert first.epochs == first.samples / size
    assert first.repeats == max(0.0, first.epochs - 1)
    assert first.samples_left == size * (1 + repeats) - first.samples
    assert second.samples_left is None
    if first.samples_left == 0:
        assert first.tokens_left == 0
    if first.samples == 0:
        assert first.tokens_left == (1 + repeats) * lengths[:size].sum()


@pytest.mark.parametrize("unit", ["samples", "tokens"])
def test_the_forecast_is_what_the_sampler_then_does(unit):
    sizes, caps, mixture = [60, 400], [2, None], [0.5, 0.5]
    lengths = np.repeat([30, 10], sizes)
    sampler = MixtureSampler(
        [range(60), range(60, 460)], lengths, batch_size=8, seed=0, mixture=mixture,
        max_repeats=caps, unit=unit,
    )  # fmt: skip
    expected = forecast(sizes, caps, mixture, 8, 120, unit=unit, mean_lengths=[30.0, 10.0])
    np.testing.assert_allclose(
        [f.samples for f in expected], sampler.draws_by_domain(120), atol=2.5
    )
    step = expected[0].cap_reached_at_step
    left = [sampler.usage(s)[0].samples_left for s in (step - 1, step + 2)]
    assert left[0] > 0
    assert left[1] == 0


def test_a_run_that_a_domain_stops_is_forecast_to_its_last_step():
    sampler = sampler_of(["stop", "renormalise"])
    found = forecast([20, 50], [0, None], [0.5, 0.5], 8, 100, at_end=["stop", "renormalise"])
    assert found[0].cap_reached_at_step == 5
    assert not sampler.has_step(5)
    assert sum(f.samples for f in found) == 40
    assert found[0].sentence("web") == (
        "web: 1.0 epochs, cap reached at step 5, which ends the run"
    )


def test_a_setting_for_other_domains_is_refused():
    with pytest.raises(ValueError, match="at_end needs one entry for each of 2 domains"):
        sampler_of(["stop"])


def _steps(sampler, first=0, most=60, mixtures=None):
    """Samples of each step until the data runs out; mixtures are set as the run comes to them."""
    plans = []
    while len(plans) < most - first:
        step = first + len(plans)
        if mixtures and step in mixtures:
            sampler.set_mixture(mixtures[step], step)
        if not sampler.has_step(step):
            break
        plans.append(sorted(sampler.plan(step).tolist()))
    return plans


def _finite(rng):
    """A run that ends, or has most of its domains run out one after the other."""
    num = int(rng.integers(3, 6))
    sizes = rng.integers(3, 24, num)
    mixture = rng.dirichlet(np.ones(num)).round(2)
    mixture[-1] = 1.0 - mixture[:-1].sum()
    if (mixture <= 0).any():
        return _finite(rng)
    ends = np.cumsum(sizes).tolist()
    settings = {
        "batch_size": int(rng.choice([1, 2, 4])),
        "seed": 0,
        "mixture": mixture,
        "max_repeats": [0] * (num - 1) + [None],
        "at_end": rng.choice(["stop", "renormalise", "renormalise"], num).tolist(),
    }
    ranges = [range(end - int(size), end) for size, end in zip(sizes, ends, strict=True)]
    return lambda: MixtureSampler(ranges, 16, **settings)


@pytest.mark.parametrize("seed", range(60))
def test_samples_do_not_depend_on_which_steps_are_planned_together(seed):
    new = _finite(np.random.default_rng(seed))
    whole = new()
    expected = _steps(whole)
    mixture = whole.log.mixture(0)
    for stop in range(1, len(expected)):
        resumed = new()
        resumed.load_state_dict(whole.state_dict(stop))
        assert _steps(resumed, stop) == expected[stop:]
        assert _steps(new(), mixtures={stop: mixture}) == expected


@pytest.mark.parametrize("seed", range(60, 90))
def test_a_mixture_may_be_set_beforehand(seed):
    rng = np.random.default_rng(seed)
    new = _finite(rng)
    later = {
        int(step): rng.dirichlet(np.ones(new().num_domains)) for step in rng.integers(1, 30, 2)
    }
    beforehand = new()
    for step in sorted(later):
        beforehand.set_mixture(later[step], step)
    assert _steps(beforehand) == _steps(new(), mixtures=later)
