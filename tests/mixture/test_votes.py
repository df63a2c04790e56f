"""Votes of one size, averaged over rounds, believed as far as rounds agree."""

import json

import numpy as np
import pytest

from dids.mixture.votes import Votes


def averaged(rounds, decay):
    votes = Votes.none(*rounds[0].shape)
    for kernel_kt in rounds:
        votes = votes.after(kernel_kt, decay)
    return votes


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("is_error_known", [False, True])
def test_the_running_average_and_its_error_are_those_of_all_rounds_at_once(decay, is_error_known):
    rng = np.random.default_rng(0)
    rounds = [rng.normal(size=(6, 3)) * scale for scale in (5.0, 1.0, 0.1, 1.0, 30.0)]
    noise_rt = rng.uniform(0.0, 1.2, size=(5, 3)) if is_error_known else np.zeros((5, 3))
    votes = Votes.none(6, 3)
    for kernel_kt, noise_t in zip(rounds, noise_rt, strict=True):
        error_kt = np.sqrt(noise_t * (kernel_kt**2).mean(0)) * np.ones((6, 1))
        votes = votes.after(kernel_kt, decay, error_kt if is_error_known else None)
    signal_rt = np.maximum(1.0 - noise_rt, 0.1)
    vote_rkt = np.stack([r / np.sqrt((r**2).mean(0)) for r in rounds]) / signal_rt[:, None] ** 0.5
    variance_rt = 0.5 + (1.0 - signal_rt) / signal_rt
    age_r = np.array([decay ** (len(rounds) - 1 - r) for r in range(len(rounds))])[:, None]
    weight_rt = age_r / variance_rt
    mean_kt = np.einsum("rt,rkt->kt", weight_rt, vote_rkt) / weight_rt.sum(0)
    mean_variance_t = (weight_rt**2 * variance_rt).sum(0) / weight_rt.sum(0) ** 2
    scatter_kt = np.einsum("rt,rkt->kt", weight_rt, (vote_rkt - mean_kt) ** 2)
    freedom_t = age_r.sum() - mean_variance_t * weight_rt.sum(0)
    excess_t = (2 * 1.0 + scatter_kt.mean(0)) / (2 + freedom_t)
    excess_kt = (2 * excess_t + scatter_kt) / (2 + freedom_t)
    size_t = np.maximum(1.0, np.sqrt((mean_kt**2).mean(0)))
    mean_kt, noise_kt = mean_kt / size_t, excess_kt * mean_variance_t / size_t**2
    np.testing.assert_allclose(votes.mean_kt, mean_kt, atol=1e-12)
    np.testing.assert_allclose(votes.noise_kt, noise_kt, atol=1e-12)
    for k, t in np.ndindex(mean_kt.shape):
        low, high = (mean_kt[k, t] + sign * 1.5 * noise_kt[k, t] ** 0.5 for sign in (-1, 1))
        nearest = 0.0 if low <= 0.0 <= high else min(low, high, key=abs)
        assert votes.beyond_doubt(1.5)[k, t] == pytest.approx(nearest, abs=1e-12)


def test_before_rounds_can_say_anything_their_samples_say_how_noisy_votes_are():
    rng = np.random.default_rng(4)
    kernel_kt = rng.normal(size=(6, 3))
    size_t = np.sqrt((kernel_kt**2).mean(0))
    error_kt = np.array([0.1, 0.8, 40.0]) * size_t * np.ones((6, 1))
    votes = Votes.none(6, 3).after(kernel_kt, 0.8, error_kt)
    # The votes' own size whatever the noise; half of the signal's square more, and not all noise.
    np.testing.assert_allclose(votes.mean_kt, kernel_kt / size_t)
    signal_t = np.array([0.99, 0.36, 0.1])
    np.testing.assert_allclose(votes.noise_kt, np.ones((6, 1)) * (1.0 - signal_t / 2))
    unknown = Votes.none(6, 3).after(kernel_kt, 0.8, np.full((6, 3), np.inf)).noise_kt
    np.testing.assert_allclose(unknown, Votes.none(6, 3).after(kernel_kt, 0.8).noise_kt)


