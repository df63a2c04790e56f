import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dids.impact import metric
from dids.impact.matrices import ImpactMatrices
from dids.impact.nearest_psd import nearest_psd


def matrices_of(seed=0, scale=1.0, num_domains=4):
    generator = torch.Generator().manual_seed(seed)
    halves = [
        torch.randn(2, rows, 60, generator=generator, dtype=torch.float64) * scale
        for rows in (num_domains, 2)
    ]
    fisher = torch.rand(2, 60, generator=generator, dtype=torch.float64)
    tensors = {
        "update_kp": halves[0].mean(0),
        "target_tp": halves[1].mean(0),
        "fisher_tp": fisher,
        "update_halves_2kp": halves[0],
        "target_halves_2tp": halves[1],
    }
    names = tuple(f"d{k}" for k in range(num_domains)), ("first", "second")
    return ImpactMatrices.of(**tensors, domain_names=names[0], task_names=names[1]), tensors


def test_all_three_forms_follow_from_the_matrices():
    matrices, tensors = matrices_of()
    arguments = tensors["update_kp"], tensors["target_tp"], tensors["fisher_tp"]
    np.testing.assert_allclose(matrices.kl_distance(), metric.kl_distance(*arguments), rtol=1e-10)
    np.testing.assert_allclose(matrices.fisher_kernel(), metric.fisher_kernel(*arguments))
    np.testing.assert_allclose(matrices.fisher_cosine(), metric.fisher_cosine(*arguments))


def test_halves_are_paired_in_each_tasks_own_metric():
    matrices, tensors = matrices_of()
    (u1, u2), (h1, h2), f = (
        tensors["update_halves_2kp"],
        tensors["target_halves_2tp"],
        tensors["fisher_tp"],
    )
    np.testing.assert_allclose(matrices.signal_tk, torch.einsum("tp,kp,kp->tk", f, u1, u2))
    np.testing.assert_allclose(matrices.target_signal_t, (f * h1 * h2).sum(1))


def test_json_keeps_every_bit():
    matrices = replace(matrices_of()[0], within="step")
    again = ImpactMatrices.from_json(json.loads(json.dumps(matrices.to_json())))
    assert again.to_json() == matrices.to_json()
    assert again.within == "step"
    assert again.smoothed(matrices, 0.5).debiased().in_typical_steps().within == "step"
    np.testing.assert_array_equal(again.gram_tkk, matrices.gram_tkk)


def test_smoothing_averages_and_starts_with_the_first():
    first, second = matrices_of(0)[0], matrices_of(1)[0]
    assert first.smoothed(None, 0.8) is first
    smooth = second.smoothed(first, 0.8)
    np.testing.assert_allclose(smooth.gram_tkk, 0.8 * first.gram_tkk + 0.2 * second.gram_tkk)
    np.testing.assert_allclose(smooth.signal_tk, 0.8 * first.signal_tk + 0.2 * second.signal_tk)
    with pytest.raises(ValueError, match="same domains"):
        matrices_of(0, num_domains=3)[0].smoothed(first, 0.5)


def test_smoothing_without_memory_forgets_an_error_that_was_not_known():
    first, second = (
        replace(matrices_of(seed)[0], error_kt=np.full_like(matrices_of(seed)[0].kernel_kt, error))
        for seed, error in ((0, np.inf), (1, 2.0))
    )
    assert np.isinf(second.smoothed(first, 0.5).error_kt).all()
    np.testing.assert_array_equal(second.smoothed(first, 0.0).error_kt, second.error_kt)


