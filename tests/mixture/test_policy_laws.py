"""What changes of the gradients change in the mixtures, through several rounds of a policy."""

import numpy as np
import pytest
import torch
from observations import observation_of

from dids.impact.matrices import ImpactMatrices
from dids.mixture.limits import MixtureLimits
from dids.mixture.observation import TrainedOn
from dids.mixture.policies.dids_descent import DidsDescent
from dids.mixture.policy import make_policy

LOOKING = ["dids", "dids-descent"]
ROUNDS = 4
LOSS_K = np.array([2.0, 3.0, 1.5, 2.5])


def tensors(number):
    """A round's gradients: four domains, two tasks, what lasts and what does not."""
    lasting, rng = np.random.default_rng(0), np.random.default_rng(100 + number)
    update = lasting.normal(size=(4, 30))
    target = lasting.normal(size=(2, 30)) + update[:2]
    fisher = lasting.uniform(0.5, 2.0, size=(2, 30))
    halves = update + 0.3 * rng.normal(size=(2, 4, 30))
    targets = target + 0.3 * rng.normal(size=(2, 2, 30))
    return halves, targets, fisher


def mixtures(
    name,
    *,
    domains=(0, 1, 2, 3),
    share=(0.25, 0.25, 0.25, 0.25),
    dtype=torch.float64,
    update_scale=(1.0, 1.0, 1.0, 1.0),
    target_scale=1.0,
    floor=0.0,
    **settings,
):
    """The mixtures of all rounds, each seen with the one before."""
    policy, found = make_policy(name, **settings), []
    share_k = np.array(share)
    limits = MixtureLimits(floor * share_k, np.ones(len(share_k)))
    mixture = share_k
    for number in range(ROUNDS):
        halves, targets, fisher = tensors(number)
        halves = (halves * np.array(update_scale)[:, None])[:, list(domains)]
        halves_2kp = torch.from_numpy(halves).to(dtype)
        targets_2tp = torch.from_numpy(targets * target_scale).to(dtype)
        impact = ImpactMatrices.of(
            update_kp=halves_2kp.mean(0),
            target_tp=targets_2tp.mean(0),
            fisher_tp=torch.from_numpy(fisher).to(dtype),
            update_halves_2kp=halves_2kp,
            target_halves_2tp=targets_2tp,
            domain_names=tuple(f"d{k}" for k in range(len(domains))),
            task_names=("t0", "t1"),
        )
        seen = observation_of(
            impact=impact,
            sizes_k=np.full(len(domains), 1000),
            draws_k=np.full(len(domains), 10 * number),
            previous=mixture,
            prior=share_k,
            limits=limits,
            trained=TrainedOn(np.ones(len(domains)), LOSS_K[list(domains)] - 0.1 * number),
        )
        mixture = policy.mixture(seen).mixture
        found.append(mixture)
    return np.stack(found)


@pytest.mark.parametrize("name", [*LOOKING, "dids-joint", "dids-paper"])
@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_permuting_domains_permutes_every_rounds_mixture(name, floor):
    order = [2, 0, 3, 1]
    plain_rk = mixtures(name, floor=floor)
    np.testing.assert_allclose(
        mixtures(name, floor=floor, domains=order), plain_rk[:, order], atol=1e-6
    )


def test_permuting_domains_permutes_a_prior_that_leans():
    order = [2, 0, 3, 1]
    leaning_rk = mixtures("dids", loss_weight=1.0)
    assert np.abs(leaning_rk - mixtures("dids")).max() > 0.01
    permuted_rk = mixtures("dids", loss_weight=1.0, domains=order)
    np.testing.assert_allclose(permuted_rk, leaning_rk[:, order], atol=1e-6)


@pytest.mark.parametrize("name", [*LOOKING, "dids-joint"])
@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_one_factor_on_all_gradients_changes_no_mixture(name, factor):
    # A learning rate, or the unit of the loss.
    scaled_rk = mixtures(name, update_scale=[factor] * 4, target_scale=factor)
    np.testing.assert_allclose(scaled_rk, mixtures(name), atol=1e-6)


