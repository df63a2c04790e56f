"""Matrices of other domains are those that their own steps would have given."""

import numpy as np
import torch

from dids.domains.regrouping import Regrouping
from dids.impact.matrices import ImpactMatrices
from dids.mixture.policies.dids_descent import DidsDescent
from dids.mixture.votes import Votes

NAMES = ("a", "b", "c")


def measured(update_kp, names, halves_2kp=None, seed=0):
    rng = np.random.default_rng(seed)
    return ImpactMatrices.of(
        update_kp=torch.from_numpy(update_kp),
        target_tp=torch.from_numpy(rng.normal(size=(2, update_kp.shape[1]))),
        fisher_tp=torch.from_numpy(rng.uniform(0.1, 1.0, size=(2, update_kp.shape[1]))),
        update_halves_2kp=None if halves_2kp is None else torch.from_numpy(halves_2kp),
        domain_names=names,
        task_names=("t", "u"),
    )


def test_a_merged_domains_matrices_are_those_of_the_mean_step():
    update_kp = np.random.default_rng(1).normal(size=(3, 20))
    origin_kj = np.array([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    merged = measured(update_kp, NAMES).regrouped(origin_kj, ("ab", "c"))
    direct = measured(origin_kj @ update_kp, ("ab", "c"))
    np.testing.assert_allclose(merged.gram_tkk, direct.gram_tkk, rtol=1e-10)
    np.testing.assert_allclose(merged.kernel_kt, direct.kernel_kt, rtol=1e-10)
    np.testing.assert_allclose(merged.fisher_cosine(), direct.fisher_cosine(), rtol=1e-10)


def test_merged_signal_and_noise_are_those_of_means_of_independent_estimates():
    # Averaged over many measurements, signal and squared length of a merged domain are those
    # that measuring the mean step directly gives.
    rng = np.random.default_rng(2)
    exact_kp = rng.normal(size=(3, 40))
    origin_kj = np.array([[0.4, 0.6, 0.0], [0.0, 0.0, 1.0]])
    sums = np.zeros((2, 2, 2, 2))
    for _ in range(400):
        halves = exact_kp + rng.normal(size=(2, 3, 40))
        merged = measured(halves.mean(0), NAMES, halves).regrouped(origin_kj, ("ab", "c"))
        own = np.einsum("kj,hjp->hkp", origin_kj, halves)
        direct = measured(own.mean(0), ("ab", "c"), own)
        for side, found in enumerate((merged, direct)):
            diagonal = np.diagonal(found.gram_tkk, axis1=1, axis2=2)
            sums[side] += np.stack([diagonal, found.signal_tk]) / 400
    np.testing.assert_allclose(sums[0], sums[1], rtol=0.05)


def test_parts_of_a_domain_have_its_step_in_common_and_not_its_noise():
    rng = np.random.default_rng(3)
    halves = rng.normal(size=(2, 2, 30)) + 1.0
    before = measured(halves.mean(0), ("a", "b"), halves)
    origin_kj = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = before.regrouped(origin_kj, ("a/0", "a/1", "b"))
    np.testing.assert_array_equal(found.kernel_kt[:2], before.kernel_kt[[0, 0]])
    diagonal = np.diagonal(found.gram_tkk, axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal[:, 0], before.gram_tkk[:, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(found.gram_tkk[:, 0, 1], before.signal_tk[:, 0], rtol=1e-12)
    np.testing.assert_allclose(found.noise()[:, [0, 2]], before.noise(), rtol=1e-9)
    assert np.linalg.eigvalsh(found.gram_tkk).min() > -1e-9


def test_what_is_not_touched_stays_to_the_last_bit_and_what_is_added_is_unknown():
    before = measured(np.random.default_rng(4).normal(size=(3, 10)), NAMES)
    before = ImpactMatrices(**{**vars(before), "error_kt": np.full((3, 2), 0.5)})
    origin_kj = np.vstack([np.eye(3), np.zeros((1, 3))])
    found = before.regrouped(origin_kj, (*NAMES, "new"))
    np.testing.assert_array_equal(found.gram_tkk[:, :3, :3], before.gram_tkk)
    np.testing.assert_array_equal(found.kernel_kt[:3], before.kernel_kt)
    np.testing.assert_array_equal(found.error_kt[:3], before.error_kt)
    assert np.isinf(found.error_kt[3]).all()
    assert not found.gram_tkk[:, 3].any()
    assert ImpactMatrices.from_json(found.to_json()).domain_names[-1] == "new"


def test_votes_follow_the_samples_and_a_new_domain_has_none():
    rng = np.random.default_rng(5)
    votes = Votes.none(3, 2)
    for _ in range(4):
        votes = votes.after(rng.normal(size=(3, 2)), 0.9)
    origin_kj = np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 0.5, 0.5], [0, 0, 0]])
    found = votes.regrouped(origin_kj)
    np.testing.assert_array_equal(found.mean_kt[0], votes.mean_kt[0])
    np.testing.assert_array_equal(found.scatter_kt[1], votes.scatter_kt[0])
    np.testing.assert_allclose(found.mean_kt[2], votes.mean_kt[1:].mean(0))
    np.testing.assert_array_equal(found.mean_kt[3], 0.0)
    np.testing.assert_array_equal(found.beyond_doubt(1.5)[3], 0.0)
    assert (found.noise_kt[3] > 0).all()
    assert found.rounds == votes.rounds
    np.testing.assert_array_equal(found.weight_t, votes.weight_t)
    np.testing.assert_array_equal(found.square_weight_t, votes.square_weight_t)


def test_gains_of_the_descent_policy_follow_the_samples():
    policy = DidsDescent()
    policy.load_state_dict({"gain": [1.0, 3.0, -1.0], "square": 2.0})
    before, now = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 2, 2, 2, 3])
    weight_n = np.ones(6, dtype=int)
    policy.regroup(Regrouping.between(before, now, weight_n, NAMES, ("a/0", "a/1", "bc", "d")))
    np.testing.assert_allclose(policy.state_dict()["gain"], [1.0, 1.0, 1 / 3, 0.0])