def test_debiasing_takes_out_the_length_that_noise_adds():
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.normal(size=(3, 400)))
    fisher = torch.ones(1, 400, dtype=torch.float64)
    exact = float((truth[0] ** 2).sum())
    raw, mended = [], []
    for _ in range(40):
        halves = truth + torch.from_numpy(rng.normal(size=(2, 3, 400)))
        matrices = ImpactMatrices.of(
            update_kp=halves.mean(0),
            target_tp=truth[:1],
            fisher_tp=fisher,
            update_halves_2kp=halves,
            domain_names=("a", "b", "c"),
            task_names=("t",),
        )
        raw.append(matrices.gram_tkk[0, 0, 0])
        mended.append(matrices.debiased().gram_tkk[0, 0, 0])
    # Each half has a variance of 1 a parameter, so the mean of both adds 400 / 2.
    assert np.mean(raw) == pytest.approx(exact + 200, rel=0.05)
    assert np.mean(mended) == pytest.approx(exact, rel=0.05)


def test_noise_is_what_the_squared_length_has_too_much():
    matrices, _ = matrices_of()
    diagonal = np.diagonal(matrices.gram_tkk, axis1=1, axis2=2)
    np.testing.assert_allclose(matrices.noise(), np.maximum(diagonal - matrices.signal_tk, 0.0))
    assert (matrices.noise() > 0).any()
    assert (matrices.debiased().noise() == 0.0).all()


@given(st.integers(0, 200), st.integers(1, 6))
def test_the_nearest_psd_matrix_is_psd_and_no_other_one_is_nearer(seed, size):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(1, size, size))
    nearest = nearest_psd(matrix)
    assert np.linalg.eigvalsh(nearest).min() > -1e-9
    np.testing.assert_array_equal(nearest, nearest.transpose(0, 2, 1))
    for _ in range(20):
        factor = rng.normal(size=(size, size))
        moved = nearest + 0.1 * (factor @ factor.T - nearest)
        assert np.linalg.norm(matrix - nearest) <= np.linalg.norm(matrix - moved) + 1e-9


def test_a_task_of_pure_noise_does_not_become_all_important():
    matrices = ImpactMatrices(
        gram_tkk=np.ones((1, 1, 1)),
        kernel_kt=np.ones((1, 1)),
        target_norm_t=np.ones(1),
        domain_names=("d",),
        task_names=("t",),
        target_signal_t=np.array([-0.5]),
    )
    assert matrices.debiased().target_norm_t == pytest.approx([0.1])


def test_entries_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="kernel_kt has entries that are no numbers"):
        ImpactMatrices(
            gram_tkk=np.ones((1, 1, 1)),
            kernel_kt=np.full((1, 1), np.nan),
            target_norm_t=np.ones(1),
            domain_names=("d",),
            task_names=("t",),
        )


def test_typical_steps_keep_directions_and_ask_one_length_of_every_task():
    matrices, _ = matrices_of()
    typical = matrices.in_typical_steps()
    np.testing.assert_allclose(typical.fisher_cosine(), matrices.fisher_cosine(), rtol=1e-12)
    length_tk = np.sqrt(np.diagonal(typical.gram_tkk, axis1=1, axis2=2))
    np.testing.assert_allclose(np.median(length_tk, axis=1), 1.0)
    np.testing.assert_allclose(typical.target_norm_t, 1.0)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_typical_steps_do_not_depend_on_the_length_of_any_tasks_gradient(first, second):
    # A task of one-token answers has gradients many times longer than any domain's: measured by
    # its own length, its weight in the mixture was next to nothing.
    _, tensors = matrices_of()
    scale_t1 = torch.tensor([[first], [second]], dtype=torch.float64)
    names = {"domain_names": tuple("abcd"), "task_names": ("first", "second")}
    plain = ImpactMatrices.of(**tensors, **names).in_typical_steps()
    scaled = {**tensors, "target_tp": tensors["target_tp"] * scale_t1}
    scaled["target_halves_2tp"] = tensors["target_halves_2tp"] * scale_t1
    longer = ImpactMatrices.of(**scaled, **names).in_typical_steps()
    np.testing.assert_allclose(longer.kernel_kt, plain.kernel_kt, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(longer.gram_tkk, plain.gram_tkk, rtol=1e-9)
