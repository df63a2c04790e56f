"""What changes of the domains' gradients change in the matrices: what they should, and no more."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.impact.matrices import ImpactMatrices

ARRAYS = ("gram_tkk", "kernel_kt", "target_norm_t", "signal_tk", "target_signal_t")
SEED = st.integers(0, 2**16)


def tensors(seed, num_domains=4, num_tasks=2, num_parameters=24):
    rng = np.random.default_rng(seed)
    halves = torch.from_numpy(rng.normal(size=(2, num_domains, num_parameters)))
    targets = torch.from_numpy(rng.normal(size=(2, num_tasks, num_parameters)))
    fisher = torch.from_numpy(rng.uniform(0.0, 2.0, size=(num_tasks, num_parameters)))
    return halves, targets, fisher


def matrices(halves_2kp, targets_2tp, fisher_tp):
    return ImpactMatrices.of(
        update_kp=halves_2kp.mean(0),
        target_tp=targets_2tp.mean(0),
        fisher_tp=fisher_tp,
        update_halves_2kp=halves_2kp,
        target_halves_2tp=targets_2tp,
        domain_names=tuple(f"d{k}" for k in range(halves_2kp.shape[1])),
        task_names=tuple(f"t{t}" for t in range(len(fisher_tp))),
    )


def by_domain(impact, index):
    """The arrays with their domains chosen, or chosen twice."""
    return {
        "gram_tkk": impact.gram_tkk[:, index][:, :, index],
        "kernel_kt": impact.kernel_kt[index],
        "target_norm_t": impact.target_norm_t,
        "signal_tk": impact.signal_tk[:, index],
        "target_signal_t": impact.target_signal_t,
    }


def assert_equals(impact, expected, rtol=1e-10):
    for name in ARRAYS:
        np.testing.assert_allclose(
            getattr(impact, name), expected[name], rtol=rtol, atol=rtol, err_msg=name
        )


@settings(deadline=None, max_examples=15, derandomize=True)
@given(SEED, st.floats(1e-3, 1e3))
def test_scaling_a_domain_scales_its_products_and_leaves_the_others(seed, factor):
    halves, targets, fisher = tensors(seed)
    scale = np.array([1.0, factor, 1.0, 1.0])
    plain = matrices(halves, targets, fisher)
    scaled = matrices(halves * torch.from_numpy(scale)[:, None], targets, fisher)
    expected = by_domain(plain, np.arange(4))
    expected["gram_tkk"] = plain.gram_tkk * np.outer(scale, scale)
    expected["kernel_kt"] = plain.kernel_kt * scale[:, None]
    expected["signal_tk"] = plain.signal_tk * scale**2
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(scaled, name), expected[name], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scaled.fisher_cosine(), plain.fisher_cosine(), atol=1e-9)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(SEED, st.permutations(range(4)))
def test_permuting_domains_permutes_the_matrices(seed, order):
    halves, targets, fisher = tensors(seed)
    permuted = matrices(halves[:, order], targets, fisher)
    plain = matrices(halves, targets, fisher)
    assert_equals(permuted, by_domain(plain, order))
    typical = plain.in_typical_steps()
    np.testing.assert_allclose(permuted.in_typical_steps().kernel_kt, typical.kernel_kt[order])
    np.testing.assert_allclose(
        permuted.debiased().gram_tkk, plain.debiased().gram_tkk[:, order][:, :, order], atol=1e-9
    )


@settings(deadline=None, max_examples=15, derandomize=True)
@given(SEED, st.integers(0, 3))
def test_splitting_a_domain_in_equal_halves_repeats_its_rows(seed, domain):
    halves, targets, fisher = tensors(seed)
    split = [*range(4), domain]
    twice = matrices(halves[:, split], targets, fisher)
    assert_equals(twice, by_domain(matrices(halves, targets, fisher), split))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_float32_gradients_give_the_matrices_of_float64(scale):
    halves, targets, fisher = (scale * part for part in tensors(0, num_parameters=5000))
    halves, targets, fisher = (part.float().double() for part in (halves, targets, fisher))
    exact = matrices(halves, targets, fisher)
    found = matrices(halves.float(), targets.float(), fisher.float())
    size = np.sqrt(np.diagonal(exact.gram_tkk, axis1=1, axis2=2))
    np.testing.assert_allclose(
        found.gram_tkk / (size[:, :, None] * size[:, None]),
        exact.gram_tkk / (size[:, :, None] * size[:, None]),
        atol=1e-5,
    )
    own_kt = size.T * np.sqrt(exact.target_norm_t)
    np.testing.assert_allclose(found.kernel_kt / own_kt, exact.kernel_kt / own_kt, atol=1e-5)
    np.testing.assert_allclose(found.target_norm_t, exact.target_norm_t, rtol=1e-5)