# Which tasks wait depends on how long their gradients are beside the domains'; nothing else does.
NONE_WAITS = [("dids", {"start": 0.0, "ramp": 0.0}), ("dids-descent", {}), ("dids-joint", {})]


@pytest.mark.parametrize(("name", "settings"), NONE_WAITS)
@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_one_factor_on_all_domains_changes_no_mixture(name, settings, factor):
    scaled_rk = mixtures(name, update_scale=[factor] * 4, **settings)
    np.testing.assert_allclose(scaled_rk, mixtures(name, **settings), atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), NONE_WAITS)
def test_one_factor_on_all_tasks_changes_no_mixture(name, settings):
    scaled_rk = mixtures(name, target_scale=1e3, **settings)
    np.testing.assert_allclose(scaled_rk, mixtures(name, **settings), atol=1e-6)


@pytest.mark.parametrize("name", LOOKING)
def test_a_longer_step_of_a_domain_that_helps_draws_more_of_it(name):
    plain_k, longer_k = (mixtures(name, update_scale=[1.0, s, 1.0, 1.0])[-1] for s in (1.0, 2.0))
    assert longer_k[1] > plain_k[1] + 0.02


def test_a_domain_split_in_two_equal_halves_is_drawn_as_before_by_descent():
    plain_rk = mixtures("dids-descent")
    split_rk = mixtures(
        "dids-descent", domains=[0, 1, 2, 3, 0], share=(0.125, 0.25, 0.25, 0.25, 0.125)
    )
    np.testing.assert_allclose(split_rk[:, 0], split_rk[:, 4], atol=1e-9)
    np.testing.assert_allclose(split_rk[:, 0] + split_rk[:, 4], plain_rk[:, 0], atol=1e-9)
    np.testing.assert_allclose(split_rk[:, 1:4], plain_rk[:, 1:], atol=1e-9)


def test_a_domain_split_in_two_equal_halves_is_drawn_about_as_before_by_the_default_policy():
    # Not exactly: votes and typical steps are means and medians over domains, and one has come.
    plain_rk = mixtures("dids")
    split_rk = mixtures("dids", domains=[0, 1, 2, 3, 0], share=(0.125, 0.25, 0.25, 0.25, 0.125))
    np.testing.assert_allclose(split_rk[:, 0], split_rk[:, 4], atol=1e-6)
    np.testing.assert_allclose(split_rk[:, 0] + split_rk[:, 4], plain_rk[:, 0], atol=0.1)


@pytest.mark.parametrize("name", LOOKING)
def test_float32_gradients_give_the_mixtures_of_float64(name):
    np.testing.assert_allclose(mixtures(name, dtype=torch.float32), mixtures(name), atol=1e-5)


def test_descent_equals_its_formula():
    policy = DidsDescent(speed=1.2, decay=0.8)
    kernel_kt = observation_of().impact.kernel_kt
    previous_k, total_k, square = np.full(4, 0.25), np.zeros(4), 0.0
    for _ in range(3):
        seen = observation_of(previous=previous_k, task_weights=np.array([3.0, 1.0]))
        found_k = policy.mixture(seen).mixture
        gain_k = kernel_kt @ np.array([0.75, 0.25])
        advantage_k = gain_k - previous_k @ gain_k
        total_k = 0.8 * total_k + advantage_k
        square = 0.64 * square + np.abs(advantage_k).max() ** 2
        share_k = 0.25 * np.exp(1.2 * total_k / np.sqrt(square))
        expected_k = seen.limits.project(share_k / share_k.sum())
        np.testing.assert_allclose(found_k, expected_k, atol=1e-12)
        previous_k = found_k


def test_where_all_domains_gain_alike_descent_stays_at_the_prior():
    impact = observation_of().impact
    alike = ImpactMatrices(
        gram_tkk=impact.gram_tkk,
        kernel_kt=np.ones_like(impact.kernel_kt),
        target_norm_t=impact.target_norm_t,
        domain_names=impact.domain_names,
        task_names=impact.task_names,
    )
    np.testing.assert_allclose(
        make_policy("dids-descent").mixture(observation_of(impact=alike)).mixture, 0.25
    )