def test_a_measurement_of_many_samples_is_not_outvoted_by_many_of_few():
    rng = np.random.default_rng(5)
    true_k = np.array([4.0, 3.0, 0.5, -0.5] + [0.0] * 20)
    quiet_kt = (true_k + 0.1 * rng.normal(size=24))[:, None]
    votes = Votes.none(24, 1).after(quiet_kt, 0.9, np.full((24, 1), 0.1))
    alike = averaged([quiet_kt], 0.9)
    for _ in range(4):
        noisy_kt = 7.0 * (0.3 * true_k[:, None] + rng.normal(size=(24, 1)))
        votes = votes.after(noisy_kt, 0.9, np.full((24, 1), 7.0))
        alike = alike.after(noisy_kt, 0.9)
    assert np.corrcoef(votes.mean_kt[:, 0], true_k)[0, 1] > 0.95
    assert np.corrcoef(alike.mean_kt[:, 0], true_k)[0, 1] < 0.9
    assert (votes.beyond_doubt(1.5)[:2, 0] > 0.5).all()


def test_an_error_of_few_samples_is_not_believed_as_one_of_many():
    rng = np.random.default_rng(6)
    kernel_kt = rng.normal(size=(6, 3))
    error_kt = 0.5 * np.sqrt((kernel_kt**2).mean(0)) * np.ones((6, 1))
    votes = Votes.none(6, 3).after(kernel_kt, 0.8, error_kt, np.array([4.0, 5.0, 103.0]))
    # (n - 1) / (n - 3) of the square.
    noise_t = 0.25 * np.array([3.0, 2.0, 1.02])
    np.testing.assert_allclose(votes.noise_kt[0], 1.0 - (1.0 - noise_t) / 2)


def test_a_task_that_changes_its_mind_is_believed_less_than_one_that_does_not():
    rng = np.random.default_rng(1)
    steady_k = rng.normal(size=24)
    rounds = [
        np.stack([0.05 * steady_k + 0.02 * rng.normal(size=24), 9.0 * rng.normal(size=24)], axis=1)
        for _ in range(8)
    ]
    votes = averaged(rounds, 0.8)
    believed_t = np.abs(votes.beyond_doubt(2.0)).mean(0)
    assert believed_t[0] > 0.3
    assert believed_t[1] < 0.02
    assert np.corrcoef(votes.mean_kt[:, 0], steady_k)[0, 1] > 0.98


def test_how_large_a_rounds_numbers_are_does_not_matter():
    rng = np.random.default_rng(2)
    rounds = [rng.normal(size=(5, 2)) for _ in range(4)]
    sizes = rng.uniform(0.01, 100.0, size=(4, 2))
    scaled = averaged([r * size for r, size in zip(rounds, sizes, strict=True)], 0.8)
    np.testing.assert_allclose(scaled.mean_kt, averaged(rounds, 0.8).mean_kt, atol=1e-12)


def test_the_noise_estimate_is_right_on_average():
    # Pure noise: the mean square of the average is the noise that is stated.
    rng = np.random.default_rng(3)
    runs = [averaged(list(rng.normal(size=(100, 10, 4))), 0.97) for _ in range(100)]
    stated = np.mean([votes.noise_kt for votes in runs])
    true = np.mean([votes.mean_kt**2 for votes in runs])
    assert stated == pytest.approx(true, rel=0.1)


def test_a_task_that_nothing_aligns_with_has_no_vote():
    votes = averaged([np.stack([np.zeros(4), np.arange(4.0)], axis=1)] * 3, 0.8)
    assert np.isfinite(votes.mean_kt).all()
    assert votes.beyond_doubt(0.0)[:, 0].tolist() == [0.0] * 4


def test_state_survives_json_to_the_last_bit():
    rng = np.random.default_rng(4)
    votes = averaged(list(rng.normal(size=(3, 5, 2))), 0.8)
    votes = votes.after(rng.normal(size=(5, 2)), 0.8, np.full((5, 2), 0.7), np.full(2, 4.0))
    again = Votes.from_json(json.loads(json.dumps(votes.to_json())))
    more = rng.normal(size=(5, 2))
    assert (again.after(more, 0.8).mean_kt == votes.after(more, 0.8).mean_kt).all()
    assert (again.noise_kt == votes.noise_kt).all()
