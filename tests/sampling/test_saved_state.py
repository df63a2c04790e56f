"""The state is small, of any age, and enough: stopped again and again, a run goes on the same."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.errors import InputError
from dids.sampling import MixtureSampler


def through_json(state):
    return json.loads(json.dumps(state))


def with_mixtures(num_mixtures, *, num_domains=24, equal=False, batch_size=16, **changes):
    """Domains whose mixture has changed so many times by step 500."""
    sizes, rng = [5000 + 100 * k for k in range(num_domains)], np.random.default_rng(0)
    ends = np.cumsum(sizes)
    sampler = MixtureSampler(
        [range(end - size, end) for size, end in zip(sizes, ends.tolist(), strict=True)],
        512 if equal else rng.integers(1, 500, int(ends[-1])), batch_size=batch_size, seed=0,
        mixture=rng.dirichlet(np.ones(num_domains)), **changes,
    )  # fmt: skip
    for step in range(0, 500, 500 // num_mixtures):
        sampler.plan(step)
        sampler.set_mixture(rng.dirichlet(np.ones(num_domains)), step + 1)
    return sampler


@pytest.mark.parametrize(
    ("num_domains", "most", "most_of_equal"), [(3, 250, 200), (8, 400, 320), (24, 850, 650)]
)
def test_the_state_is_a_few_hundred_bytes(num_domains, most, most_of_equal):
    for unit in ("samples", "tokens"):
        state = with_mixtures(25, num_domains=num_domains, unit=unit).state_dict(500)
        assert len(json.dumps(state)) < most
    equal = with_mixtures(25, num_domains=num_domains, equal=True).state_dict(500)
    assert len(json.dumps(equal)) < most_of_equal


def test_the_state_is_as_small_however_many_mixtures_there_were():
    one, many = (len(json.dumps(with_mixtures(num).state_dict(500))) for num in (1, 25))
    assert abs(many - one) < 100


def test_counts_and_simple_mixtures_can_be_read_in_the_state():
    sampler = MixtureSampler(
        [range(60), range(60, 100)], 16, batch_size=8, seed=3, mixture=[0.75, 0.25]
    )
    sampler.set_mixture([0.5, 0.5], 4)
    identity = {"seed": 3, "batch_size": 8, "sizes": "9012a49d"}
    assert sampler.state_dict(2) == identity | {
        "version": 3, "step": 2, "draws": "12 4", "log": [[0, [0.75, 0.25]], [4, [0.5, 0.5]]],
    }  # fmt: skip


def test_mixtures_that_are_set_for_later_are_in_the_state():
    sampler, resumed = with_mixtures(1), with_mixtures(1)
    sampler.set_mixture(np.eye(24)[3], 520)
    resumed.load_state_dict(through_json(sampler.state_dict(510)))
    assert [step for step, _ in resumed.log.entries] == [1, 520]
    for step in (510, 519, 520, 600):
        np.testing.assert_array_equal(resumed.plan(step), sampler.plan(step))


@st.composite
def domains(draw):
    num = draw(st.integers(2, 5))
    return {
        "sizes": draw(st.lists(st.integers(1, 60), min_size=num, max_size=num)),
        "max_repeats": draw(st.lists(st.sampled_from([0, 1, None]), min_size=num, max_size=num)),
        "at_end": draw(
            st.lists(st.sampled_from(["renormalise", "renormalise", "stop"]), min_size=num,
                     max_size=num)
        ),
        "unit": draw(st.sampled_from(["samples", "tokens"])),
        "seed": draw(st.integers(0, 2**40)),
    }  # fmt: skip


def sampler_of(case):
    ends = np.cumsum(case["sizes"]).tolist()
    return MixtureSampler(
        [range(end - size, end) for size, end in zip(case["sizes"], ends, strict=True)],
        np.random.default_rng(case["seed"]).integers(1, 90, ends[-1]),
        batch_size=6, seed=case["seed"], mixture=np.full(len(ends), 1 / len(ends)),
        max_repeats=case["max_repeats"], unit=case["unit"], at_end=case["at_end"],
    )  # fmt: skip


@settings(max_examples=60)
@given(domains(), st.data())
def test_stopped_again_and_again_it_goes_on_as_if_left_alone(case, data):
    num_steps, num = 25, len(case["sizes"])
    weights = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=num, max_size=num)
    changes = data.draw(st.dictionaries(st.integers(0, num_steps), weights.filter(any), max_size=3))
    # How far ahead mixtures are set, how far ahead a loader reads, and where the run is stopped.
    lag = data.draw(st.integers(1, 3))
    stops = data.draw(st.sets(st.integers(0, num_steps), max_size=4))
    alone, stopped = sampler_of(case), sampler_of(case)
    for step in range(num_steps):
        if step in stops:
            state = through_json(stopped.state_dict(step))
            assert state == through_json(alone.state_dict(step))
            stopped = sampler_of(case)
            stopped.load_state_dict(state)
            assert stopped.num_planned_steps == step
        if not alone.has_step(step):
            assert not stopped.has_step(step)
            with pytest.raises(InputError) as ours:
                stopped.plan(step)
            with pytest.raises(InputError) as theirs:
                alone.plan(step)
            assert str(ours.value) == str(theirs.value)
            return
        np.testing.assert_array_equal(stopped.plan(step), alone.plan(step))
        if step in changes:
            for sampler in (alone, stopped):
                weight = np.array(changes[step]) / sum(changes[step])
                sampler.set_mixture(weight, step + lag)
    assert stopped.usage(num_steps) == alone.usage(num_steps)


# As the first version wrote it: three domains, the first of them used up.
VERSION_1 = {
    "version": 1, "seed": 3, "batch_size": 8, "sizes": [6, 40, 20], "unit": "samples", "step": 6,
    "draws": [6, 19, 23], "credits": [0.0, -8.881784197001252e-16, 0.0], "tokens": [21, 524, 1299],
    "log": [
        {"start_step": 0, "probabilities": [0.5, 0.25, 0.25]},
        {"start_step": 4, "probabilities": [0.2, 0.3, 0.5]},
        {"start_step": 9, "probabilities": [0.1, 0.8, 0.1]},
    ],
}  # fmt: skip
VERSION_1_TOKENS = VERSION_1 | {
    "unit": "tokens", "draws": [6, 27, 15], "credits": [0.0, -16.87500000000003, 16.875],
    "tokens": [21, 739, 861],
}  # fmt: skip


@pytest.mark.parametrize("state", [VERSION_1, VERSION_1_TOKENS], ids=["samples", "tokens"])
def test_a_state_of_the_first_version_goes_on(state):
    sampler = MixtureSampler(
        [range(6), range(6, 46), range(46, 66)], np.arange(1, 67), batch_size=8, seed=3,
        mixture=[0.5, 0.25, 0.25], max_repeats=[0, None, None], unit=state["unit"],
    )  # fmt: skip
    sampler.load_state_dict(through_json(state))
    assert sampler.num_planned_steps == 6
    assert sampler.draws_by_domain(6).tolist() == state["draws"]
    assert sampler.tokens_by_domain(6).tolist() == state["tokens"]
    # Three steps at 0.3 to 0.5, then ten at 0.8 to 0.1, without the domain that is used up.
    if state["unit"] == "samples":
        drawn = sampler.draws_by_domain(19) - state["draws"]
        asked = 24 * np.array([0, 0.375, 0.625]) + 80 * np.array([0, 8 / 9, 1 / 9])
        assert np.abs(drawn - asked).max() < 2
    else:
        early = sampler.tokens_by_domain(9) - state["tokens"]
        late = sampler.tokens_by_domain(19) - sampler.tokens_by_domain(9)
        np.testing.assert_allclose(early / early.sum(), [0, 0.375, 0.625], atol=0.15)
        np.testing.assert_allclose(late / late.sum(), [0, 8 / 9, 1 / 9], atol=0.05)
    # Every sample is still drawn once before any is drawn again.
    drawn = np.concatenate([sampler.plan(step) for step in range(6, 12)])
    assert (drawn >= 6).all()


# As the second version wrote it, after two changes and with one to come, and what it drew then.
VERSION_2 = {
    "seed": 3, "batch_size": 8, "sizes": [6, 40, 20], "unit": "samples", "orders": None,
    "version": 2, "step": 8, "draws": [6, 26, 32], "tokens": [21, 695, 1820],
    "anchor": {"draws": [6, 17, 17], "credits": [0.0, 0.0, 0.0]},
    "log": [
        {"start_step": 5, "probabilities": [0.2, 0.3, 0.5]},
        {"start_step": 12, "probabilities": [0.1, 0.8, 0.1]},
    ],
}  # fmt: skip
VERSION_2_TOKENS = VERSION_2 | {
    "unit": "tokens", "draws": [6, 36, 22], "tokens": [21, 987, 1247],
    "anchor": {"draws": [6, 36, 22], "credits": [0.0, 8.0, -8.0]},
}  # fmt: skip
DRAWN_BY_VERSION_2 = {
    "samples": {
        8: [55, 34, 47, 62, 17, 54, 43, 50],
        12: [51, 12, 22, 20, 7, 33, 26, 40],
        20: [65, 43, 53, 46, 35, 62, 63, 31],
    },
    "tokens": {
        8: [20, 60, 26, 16, 59, 7, 51, 26],
        12: [55, 45, 34, 37, 7, 18, 38, 27],
        20: [53, 64, 39, 13, 54, 37, 19, 58],
    },
}


@pytest.mark.parametrize("state", [VERSION_2, VERSION_2_TOKENS], ids=["samples", "tokens"])
@pytest.mark.parametrize("saved_again_at", [None, 8, 9, 13])
def test_a_state_of_the_second_version_gives_the_samples_that_it_gave_then(state, saved_again_at):
    def sampler():
        return MixtureSampler(
            [range(6), range(6, 46), range(46, 66)], np.arange(1, 67), batch_size=8, seed=3,
            mixture=[0.5, 0.25, 0.25], max_repeats=[0, None, None], unit=state["unit"],
        )  # fmt: skip

    resumed = sampler()
    resumed.load_state_dict(through_json(state))
    for step, ids in DRAWN_BY_VERSION_2[state["unit"]].items():
        if step == 20:
            resumed.set_mixture([0.0, 0.35, 0.65], 15)
        if saved_again_at is not None and saved_again_at <= step:
            saved = through_json(resumed.state_dict(saved_again_at))
            resumed, saved_again_at = sampler(), None
            resumed.load_state_dict(saved)
        assert resumed.plan(step).tolist() == ids


def test_credits_of_any_number_of_decimals_go_on_exactly():
    # Domains that were regrouped had them before this version.
    sampler, resumed = with_mixtures(1), with_mixtures(1)
    credit = np.random.default_rng(1).normal(size=24)
    state = through_json(sampler.state_dict(7)) | {"credits": (credit - credit.mean()).tolist()}
    sampler.load_state_dict(state)
    saved = through_json(sampler.state_dict(9))
    assert saved["credits"] == state["credits"]
    resumed.load_state_dict(saved)
    np.testing.assert_array_equal(resumed.plan(40), sampler.plan(40))


def test_a_version_that_is_not_known_is_refused():
    sampler = with_mixtures(1)
    with pytest.raises(ValueError, match="saved with version 4, but this one knows versions up to"):
        sampler.load_state_dict(sampler.state_dict(0) | {"version": 4})


def test_tokens_that_cannot_be_known_are_refused():
    saved = with_mixtures(1, equal=True).state_dict(9)
    with pytest.raises(ValueError, match="all equally long, but those of this one are not"):
        with_mixtures(1).load_state_dict(saved)
    resumed = with_mixtures(1, equal=True)
    resumed.load_state_dict(saved)
    assert resumed.tokens(9) == 9 * 16 * 512
