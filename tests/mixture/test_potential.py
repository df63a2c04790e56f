import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares

from dids.mixture.potential import UNKNOWN, potential
from dids.mixture.saturation import fresh_passes, marginal_value, repeats


def history_of(rng, noise, decay=3.0, num_points=10):
    tokens = np.linspace(0, 90_000, num_points).astype(int)
    losses = 2.0 * np.exp(-decay * tokens / 90_000) + 1.0 + noise * rng.normal(size=num_points)
    return [(int(n), float(loss)) for n, loss in zip(tokens, losses, strict=True)]


@pytest.mark.parametrize("decay", [0.3, 1.0, 3.0, 8.0])
def test_an_exact_curve_is_followed_exactly(decay):
    history = history_of(np.random.default_rng(0), 0.0, decay)
    truth = 2.0 * (np.exp(-decay) - np.exp(-decay * (1 + 10_000 / 90_000)))
    found = potential(history, 10_000)
    assert found.is_reliable
    assert found.drop_nats == pytest.approx(truth, rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_is_as_good_as_a_bounded_search_from_many_starts(seed):
    rng = np.random.default_rng(seed)
    history = history_of(rng, 0.05)
    tokens, losses = np.array(history).T
    time = tokens / 90_000
    lowest = losses.min()
    best = min(
        (
            least_squares(
                lambda abc: abc[0] * np.exp(-abc[1] * time) + abc[2] - losses,
                [rng.uniform(0, 3), rng.uniform(0.1, 10), rng.uniform(0, lowest)],
                bounds=([0, 0.02, 0], [np.inf, 50, lowest]),
                xtol=1e-12,
                ftol=1e-12,
            )
            for _ in range(12)
        ),
        key=lambda fit: fit.cost,
    )
    a, b, _ = best.x
    slow = a * (np.exp(-b) - np.exp(-b * (1 + 10_000 / 90_000)))
    assert potential(history, 10_000).drop_nats == pytest.approx(slow, rel=1e-2)


@given(
    st.lists(st.floats(0.01, 20.0), min_size=0, max_size=20),
    st.integers(1, 10**9),
)
def test_the_drop_is_never_negative_and_never_more_than_the_loss(losses, horizon):
    found = potential([(i * 1000, loss) for i, loss in enumerate(losses)], horizon)
    assert found.drop_nats >= 0.0
    if found.is_reliable:
        assert found.drop_nats <= max(losses)
    else:
        assert found == UNKNOWN


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [3.0],
        [3.0, 2.0, 1.5],  # too few points
        [2.0, 2.0, 2.0, 2.0, 2.0],  # nothing happens
        [1.0, 1.2, 1.4, 1.6, 1.8],  # it rises
        [2.0, 2.3, 1.9, 2.2, 2.0, 2.4, 1.9],  # noise
    ],
)
def test_a_poor_fit_is_neutral(losses):
    # Regression: an unknown potential was the constant 1, which swamped every real loss change.
    assert potential([(i, loss) for i, loss in enumerate(losses)], 10) == UNKNOWN


def test_the_standard_error_covers_the_truth():
    truth = 2.0 * (np.exp(-3.0) - np.exp(-3.0 * (1 + 10_000 / 90_000)))
    found = [
        potential(history_of(np.random.default_rng(seed), 0.01, num_points=12), 10_000)
        for seed in range(40)
    ]
    reliable = [f for f in found if f.is_reliable]
    assert len(reliable) > 20
    inside = [abs(f.drop_nats - truth) < 2.5 * f.standard_error_nats for f in reliable]
    assert np.mean(inside) > 0.8


def test_losses_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="no numbers"):
        potential([(0, 1.0), (1, float("nan"))], 10)


def test_the_marginal_value_is_the_derivative_of_the_worth_of_repeats():
    at = np.linspace(0.0, 40.0, 9)
    slope = (fresh_passes(at + 1e-6) - fresh_passes(at)) / 1e-6
    np.testing.assert_allclose(marginal_value(at), slope, rtol=1e-5)


def test_repeats_begin_after_the_first_pass():
    draws, sizes = np.array([5, 10, 25, 0]), np.array([10, 10, 10, 0])
    np.testing.assert_allclose(repeats(draws, sizes), [0.0, 0.0, 1.5, 0.0])
