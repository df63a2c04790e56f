"""Policies that a user writes down: temperature, weights, schedule."""

import json

import numpy as np
import pytest
from observations import observation_of

from dids.errors import InputError
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import make_policy

FREE = MixtureLimits(np.zeros(4), np.ones(4))
SIZES = np.array([100, 200, 300, 400])


def mixture(name, *, names=("web/0", "web/1", "code", "prose"), **changes):
    settings = changes.pop("settings", {})
    changes = {"limits": FREE, "domain_names": names, "sizes_k": SIZES, **changes}
    return make_policy(name, **settings).mixture(observation_of(**changes)).mixture


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_temperature_is_the_power_of_the_sizes(temperature):
    expected = SIZES ** (1.0 / temperature)
    found = mixture("temperature", settings={"temperature": temperature})
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)


def test_temperature_goes_from_the_largest_over_proportional_to_uniform():
    np.testing.assert_allclose(mixture("temperature", settings={"temperature": 1.0}), SIZES / 1000)
    np.testing.assert_allclose(mixture("temperature", settings={"temperature": 1e9}), 0.25)
    cold = mixture("temperature", settings={"temperature": 1e-4})
    np.testing.assert_allclose(cold, [0, 0, 0, 1], atol=1e-12)


def test_sizes_beyond_the_cap_count_no_more():
    found = mixture("temperature", settings={"temperature": 1.0, "cap": 250})
    np.testing.assert_allclose(found, np.array([100, 200, 250, 250]) / 800)


def test_a_patterns_weight_is_shared_by_the_sizes_of_its_domains():
    found = mixture("weights", settings={"weights": {"web/*": 0.6, "code": 0.4}})
    np.testing.assert_allclose(found, [0.2, 0.4, 0.4, 0.0])


def test_weights_are_in_proportion_and_the_order_of_the_names_does_not_matter():
    several = {"*": 3, "code": 6, "web/*": 1}
    backwards = dict(reversed(several.items()))
    found = mixture("weights", settings={"weights": several})
    np.testing.assert_allclose(found, [1 / 30, 2 / 30, 0.6, 0.3])
    np.testing.assert_array_equal(found, mixture("weights", settings={"weights": backwards}))


def test_a_name_stands_for_itself_whatever_signs_it_is_made_of():
    names = ("a[1]", "a1", "b", "c")
    found = mixture("weights", names=names, settings={"weights": {"a[1]": 1}})
    np.testing.assert_allclose(found, [1, 0, 0, 0])


def test_permuting_domains_permutes_given_weights():
    order, names = [2, 0, 3, 1], ("web/0", "web/1", "code", "prose")
    settings = {"weights": {"web/*": 0.7, "prose": 0.3}}
    there = mixture(
        "weights", names=tuple(names[k] for k in order), sizes_k=SIZES[order], settings=settings
    )
    np.testing.assert_allclose(there, mixture("weights", settings=settings)[order])


def test_floors_lift_what_no_name_fits():
    floored = MixtureLimits.with_floor(4, 0.4)
    found = mixture("weights", limits=floored, settings={"weights": {"code": 1}})
    np.testing.assert_allclose(found, [0.1, 0.1, 0.7, 0.1])


def test_without_weights_the_prior_holds():
    prior = np.array([0.1, 0.2, 0.3, 0.4])
    for name in ("weights", "schedule"):
        np.testing.assert_array_equal(mixture(name, prior=prior), prior)


POINTS = [
    {"at": 0.2, "weights": {"web/0": 1}},
    {"at": 0.6, "weights": {"code": 1, "prose": 1}},
]


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, [1, 0, 0, 0]),
        (0.2, [1, 0, 0, 0]),
        (0.3, [0.75, 0, 0.125, 0.125]),
        (0.5, [0.25, 0, 0.375, 0.375]),
        (1.0, [0, 0, 0.5, 0.5]),
    ],
)
def test_a_schedule_is_linear_between_its_points_and_flat_outside(progress, expected):
    found = mixture("schedule", progress=progress, settings={"points": POINTS})
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("progress", "first"), [(0.0, 1), (0.2, 1), (0.599, 1), (0.6, 0), (1.0, 0)]
)
def test_in_steps_each_points_weights_hold_until_the_next(progress, first):
    settings = {"points": POINTS, "between": "steps"}
    assert mixture("schedule", progress=progress, settings=settings)[0] == first


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("weights", {"weights": {"web": -1}}, r"weights\.web must be a number of zero or more"),
        ("weights", {"weights": {"web": "half"}}, r"weights\.web must be a number .*'half'"),
        ("weights", {"weights": {"web": True}}, r"weights\.web must be a number"),
        ("weights", {"weights": {"web": float("nan")}}, r"weights\.web must be a number"),
        ("weights", {"weights": {"web": 0}}, "weights are all zero"),
        ("weights", {"weights": 0.5}, r"weights must be a mapping .*, but it is 0\.5"),
        ("weights", {"weights": {}}, "weights must be a mapping"),
        ("schedule", {"points": {"at": 0}}, "points must be a list"),
        ("schedule", {"points": [{"at": 0}]}, r"points\[0\] must have at and weights"),
        ("schedule", {"points": [POINTS[1], POINTS[0]]}, r"points\[1\]\.at .* beyond the point"),
        ("schedule", {"points": [{"at": 2, "weights": {"a": 1}}]}, r"points\[0\]\.at .* 0 to 1"),
        ("schedule", {"between": "cubic"}, "between must be linear or steps"),
        ("temperature", {"temperature": 0.0}, "temperature must be above 0"),
        ("temperature", {"cap": -1}, "cap must be above 0"),
    ],
)
def test_settings_that_mean_nothing_are_told_before_the_run(name, settings, message):
    with pytest.raises(InputError, match=rf"mixture\.settings: .*{message}"):
        make_policy(name, **settings)


def test_a_name_that_fits_no_domain_is_told_with_its_neighbour():
    with pytest.raises(InputError) as told:
        mixture("weights", settings={"weights": {"cod": 1}})
    assert str(told.value) == (
        "mixture.settings.weights.cod: no domain is called 'cod'; did you mean 'code'?"
    )
    bad = [*POINTS, {"at": 1, "weights": {"books/*": 1}}]
    with pytest.raises(InputError, match=r"settings\.points\[2\]\.weights\.books/\*: no domain is"):
        mixture("schedule", settings={"points": bad})


def test_a_pattern_of_which_nothing_is_left_is_told():
    with pytest.raises(InputError, match=r"weights\.cod\*: every domain that it fits has"):
        mixture("weights", settings={"weights": {"cod*": 1, "code": 2}})


def test_a_config_can_say_weights_and_schedules(tmp_path):
    from dids.config.schema import MixtureConfig

    settings = {"points": [{"at": 0.0, "weights": {"web/*": 0.5, "code": 1}}]}
    config = MixtureConfig(policy="schedule", settings=settings)
    again = MixtureConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert json.loads(config.model_dump_json())["settings"] == settings
    make_policy(again.policy, **again.settings)
