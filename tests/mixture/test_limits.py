import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.errors import InputError
from dids.mixture.limits import MixtureLimits

GROUPS = np.array([[1.0, 0.5, 0.0, 0.0], [0.0, 0.5, 1.0, 1.0]])


def test_the_projection_is_the_nearest_allowed_mixture():
    rng = np.random.default_rng(0)
    limits = MixtureLimits(
        np.array([0.05, 0.0, 0.1, 0.05]),
        np.array([0.5, 0.4, 1.0, 1.0]),
        GROUPS,
        np.array([0.2, 0.0]),
        np.array([0.4, 1.0]),
    )
    for _ in range(5):
        wish = rng.dirichlet(np.full(4, 0.3))
        nearest = limits.project(wish)
        assert limits.allows(nearest)
        others = rng.dirichlet(np.ones(4), size=2000)
        allowed = [other for other in others if limits.allows(other)]
        assert len(allowed) > 50
        distances = [np.linalg.norm(wish - other) for other in allowed]
        assert np.linalg.norm(wish - nearest) <= min(distances) + 1e-9


def test_nothing_is_exactly_nothing():
    capped = MixtureLimits(
        np.zeros(4), np.ones(4), GROUPS, np.array([0.0, 0.0]), np.array([0.0, 1.0])
    )
    pinned = MixtureLimits(np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 1, 1]))
    rng = np.random.default_rng(1)
    for _ in range(5):
        wish = rng.dirichlet(np.ones(4))
        weights = rng.uniform(1, 9, 4)
        for found in (capped.project(wish), capped.minimiser(np.eye(4), -wish, weights)):
            assert found[:2].tolist() == [0.0, 0.0]
            assert abs(found.sum() - 1) < 1e-9
        assert pinned.project(wish).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert capped.project(np.array([1e-16, 0, 0.5, 0.5])).tolist() == [0.0, 0.0, 0.5, 0.5]


@given(st.integers(0, 500), st.floats(0.0, 1.0))
def test_an_allowed_mixture_stays_as_it_is_and_a_floor_holds_exactly(seed, floor):
    mixture = np.random.default_rng(seed).dirichlet(np.full(6, 0.5))
    limits = MixtureLimits.with_floor(6, floor)
    nearest = limits.project(mixture)
    assert (nearest >= floor / 6).all()
    assert abs(nearest.sum() - 1) < 1e-9
    np.testing.assert_array_equal(limits.project(nearest), nearest)


def test_a_pin_holds_a_domain():
    limits = MixtureLimits(np.array([0.25, 0.0, 0.0]), np.array([0.25, 1.0, 1.0]))
    np.testing.assert_allclose(
        limits.project(np.array([0.0, 0.0, 1.0])), [0.25, 0.0, 0.75], atol=1e-6
    )


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        ([0.7, 0.7], [1.0, 1.0], r"mixture.floor: the floors of the domains add up to 1.4"),
        ([0.0, 0.0], [0.3, 0.3], r"the caps of the domains add up to 0.6"),
        ([0.5, 0.0], [0.4, 1.0], r"domain 0 has floor 0.5 and cap 0.4"),
        ([np.nan, 0.0], [1.0, 1.0], r"domain 0 has floor nan"),
    ],
)
def test_limits_that_no_mixture_keeps_are_named(lower, upper, message):
    with pytest.raises(InputError, match=message):
        MixtureLimits(np.array(lower), np.array(upper))


def test_a_source_whose_cap_is_below_its_domains_floors_is_named():
    with pytest.raises(
        InputError, match=r"data\.sources\.web: no mixture gives it between 0 and 0"
    ):
        MixtureLimits(
            np.full(4, 0.1),
            np.ones(4),
            GROUPS,
            np.zeros(2),
            np.array([0.9, 0.1]),
            ("code", "web"),
        )


def test_sources_whose_limits_contradict_each_other_are_named():
    with pytest.raises(InputError, match=r"data\.sources\.web: .* together with those of code"):
        MixtureLimits(
            np.zeros(4),
            np.ones(4),
            GROUPS,
            np.array([0.6, 0.6]),
            np.ones(2),
            ("code", "web"),
        )


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ([0.2, 0.02, 0.02, 0.02], [0.2, 1.0, 1.0, 1.0]),
        ([0.0, 0.02, 0.02, 0.02], [0.0, 1.0, 1.0, 1.0]),
        ([0.0, 0.3, 0.0, 0.0], [0.0, 0.3, 1.0, 1.0]),
    ],
)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_a_pin_and_a_domain_held_at_zero_leave_the_best_direction_to_be_found(
    lower, upper, is_weighted
):
    # As two opposite limits they had no interior, and one problem of ten was not solved.
    rng, limits = np.random.default_rng(0), MixtureLimits(np.array(lower), np.array(upper))
    for _ in range(40):
        half = rng.normal(size=(4, 4))
        quadratic, linear = half @ half.T + np.eye(4), -np.maximum(rng.normal(size=4), 0)
        weight = rng.uniform(0.2, 3.0, size=4) if is_weighted else np.ones(4)

        def value(mixture, quadratic=quadratic, linear=linear, weight=weight):
            share = mixture * weight / (mixture @ weight)
            return -0.5 * min(linear @ share, 0.0) ** 2 / (share @ quadratic @ share)

        found = limits.best_direction(quadratic, linear, weight)
        assert limits.allows(limits.minimiser(quadratic, linear, weight))
        others = [limits.project(other) for other in rng.dirichlet(np.full(4, 0.7), size=20)]
        best = min(map(value, others))
        if found is None:
            assert best >= -1e-9
        else:
            assert limits.allows(found)
            assert value(found) <= best + 1e-9


def test_what_holds_a_share_is_its_own_limit_or_its_groups():
    limits = MixtureLimits(
        np.array([0.2, 0.1, 0.0, 0.0, 0.0]),
        np.array([0.2, 1.0, 0.3, 1.0, 1.0]),
        group_mk=np.array([[0.0, 0.0, 0.0, 1.0, 1.0]]),
        lower_m=np.array([0.0]),
        upper_m=np.array([0.4]),
        group_names=("math",),
    )
    assert limits.held(np.array([0.2, 0.1, 0.3, 0.3, 0.1])) == [
        "pin", "floor", "cap", "math", "math"
    ]  # fmt: skip
    assert limits.held(np.array([0.2, 0.3, 0.2, 0.2, 0.1])) == ["pin", None, None, None, None]
