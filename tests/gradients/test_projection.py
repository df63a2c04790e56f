import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dids.gradients import Projection
from dids.gradients.layer_gradient import OuterGradient
from dids.gradients.random_signs import random_signs


def matrices(kind, shape):
    """Two gradients that have much in common, as whole layers or in a few heavy rows or columns."""
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, *shape, generator=generator).unbind()
    other = other + one
    if kind == "heavy rows":  # frequent tokens of a head
        one[4:], other[4:] = 0.02 * one[4:], 0.02 * other[4:]
    if kind == "heavy columns":  # massive channels
        one[:, 4:], other[:, 4:] = 0.02 * one[:, 4:], 0.02 * other[:, 4:]
    return one, other


def sketch_variance(one, other, dim):
    """Of ⟨Πu, Πv⟩ for independent random buckets and signs (count sketch: Charikar et al. 2002)."""
    square = float((one.square() * other.square()).sum())
    lengths = float(one.square().sum() * other.square().sum())
    return (lengths + float((one * other).sum()) ** 2 - 2 * square) / dim


def input_variance(one, other, input_dim):
    """Of tr(Qᵀ M Q), M = uᵀv, for Q with independent random signs: more than Hadamard columns'."""
    product = one.T @ other
    off = product - product.diagonal().diag()
    return float((off.square().sum() + (off * off.T).sum()) / input_dim)


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
@pytest.mark.parametrize("heavy", ["even", "heavy rows", "heavy columns"])
@pytest.mark.parametrize(("shape", "dim"), [((12, 40), 64), ((64, 16), 64), ((128, 32), 64)])
def test_inner_products_are_kept_within_the_bound(kind, heavy, shape, dim):
    # With buckets in step with the matrix (64 for 64 rows) heavy rows had five times this variance.
    one, other = matrices(heavy, shape)
    exact = float((one * other).sum())
    estimates = []
    for seed in range(400):
        projection = Projection(dim, kind=kind, input_dim=8, seed=seed)
        estimates.append(float(projection.project("w", one) @ projection.project("w", other)))
    bound = sketch_variance(one, other, dim)
    if kind == "one-sided":
        bound += input_variance(one, other, 8)
    assert abs(np.mean(estimates) - exact) < 4 * np.std(estimates) / 20
    assert np.var(estimates) < 1.3 * bound  # a variance from 400 draws is within 0.2 of itself


def test_more_input_columns_leave_less_error_and_all_of_them_none():
    one, other = matrices("even", (12, 32))
    product = one.T @ other
    errors = []
    for input_dim in (4, 16, 32):
        traces = [
            float(((one @ q) * (other @ q)).sum() - product.trace())
            for seed in range(300)
            for q in [Projection(8, input_dim=input_dim, seed=seed).input_matrix("w", 32)]
        ]
        errors.append(float(np.mean(np.square(traces))))
    # Without replacement: (1 - (r - 1) / (n - 1)) / r of what one column leaves.
    expected = [input_variance(one, other, r) * (1 - (r - 1) / 31) for r in (4, 16)]
    np.testing.assert_allclose(errors[:2], expected, rtol=0.35)
    assert errors[2] < 1e-6


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_column_meets_every_bucket_before_any_twice(dim, num_columns):
    pitch = Projection(dim).pitch(num_columns)
    assert pitch >= num_columns
    assert len({row * pitch % dim for row in range(dim)}) == dim


@pytest.mark.parametrize("num_columns", [512, 1024, 1536, 4096, 8192, 32_768, 151_936])
@pytest.mark.parametrize("dim", [1024, 4096, 16_384, 65_536])
def test_columns_that_are_neighbours_and_weigh_much_do_not_pile_up(dim, num_columns):
    # Of frequent tokens, which a tokenizer numbers first; they fell 32 to a bucket in place of 2.
    pitch = Projection(dim).pitch(num_columns)
    bucket_uv = np.arange(64)[:, None] * pitch + np.arange(num_columns // 16)
    load_w = np.bincount(bucket_uv.ravel() % dim, minlength=dim)
    assert load_w.max() <= 2 * load_w.mean() + 2


def test_projection_is_linear():
    projection = Projection(16, input_dim=4)
    one, other = torch.randn(6, 9), torch.randn(6, 9)
    torch.testing.assert_close(
        projection.project("w", one + 2 * other),
        projection.project("w", one) + 2 * projection.project("w", other),
    )


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
def test_a_projection_that_was_used_before_gives_what_a_fresh_one_gives(kind):
    used, generator = Projection(24, kind=kind, input_dim=4), torch.Generator().manual_seed(0)
    for num_samples in (3, 5, 2):  # the memory of one fold is that of the next
        for name, num_rows, num_columns in (("a", 7, 9), ("b", 9, 7), ("c", 7, 9)):
            left_bto = torch.randn(num_samples, 6, num_rows, generator=generator)
            right_bti = torch.randn(num_samples, 6, num_columns, generator=generator)
            layer = OuterGradient(name, 1, left_bto, right_bti)
            found, expected = torch.zeros(2, num_samples, 24)
            used.add_(found, layer)
            Projection(24, kind=kind, input_dim=4).add_(expected, layer)
            assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["one-sided", "exact"])
def test_tokens_in_bfloat16_are_summed_in_float32(kind):
    # Ones summed up in bfloat16 stop at 256.
    generator = torch.Generator().manual_seed(0)
    left_bto = 1 + torch.rand(2, 3000, 6, generator=generator)
    right_bti = 1 + torch.rand(2, 3000, 40, generator=generator)
    layer = OuterGradient("w", 1, left_bto.bfloat16(), right_bti.bfloat16())
    projection, found = Projection(64, kind=kind, input_dim=8), torch.zeros(2, 64)
    projection.add_(found, layer)
    for feature, left, right in zip(found, layer.left_bto, layer.right_bti, strict=True):
        expected = projection.project("w", left.double().T @ right.double())
        assert (feature - expected).norm() < 2**-8 * expected.norm()


def test_signs_depend_on_seed_and_name_alone_and_are_fair():
    assert torch.equal(random_signs(3, "a", 100), random_signs(3, "a", 1000)[:100])
    assert not torch.equal(random_signs(3, "a", 100), random_signs(4, "a", 100))
    assert not torch.equal(random_signs(3, "a", 100), random_signs(3, "b", 100))
    assert abs(random_signs(0, "a", 10_000).float().mean()) < 0.04
    # Fixed forever: stored features of another machine must mean the same.
    assert random_signs(0, "model.layers.0", 8).tolist() == FIRST_SIGNS


FIRST_SIGNS = [-1, -1, -1, -1, -1, 1, -1, -1]


def test_the_key_tells_projections_apart():
    keys = {
        Projection(64).key,
        Projection(32).key,
        Projection(64, seed=1).key,
        Projection(64, kind="exact").key,
        Projection(64, input_dim=16).key,
    }
    assert len(keys) == 5


def test_wrong_settings_are_told():
    with pytest.raises(ValueError, match="at least 1"):
        Projection(0)
